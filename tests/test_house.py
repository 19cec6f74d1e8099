"""The rules of the house that no linter holds: sizes, imports, excepts, and what no file may contain."""

import ast
import functools
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from cells import rows
from packaging.requirements import Requirement
from packaging.version import Version

import app

pytestmark = pytest.mark.house

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "app").rglob("*.py"))
PAGES = sorted(
    path for root in ("app", "clients") for path in (ROOT / root).rglob("*") if path.suffix in {".js", ".css", ".html"}
)
LOCKS = sorted((ROOT / "deploy" / "locks").glob("*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

Node = TypeVar("Node", bound=ast.AST)
Function = ast.FunctionDef | ast.AsyncFunctionDef

# Each is written so that it does not match itself.
FORBIDDEN = {
    "a note to do something later": re.compile(r"\b(?:TO[D]O|FIX[M]E)\b"),
    "a package index": re.compile(r'pypi[.]org|pythonhosted[.]|registry[.]npmjs|index[-]url|"resolved":\s*"http'),
    "somebody's home folder": re.compile(r"(?<![\w.])/(?:home/\w|Users/\w|root\b)"),
}


def nodes(kind: type[Node]) -> Iterator[tuple[Path, Node]]:
    """Every node of one kind in app/, with its file."""
    for path in SOURCES:
        for node in everything_in(path):
            if isinstance(node, kind):
                yield path, node


@functools.cache
def parsed(path: Path) -> ast.Module:
    """A file of app/; no test writes one."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def everything_in(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a file."""
    return tuple(ast.walk(parsed(path)))


def at(path: Path, node: ast.stmt | ast.expr | ast.excepthandler) -> str:
    """Where to look: file and line, as an editor opens it."""
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def functions() -> Iterator[tuple[Path, Function]]:
    """Every function and method of app/."""
    yield from nodes(ast.FunctionDef)
    yield from nodes(ast.AsyncFunctionDef)


def project_files() -> list[Path]:
    """What git tracks or would track."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file()]


def reason(path: Path, line: int) -> str:
    """The comment on a line, without what it says to the linter."""
    comment = path.read_text(encoding="utf-8").splitlines()[line - 1].partition("#")[2]
    return re.sub(r"(?:noqa|type): ?[\w\[\], -]*", "", comment).strip(" #")


def catches_everything(caught: ast.expr | None) -> bool:
    """Whether an except clause names no error, or one that nearly every error is."""
    if caught is None:
        return True
    return any(isinstance(n, ast.Name) and n.id in {"Exception", "BaseException"} for n in ast.walk(caught))


def raises_again(handler: ast.ExceptHandler) -> bool:
    """Whether the clause ends by raising what it caught, or an error of ours."""
    return isinstance(handler.body[-1], ast.Raise)


def pins(lock: Path) -> dict[str, str]:
    """Name and version of every requirement of a lock file."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE))


def test_no_file_of_the_product_is_longer_than_300_lines() -> None:
    """A file of app/ has at most 300 lines."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES + PAGES}
    assert {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > 300} == {}


def test_no_function_is_longer_than_40_lines() -> None:
    """A function of app/ has at most 40 lines, its signature and docstring counted, its decorators not."""
    lengths = {f"{at(path, f)} {f.name}": (f.end_lineno or f.lineno) - f.lineno + 1 for path, f in functions()}
    assert {where: n for where, n in lengths.items() if n > 40} == {}


def test_every_file_says_what_it_is_for() -> None:
    """A Python file of app/ that has any code begins with a docstring."""
    modules = ((path, parsed(path)) for path in SOURCES)
    assert [str(p.relative_to(ROOT)) for p, module in modules if module.body and not ast.get_docstring(module)] == []


def test_no_import_hides_in_a_function() -> None:
    """A module of app/ imports at its top only."""
    hidden = [
        at(path, node)
        for path, function in functions()
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert hidden == []


def test_no_function_rebinds_a_global() -> None:
    """Nothing in app/ says `global`."""
    assert [at(path, node) for path, node in nodes(ast.Global)] == []


def test_every_blind_except_gives_its_reason() -> None:
    """An except that catches everything names an error, and raises it again or says why not on its line."""
    bare = [at(path, node) for path, node in nodes(ast.ExceptHandler) if node.type is None]
    silent = [
        at(path, node)
        for path, node in nodes(ast.ExceptHandler)
        if catches_everything(node.type) and not raises_again(node) and " " not in reason(path, node.lineno)
    ]
    assert (bare, silent) == ([], [])


def test_every_blind_suppress_gives_its_reason() -> None:
    """A suppress that swallows everything says why on its line."""
    silent = [
        at(path, call)
        for path, call in nodes(ast.Call)
        if ast.unparse(call.func).endswith("suppress")
        and any(catches_everything(argument) for argument in call.args)
        and " " not in reason(path, call.lineno)
    ]
    assert silent == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_contains(what: str) -> None:
    """No file of the project contains a note to do something later, a package index, or a home folder."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in project_files()
        for number, line in enumerate(path.read_bytes().decode("utf-8", "ignore").splitlines(), 1)
        if FORBIDDEN[what].search(line)
    ]
    assert found == []


def test_the_version_is_one() -> None:
    """The version that the package reports is the version of the project."""
    assert app.__version__ == PROJECT["version"]


@rows("lock", LOCKS)
def test_a_lock_file_holds_pinned_and_hashed_requirements_only(lock: Path) -> None:
    """Every requirement of a lock file has one version and a hash, and none has an address or an option."""
    text = lock.read_text().replace("\\\n", " ")
    hashed = re.compile(r"[\w.-]+==[^\s;]+(?: ; [^#]*?)?(?: +--hash=sha256:[0-9a-f]{64})+")
    assert [line for line in text.splitlines() if not hashed.fullmatch(line)] == []
    assert "://" not in text


def test_the_lock_files_agree() -> None:
    """What a server or a laptop needs is among what a developer has, in the same version."""
    server, laptop, dev = (pins(ROOT / "deploy" / "locks" / f"{name}.lock") for name in ("server", "laptop", "dev"))
    assert {name: version for name, version in server.items() if dev.get(name) != version} == {}
    assert {name: version for name, version in laptop.items() if dev.get(name) != version} == {}


@pytest.mark.parametrize(("lock", "extra"), [("server", "vertex"), ("laptop", "laptop")])
def test_a_lock_file_satisfies_the_project(lock: str, extra: str) -> None:
    """Every dependency of the project is locked in a version that the project allows."""
    locked = pins(ROOT / "deploy" / "locks" / f"{lock}.lock")
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"][extra]
    wrong = [r for r in map(Requirement, wanted) if not r.specifier.contains(Version(locked.get(r.name.lower(), "0")))]
    assert wrong == []


def test_the_weights_stand_alone() -> None:
    """The weights are locked without what they depend on, and in no other lock file."""
    (name,) = pins(ROOT / "deploy" / "locks" / "weights.lock")
    others = [pins(lock) for lock in LOCKS if lock.name != "weights.lock"]
    assert not any(name in lock for lock in others)
