"""The last steps of every run: write the outcome down within a bound, say `done`, and say it even after a fault."""

import logging
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from app.events import Done, Usage
from app.reasoning.lane import milliseconds, usd
from app.reasoning.run import Run
from app.reasoning.verdict import Verdict
from app.record.entry import FAULT, LATE, Closing, Journal

log = logging.getLogger(__name__)

DONE_GATE_S: Final = 0.5

Draft = Callable[[Done], Closing]


def done_of(run: Run, verdict: Verdict, usage: Usage, cost_nano: int | None, slow_ms: float) -> Done:
    """What `done` says if its record is durable in time; a run is slow beyond slow_ms milliseconds."""
    latency_ms = milliseconds(run.loop.time() - run.opened_at)
    return Done(
        status=verdict.status,
        final_lane=verdict.final_lane,
        verified=verdict.final_lane == "slow",
        reason=verdict.reason,
        usage=usage,
        cost_usd=usd(cost_nano),
        latency_ms=latency_ms,
        slow=latency_ms > slow_ms,
        fingerprint=run.fingerprint,
        audit="durable",
        source=run.source,
    )


async def conclude(run: Run, journal: Journal, done: Done, draft: Draft) -> Closing:
    """Write down the outcome that the draft makes of `done`, then say it, truthfully; the closing that stands.

    A `done` that has to say `pending` is written down once more, as it was said.
    """
    closing = draft(done)
    if not await journal.closed(closing).durable(DONE_GATE_S):
        done = replace(done, audit="pending")
        closing = replace(draft(done), version=LATE)
        journal.closed(closing)
    run.append(done)
    return closing


def say_internal(run: Run, journal: Journal, made: Callable[[], Done], draft: Draft) -> Closing | None:
    """End a log that a fault of ours left open, as far as that can be done; `done` comes in any case.

    The closing that was written down, if there is one.
    """
    written: list[Closing] = []

    def write(done: Done) -> None:
        written.append(replace(draft(done), version=FAULT))
        journal.closed(written[0])

    def say() -> None:
        done = replace(made(), audit="pending")
        attempt(lambda: write(done))
        run.append(done, anywhere=True)

    attempt(say)
    if not run.closed:  # not even that could be said: the least that is true
        least = Done("failed", None, False, "internal", Usage(), None, None, False, "", "pending")
        run.append(least, anywhere=True)
    return written[0] if written else None


def attempt(step: Callable[[], object]) -> None:
    """Take a step at the end of a run that may fail."""
    try:
        step()
    except Exception:  # whatever fails again on the way to `done`, or behind it, must not keep a run from its end
        log.exception("a step at the end of a run failed")
