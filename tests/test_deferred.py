"""Packages whose own `__init__` waits until somebody needs it."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.llm.deferred import defer

BEGUN = "large_package_begun"


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package that notes when its `__init__` runs."""
    folder = tmp_path / "large_package"
    folder.mkdir()
    (folder / "__init__.py").write_text(f"import sys\nsys.{BEGUN} = True\nNAME = 'made in __init__'\n")
    (folder / "part.py").write_text("from large_package import other\nVALUE = other.VALUE\n")
    (folder / "other.py").write_text("VALUE = 1\n")
    (folder / "broken.py").write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "large_package"
    for name in [name for name in sys.modules if name.startswith("large_package")]:
        del sys.modules[name]
    if hasattr(sys, BEGUN):
        delattr(sys, BEGUN)


def test_a_module_does_not_start_its_package(large: str) -> None:
    """A module of a deferred package, and what that imports from the package, come without its `__init__`."""
    package = defer(large)
    assert importlib.import_module(f"{large}.part").VALUE == 1
    assert package.other.VALUE == 1
    assert not hasattr(package, "__wrapped__")
    assert not hasattr(sys, BEGUN)


def test_a_name_starts_the_package(large: str) -> None:
    """A name that only `__init__` makes runs it, once, and a name that nobody makes is an error as ever."""
    package = defer(large)
    assert package.NAME == "made in __init__"
    assert hasattr(sys, BEGUN)
    with pytest.raises(AttributeError):
        _ = package.MISSING


def test_a_broken_module_is_told(large: str) -> None:
    """A module that cannot be imported says what it lacks."""
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        _ = defer(large).broken


def test_what_is_there_stays(large: str) -> None:
    """A package that is imported already is left as it is, and one that does not exist is an error."""
    package = importlib.import_module(large)
    assert defer(large) is package
    with pytest.raises(ModuleNotFoundError):
        defer("nothing_of_this_name")
