"""How the lanes fared lately: of each the last end, and the last that was no good one."""

import time
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from app.events import LaneEnd
from app.question import Key, LaneName
from app.record.entry import Closing

_SOUND: Final = frozenset({"completed", "cancelled"})


class _Last(NamedTuple):
    end: LaneEnd
    at: float  # Unix time


class Lately:
    """Told of every run's end."""

    def __init__(self) -> None:
        self._ends: dict[LaneName, _Last] = {}
        self._errors: dict[LaneName, _Last] = {}

    def keep(self, closing: Closing, key: Key) -> None:  # noqa: ARG002  # as runs tell of their ends
        """A run has ended; a replay asked nobody."""
        if closing.opening.source != "live":
            return
        now = time.time()
        for name, lane in closing.lanes.items():
            last = self._ends[name] = _Last(lane.end, now)
            if lane.end.outcome not in _SOUND:
                self._errors[name] = last

    def told(self, lane: LaneName) -> dict[str, Any]:
        """The last answer of a lane, and its last error, by code: no text, and no name that a client gave."""
        last, error = self._ends.get(lane), self._errors.get(lane)
        return {
            "outcome": None if last is None else last.end.outcome,
            "latency_ms": None if last is None else last.end.latency_ms,
            "ttft_ms": None if last is None else last.end.ttft_ms,
            "last_error": None if error is None else {"at": _second(error.at), "reason": error.end.reason},
        }


def _second(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
