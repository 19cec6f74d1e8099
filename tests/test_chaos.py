"""The benches that kill servers and take the database away, in short; bench/ runs them for long."""

import pytest
from rich.console import Console

from bench.chaos import chaos
from bench.outages import FAULTS, Result, outages


async def test_kills_lose_nothing() -> None:
    """Servers killed at random moments lose no run that was called durable, and record none twice."""
    tally = await chaos(kills=1, a_scene=1, seed=5, tell=Console(quiet=True))
    assert tally.whole, tally
    assert tally.runs > 0


@pytest.mark.parametrize("fault", ["replies_lost"])
async def test_outages_are_not_felt(fault: str) -> None:
    """While PostgreSQL is sick runs are called durable as ever, because they are, and afterwards none is missing."""
    results: list[Result] = []
    await outages([fault], 0.5, results.append)
    (result,) = results
    assert result.tally.whole, result
    assert result.runs > result.pending


def test_every_fault_is_told() -> None:
    """Every fault has a sentence that says what is wrong."""
    assert all(fault.__doc__ for fault in FAULTS.values())
