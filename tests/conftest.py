"""Fixtures that every test may ask for."""

import gc

pytest_plugins = ["databases", "npm", "redises", "consoles"]

gc.disable()  # until every test is known: nothing that is loaded and collected becomes garbage


def pytest_collection_finish() -> None:
    """Take all that was loaded and collected out of the garbage collector's rounds, and let them come less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()
