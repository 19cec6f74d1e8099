"""Which request, run and trace the work at hand belongs to; every task that it starts belongs to the same.

A trace goes on from service to service as W3C writes it (traceparent, tracestate). A run that nobody sent a trace with
is one of its own: a UUIDv7 is as long as a trace's id, and its last seven bytes are as random. The ids of spans follow
from the run's, so that nothing has to be remembered while it lives.
"""

import re
from contextvars import ContextVar
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_STATE: Final = re.compile(r"[ -~]{1,512}")


class Trace(NamedTuple):
    """The trace a request came with; parent: the span that sent it, ids in hex."""

    trace_id: str
    parent: str
    sampled: bool
    state: str = ""


class Trail(msgspec.Struct, frozen=True):
    """What is known of it."""

    request_id: str | None = None
    trace: Trace | None = None
    run_id: str | None = None

    @property
    def trace_id(self) -> str | None:
        """The trace in hex: the one that was sent, else the run's own."""
        if self.trace is not None:
            return self.trace.trace_id
        return None if self.run_id is None else self.run_id.replace("-", "")


_NONE: Final = Trail()
_HERE: ContextVar[Trail] = ContextVar("trail", default=_NONE)


def begin(request_id: str, trace: Trace | None) -> None:
    """From here on this task works for that request."""
    _HERE.set(Trail(request_id, trace))


def about(run_id: str) -> None:
    """From here on it is about that run."""
    trail = _HERE.get()
    _HERE.set(Trail(trail.request_id, trail.trace, run_id))


def here() -> Trail:
    """What the work at hand belongs to."""
    return _HERE.get()


def trace_of(parents: list[str], states: list[str]) -> Trace | None:
    """The trace in a request's headers, of each the values; None when there is none or it is not as W3C writes it."""
    found = _TRACEPARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    if found is None or (found[1] == "00" and found[5]):
        return None
    state = ",".join(states)
    return Trace(found[2], found[3], bool(int(found[4], 16) & 1), state if _STATE.fullmatch(state) else "")


def span_of(run_id: str, part: str = "") -> str:
    """The span of a run, or of a part of it, in hex."""
    return blake2b(f"{run_id}/{part}".encode(), digest_size=8).hexdigest()
