"""When is a run settled, and how? Rules only: no clock, no task, no event.

A lane stands as `running`, `completed`, `timeout` (ended by a timer) or `other` (every other end). `SETTLED` says for
policy `race` what each pair of standings means while nobody has asked the run to stop; `STOPPED` says what each cause
of a stop means. A slow lane that completed always wins: it is the verified answer, whatever else happens.
"""

from typing import Final, Literal

import msgspec

from app.errors import Outcome
from app.events import Agreement, Change, Status
from app.question import LaneName

Standing = Literal["running", "completed", "timeout", "other"]
Rule = Literal["wait", "verified", "unverified", "none"]
Cause = Literal["cancelled", "client_gone", "shutdown", "accepted"]


class Verdict(msgspec.Struct, frozen=True):
    """The settled run: whose answer stands (None: nobody's) and why."""

    status: Status
    final_lane: LaneName | None
    reason: str | None


# (fast, slow): what follows. `none`: no answer stands.
SETTLED: Final[dict[tuple[Standing, Standing], Rule]] = {
    ("running", "running"): "wait",
    ("running", "completed"): "verified",
    ("running", "timeout"): "wait",
    ("running", "other"): "wait",
    ("completed", "running"): "wait",
    ("completed", "completed"): "verified",
    ("completed", "timeout"): "unverified",
    ("completed", "other"): "unverified",
    ("timeout", "running"): "wait",
    ("timeout", "completed"): "verified",
    ("timeout", "timeout"): "none",
    ("timeout", "other"): "none",
    ("other", "running"): "wait",
    ("other", "completed"): "verified",
    ("other", "timeout"): "none",
    ("other", "other"): "none",
}

# cause of a stop: (status, reason of the run).
STOPPED: Final[dict[Cause, tuple[Status, str]]] = {
    "cancelled": ("cancelled", "cancelled"),
    "client_gone": ("cancelled", "client_gone"),
    "shutdown": ("shutdown", "shutdown"),
    "accepted": ("partial", "accepted"),
}


class LaneState(msgspec.Struct, frozen=True):
    """What a verdict needs to know of a lane; ended_at is on any clock, and says nothing while it runs."""

    outcome: Outcome | None = None
    reason: str | None = None
    ended_at: float = 0.0

    @property
    def standing(self) -> Standing:
        """The row or column of the table this lane stands in."""
        if self.outcome is None:
            return "running"
        if self.outcome in ("completed", "timeout"):
            return self.outcome
        return "other"


def settle(fast: LaneState, slow: LaneState, cause: Cause | None = None) -> Verdict | None:
    """The verdict on a run, or None while it is to go on."""
    rule = SETTLED[fast.standing, slow.standing]
    if rule == "verified":
        return Verdict("completed", "slow", None)
    if cause == "accepted" and fast.standing != "completed":
        cause = "cancelled"  # nothing was there to accept, and `partial` promises an answer
    if cause is not None:
        status, reason = STOPPED[cause]
        return Verdict(status, "fast" if fast.outcome == "completed" else None, reason)
    if rule == "wait":
        return None
    if rule == "unverified":
        return Verdict("partial", "fast", slow.reason)
    last = fast if fast.ended_at > slow.ended_at else slow  # in a tie the slow lane is said last
    return Verdict("timeout" if last.standing == "timeout" else "failed", None, last.reason)


def change(final_lane: LaneName, agreement: Agreement | None) -> Change:
    """How the answer that stands relates to the preliminary; agreement is None when there was none to compare."""
    if final_lane == "fast":
        return "unverified"
    if agreement is None:
        return "unopposed"
    return {"agree": "confirmed", "disagree": "revised", "unknown": "undetermined"}[agreement.verdict]  # type: ignore[return-value]
