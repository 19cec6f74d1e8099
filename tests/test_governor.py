"""The spend governor: which share slow lanes took of what the last hour cost, and what follows for the next one."""

from typing import Final

import pytest
from cells import rows
from servers import serving
from tails import SHORT, ask, lanes
from wire import valid_stream

from app.admission.governor import SLOT_S, SLOTS, Governor

SLOW: Final = "scripted:slow?first=0.005&gap=0&tokens=5"
HOUR: Final = SLOT_S * SLOTS


def noted(share: float, *runs: tuple[int | None, int | None], now: float = 0.0) -> Governor:
    """One that was told of runs with these costs; a slow lane that cost None was not asked."""
    governor = Governor(share)
    for fast, slow in runs:
        governor.note(now, fast, slow, asked_slow=slow is not None)
    return governor


@rows(
    ("share", "runs", "allows"),
    [
        (0.5, [], True),
        (0.0, [], False),
        (0.5, [(10, 10)], True),
        (0.5, [(10, 11)], False),
        (0.5, [(10, 70), *[(10, None)] * 5], False),
        (0.5, [(10, 70), *[(10, None)] * 6], True),
        (1.0, [(0, 70)], True),
        (0.99, [(0, 70)], False),
        (0.5, [(None, 0), (None, None)], True),
        (0.5, [(None, 0), (None, 0), (None, None)], False),
    ],
)
def test_share(share: float, runs: list[tuple[int | None, int | None]], *, allows: bool) -> None:
    """Slow lanes are let through while they took no more than their share: of the money, or of runs without a price."""
    assert noted(share, *runs).allows(0) is allows


def test_an_hour() -> None:
    """What is more than an hour old is forgotten."""
    governor = noted(0.5, (10, 90))
    assert governor.share(HOUR - 1) == 0.9
    assert governor.share(HOUR) is None
    assert governor.allows(HOUR)


def test_it_holds_in_the_long_run() -> None:
    """Over many runs slow lanes take their share and no more than one run beyond it."""
    governor, fast, slow = Governor(0.4), 0, 0
    for run in range(1000):
        cost = 70 if governor.allows(run / 1000) else None
        governor.note(run / 1000, 10, cost, asked_slow=cost is not None)
        fast, slow = fast + 10, slow + (cost or 0)
        assert slow - 70 <= 0.4 * (fast + slow)
    assert slow / (fast + slow) == pytest.approx(0.4, abs=0.01)


async def test_over_http() -> None:
    """Beyond its share a slow lane is refused, and the fast answer stands, unverified, until the share fits again."""
    async with serving(slow_lane_budget_share=0.5) as server:
        said = []
        for _ in range(4):
            events = valid_stream((await ask(server, **lanes(SHORT, SHORT), cache="off")).content)
            said.append((events[-1].data["status"], events[-1].data["reason"]))
    assert said == [("completed", None), ("partial", "budget_share")] * 2


async def test_the_slow_model_is_slow_in_any_lane() -> None:
    """Who puts the server's slow model into the fast lane has it counted, and refused, as a slow lane."""
    async with serving(slow_lane_budget_share=0.5, slow_model=SLOW) as server:
        said = []
        for fast in (SLOW, SLOW, SHORT):
            events = valid_stream((await ask(server, **lanes(fast, SLOW), cache="off")).content)
            said.append((events[-1].data["status"], events[-1].data["reason"]))
    assert said == [("completed", None), ("failed", "budget_share"), ("completed", None)]


async def test_the_fast_model_is_fast_in_any_lane() -> None:
    """Each lane counts where the settings put its model, so that lanes that changed places are what they are."""
    async with serving(slow_lane_budget_share=0.5, fast_model=SHORT, slow_model=SLOW) as server:
        refused = []
        for fast in (SHORT, SLOW, SLOW, SLOW):
            events = valid_stream((await ask(server, **lanes(fast, SHORT), cache="off")).content)
            ends = {event.data["lane"]: event.data["reason"] for event in events if event.name == "lane_end"}
            refused.append(ends["fast"] == "budget_share")
    assert refused == [False, False, False, True]


async def test_replays_cost_nothing() -> None:
    """A stored answer told again is no run of a slow lane."""
    async with serving(slow_lane_budget_share=0.5) as server:
        for _ in range(3):
            events = valid_stream((await ask(server, **lanes(SHORT, SHORT))).content)
            assert events[-1].data["status"] == "completed"
