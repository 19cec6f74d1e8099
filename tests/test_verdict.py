"""The verdict: the whole table, and what must hold for every row of it."""

from itertools import product
from typing import Final, get_args

from cells import rows

from app.errors import Outcome
from app.events import Agreement, Change, Status
from app.question import LaneName
from app.reasoning.verdict import SETTLED, STOPPED, Cause, LaneState, Standing, Verdict, change, settle

OUTCOMES: Final[tuple[Outcome | None, ...]] = (None, *get_args(Outcome))
CAUSES: Final[tuple[Cause | None, ...]] = (None, *get_args(Cause))
ROWS: Final = list(product(OUTCOMES, OUTCOMES, CAUSES))

# (fast, slow): the verdict while nobody stops the run, fast ending first; `-` waits. R is the slow lane's reason.
TABLE: Final[dict[tuple[Standing, Standing], tuple[Status, LaneName | None, str | None] | None]] = {
    ("running", "running"): None,
    ("running", "completed"): ("completed", "slow", None),
    ("running", "timeout"): None,
    ("running", "other"): None,
    ("completed", "running"): None,
    ("completed", "completed"): ("completed", "slow", None),
    ("completed", "timeout"): ("partial", "fast", "slow's reason"),
    ("completed", "other"): ("partial", "fast", "slow's reason"),
    ("timeout", "running"): None,
    ("timeout", "completed"): ("completed", "slow", None),
    ("timeout", "timeout"): ("timeout", None, "slow's reason"),
    ("timeout", "other"): ("failed", None, "slow's reason"),
    ("other", "running"): None,
    ("other", "completed"): ("completed", "slow", None),
    ("other", "timeout"): ("timeout", None, "slow's reason"),
    ("other", "other"): ("failed", None, "slow's reason"),
}
# (status, reason of the run) where no slow lane completed: with a fast answer, without one.
STOPS: Final[dict[Cause, tuple[tuple[Status, str], tuple[Status, str]]]] = {
    "cancelled": (("cancelled", "cancelled"), ("cancelled", "cancelled")),
    "client_gone": (("cancelled", "client_gone"), ("cancelled", "client_gone")),
    "shutdown": (("shutdown", "shutdown"), ("shutdown", "shutdown")),
    "accepted": (("partial", "accepted"), ("cancelled", "cancelled")),
}


def state(lane: str, outcome: Outcome | None, at: float) -> LaneState:
    """A lane that runs, or that ended so at that time."""
    return LaneState() if outcome is None else LaneState(outcome, f"{lane}'s reason", at)


def standing(name: Standing) -> Outcome | None:
    """An outcome that stands there."""
    outcomes: dict[Standing, Outcome | None] = {"running": None, "other": "failed"}
    return outcomes.get(name, name)  # type: ignore[arg-type]  # the other two are outcomes themselves


@rows(("fast", "slow"), TABLE)
def test_table(fast: Standing, slow: Standing) -> None:
    """A run that nobody stops is settled as the table says."""
    expected = TABLE[fast, slow]
    found = settle(state("fast", standing(fast), 1.0), state("slow", standing(slow), 2.0))
    assert found == (None if expected is None else Verdict(*expected))


@rows(("fast", "slow", "cause"), [(*pair, cause) for pair in TABLE for cause in STOPS])
def test_stopped(fast: Standing, slow: Standing, cause: Cause) -> None:
    """A stop settles every run at once; a fast answer that was shown then stands, a verified one prevails."""
    found = settle(state("fast", standing(fast), 1.0), state("slow", standing(slow), 2.0), cause)
    status, reason = STOPS[cause][fast != "completed"]
    stopped = Verdict(status, "fast" if fast == "completed" else None, reason)
    assert found == (Verdict("completed", "slow", None) if slow == "completed" else stopped)


def test_tables_are_whole() -> None:
    """The product's tables have a rule for every pair of standings and every cause, and no other."""
    assert set(SETTLED) == set(product(get_args(Standing), repeat=2)) == set(TABLE)
    assert set(STOPPED) == set(get_args(Cause)) == set(STOPS)


def test_standing_of_every_outcome() -> None:
    """Only a completed lane stands as completed, only a timer's end as a timeout."""
    found = {outcome: LaneState(outcome).standing for outcome in OUTCOMES}
    others: dict[Outcome | None, Standing] = dict.fromkeys(OUTCOMES, "other")
    assert found == {**others, None: "running", "completed": "completed", "timeout": "timeout"}


def test_truth() -> None:
    """In every row: completed means verified, partial a fast answer, and a verdict comes when nothing can change it."""
    for (one, two, cause), at in product(ROWS, ((1.0, 2.0), (2.0, 1.0), (1.0, 1.0))):
        found = settle(state("fast", one, at[0]), state("slow", two, at[1]), cause)
        if found is None:
            assert cause is None
            assert None in (one, two)
            continue
        assert found.status in get_args(Status)
        assert (found.status == "completed") == (two == "completed") == (found.final_lane == "slow")
        assert (found.final_lane == "fast") == (one == "completed" and two != "completed")
        assert found.status != "partial" or found.final_lane == "fast"
        assert found.status not in ("timeout", "failed") or found.final_lane is None
        assert (found.reason is None) == (found.status == "completed")


@rows(
    ("fast", "slow", "at", "status", "reason"),
    [
        ("timeout", "failed", (1.0, 2.0), "failed", "slow's reason"),
        ("timeout", "failed", (2.0, 1.0), "timeout", "fast's reason"),
        ("refused", "timeout", (1.0, 2.0), "timeout", "slow's reason"),
        ("refused", "timeout", (2.0, 1.0), "failed", "fast's reason"),
        ("timeout", "empty", (2.0, 2.0), "failed", "slow's reason"),
        ("empty", "timeout", (2.0, 2.0), "timeout", "slow's reason"),
        ("timeout", "timeout", (2.0, 1.0), "timeout", "fast's reason"),
        ("incomplete", "empty", (2.0, 1.0), "failed", "fast's reason"),
    ],
)
def test_the_last_lane_decides(
    fast: Outcome, slow: Outcome, at: tuple[float, float], status: Status, reason: str
) -> None:
    """Of two lanes without an answer the one that ended last gives status and reason; in a tie the slow one."""
    found = settle(state("fast", fast, at[0]), state("slow", slow, at[1]))
    assert found == Verdict(status, None, reason)


@rows(
    ("lane", "verdict", "expected"),
    [
        ("fast", None, "unverified"),
        ("fast", "agree", "unverified"),
        ("slow", None, "unopposed"),
        ("slow", "agree", "confirmed"),
        ("slow", "disagree", "revised"),
        ("slow", "unknown", "undetermined"),
    ],
)
def test_change(lane: LaneName, verdict: str | None, expected: Change) -> None:
    """A final answer names its relation to the preliminary; a fast one is never called confirmed."""
    agreement = None if verdict is None else Agreement(verdict, "exact", 1, None)  # type: ignore[arg-type]
    assert change(lane, agreement) == expected
