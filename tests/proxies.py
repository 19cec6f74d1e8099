"""Real reverse proxies for tests; without the program a test is skipped, but never on CI."""

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest
from databases import short_folder

from bench.fronts import Front, Wish, fronting, search_path


def require(*programs: str) -> None:
    """Skip the test that asks unless these are installed."""
    missing = [name for name in programs if shutil.which(name, path=search_path()) is None]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@contextlib.contextmanager
def proxied(wish: Wish) -> Iterator[Front]:
    """A proxy in a folder of its own, for the length of the block."""
    require(wish.kind)
    with short_folder() as folder, fronting(wish, folder) as front:
        yield front
