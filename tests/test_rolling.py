"""A new server takes over from an old one behind a real nginx, under streams."""

from pathlib import Path

import pytest
from proxies import require

from bench.rolling import Plan, roll


@pytest.mark.long
async def test_nobody_notices_a_new_server(dsn: str, open_folder: Path) -> None:
    """Behind nginx every stream of a rolling deploy ends with one `done`, nothing is refused, every run is recorded."""
    require("nginx")
    long = "scripted:slow?first=0.1&gap=0.1&tokens=40"
    plan = Plan("a roll", rolls=1, clients=16, long=long, calm_s=0.3, settings={"SHUTDOWN_GRACE_S": "0.5"})
    outcome = await roll(plan, open_folder, dsn)
    assert outcome.whole, outcome
    assert outcome.record.runs > plan.clients
    assert outcome.ends["completed"] > 0
    assert outcome.ends["shutdown"] > 0
    assert outcome.resumed > 0
