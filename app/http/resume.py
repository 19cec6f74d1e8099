"""Coming back to a run: the rest of its stream, from this instance or from the record, and never a second race."""

import re
from datetime import UTC, datetime, timedelta

from fastapi import Request
from starlette.responses import Response

from app.errors import BadLastEventId, NoSuchRun, RunExpired, RunNotLive
from app.events import Done, Usage, frame
from app.http.parts import Parts
from app.http.stream import RunStream, rest_of
from app.question import Caller
from app.reasoning.run import split

OVERDUE = timedelta(seconds=30)  # a run that is still open this long after its deadline has lost its server
ARRIVAL_S = 0.5
_ID = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):(\d{1,9})")


def last_event_id(request: Request, parameter: str | None) -> tuple[str, int] | None:
    """(run_id, seq) of the last event the client has seen; header before parameter; None when it sends none."""
    given = request.headers.get("last-event-id") or parameter
    if not given:
        return None
    match = _ID.fullmatch(given)
    if match is None:
        raise BadLastEventId("a Last-Event-ID is `<run_id>:<number>`, as the stream gave it")
    return match[1], int(match[2])


async def resume(parts: Parts, caller: Caller, run_id: str, after: int) -> Response:
    """Everything behind event number `after` (-1: from the beginning); 204 when that was `done`."""
    headers = {"X-Run-ID": run_id, "X-Run-Source": "live"}
    run = parts.runs.find(run_id, caller)
    if run is None:
        return await _from_record(parts, caller, run_id, after, headers)
    _check(after, len(run))
    if run.closed and after == len(run) - 1:
        return Response(status_code=204, headers=headers)
    return RunStream(run, after, parts.ping_s, headers)


async def _from_record(parts: Parts, caller: Caller, run_id: str, after: int, headers: dict[str, str]) -> Response:
    await arrived(parts, run_id)
    stored = await parts.records.log(caller, run_id)
    if stored is None:
        raise unknown(parts, run_id)
    if parts.pending.may_have(run_id) and (stored.status == "running" or stored.reason == "interrupted"):
        raise RunNotLive("how the run ended may be on its way to the record; ask again in a moment")
    overdue = stored.created_at + timedelta(milliseconds=stored.deadline_ms) + OVERDUE < datetime.now(UTC)
    if stored.status == "running" and not overdue:
        raise RunNotLive("the run is not on this instance and has not ended in the record yet")
    if stored.log is not None:
        events = list(split(stored.log))
        _check(after, len(events))
        return rest_of(b"".join(events[after + 1 :]), headers)
    if stored.reason != "interrupted" and stored.status != "running":
        raise RunExpired("the events of this run are no longer kept; its record may still be there")
    if parts.told.get(run_id) == after:
        return rest_of(b"", headers)
    parts.told[run_id] = after + 1
    return rest_of(_interrupted(run_id, after + 1, stored.fingerprint), headers)


async def arrived(parts: Parts, run_id: str) -> None:
    """Wait a moment for a record that is on its way, so that who asks right behind `done` finds it."""
    if parts.pending.may_have(run_id):
        await parts.pending.arrival(run_id, ARRIVAL_S)


def unknown(parts: Parts, run_id: str) -> NoSuchRun | RunNotLive:
    """What to say of a run that the record does not have: it may be on its way there."""
    if parts.pending.may_have(run_id):
        return RunNotLive("the record of this run may be on its way; ask again in a moment")
    return NoSuchRun("there is no such run of yours")


def _check(after: int, count: int) -> None:
    if after >= count:
        raise BadLastEventId(f"the run has only {count} events so far, numbered from 0")


def _interrupted(run_id: str, seq: int, fingerprint: str) -> bytes:
    """The `done` of a run whose server died under it, numbered on from what the client has seen."""
    done = Done(
        status="failed",
        final_lane=None,
        verified=False,
        reason="interrupted",
        usage=Usage(),
        cost_usd=None,
        latency_ms=None,
        slow=False,
        fingerprint=fingerprint,
        audit="durable",
    )
    return frame(run_id, seq, done)
