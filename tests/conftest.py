"""Fixtures that every test may ask for."""

import gc
import time

import pytest

pytest_plugins = ["databases", "npm", "redises", "consoles"]

gc.disable()  # until every test is known: nothing that is loaded and collected becomes garbage


def pytest_collection_finish() -> None:
    """Take all that was loaded and collected out of the garbage collector's rounds, and let them come less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


@pytest.fixture
def within_a_minute() -> None:
    """No minute ends while a test counts in windows of a clock that cannot be set: Redis has its own."""
    left_s = 60 - time.time() % 60
    if left_s < 3:
        time.sleep(left_s)
