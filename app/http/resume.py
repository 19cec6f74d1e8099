"""Coming back to a run: the rest of its stream, from this instance or from the record, and never a second race."""

import re
from datetime import UTC, datetime, timedelta

from fastapi import Request
from starlette.responses import Response

from app.errors import BadLastEventId, NoSuchRun, RunExpired, RunNotLive
from app.events import frame, interrupted, parse
from app.http.parts import Parts
from app.http.stream import Place, RunStream, rest_of
from app.question import Caller
from app.reasoning.desk import Asked
from app.reasoning.log import Log, Source, split
from app.reasoning.order import time_of

OVERDUE = timedelta(seconds=30)  # a run that is still open this long after its deadline has lost its server
OPENED = timedelta(seconds=60)  # a run that nobody knows so long after it was named has not been opened
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
    log = await _log_of(parts, caller, run_id, after)
    if log is None:
        return await _from_record(parts, caller, run_id, after)
    headers = {"X-Run-ID": run_id, "X-Run-Source": log.source}
    if log.interrupted and after >= len(log) - 1:  # its owner died, perhaps before it had shown all that was seen
        return rest_of(_last_word(parts, run_id, after, log.fingerprint), headers)
    _check(after, len(log))
    if log.closed and after == len(log) - 1:
        return Response(status_code=204, headers=headers)
    return RunStream(log, Place(after, guest=log.caller != caller), parts.ping_s, headers)


async def again(parts: Parts, caller: Caller, run_id: str, *, finish: bool) -> Asked:
    """The whole run that an idempotency key stands for, for who asks under that key again; finish: as Elsewhere has it.

    Raises NoSuchRun when it has not been opened, nor will be; RunNotLive, RunExpired.
    """
    log = await _log_of(parts, caller, run_id, finish=finish)
    if log is None:
        try:
            log = await _log_from_record(parts, caller, run_id)
        except (NoSuchRun, RunNotLive) as error:  # another instance may open it just now, or not have shown it yet
            log = await parts.answers.elsewhere.tail(run_id, caller, guest=True, finish=finish)
            if log is None and isinstance(error, NoSuchRun) and datetime.now(UTC) < time_of(run_id) + OPENED:
                raise RunNotLive("the run of this key is about to be opened; ask again in a moment") from None
            if log is None:
                raise
    return Asked(log, "attached", guest=log.caller != caller)


async def _log_from_record(parts: Parts, caller: Caller, run_id: str) -> Log:
    """The whole stream of a run that has ended, as a log like any other."""
    events, source = await _recorded(parts, caller, run_id, -1)
    *_, last = split(events)
    log = Log(run_id, caller, parse(last)[2]["fingerprint"], source)
    log.relay(events)
    return log


async def _log_of(parts: Parts, caller: Caller, run_id: str, after: int = -1, *, finish: bool = False) -> Log | None:
    """The log, if the run lives or ended lately, on this instance or another."""
    run = parts.runs.find(run_id, caller)
    if run is None:
        return await parts.answers.elsewhere.tail(run_id, caller, finish=finish, after=after)
    if finish:
        run.outlive_readers()
    return run


async def _from_record(parts: Parts, caller: Caller, run_id: str, after: int) -> Response:
    events, source = await _recorded(parts, caller, run_id, after)
    return rest_of(events, {"X-Run-ID": run_id, "X-Run-Source": source})


async def _recorded(parts: Parts, caller: Caller, run_id: str, after: int) -> tuple[bytes, Source]:
    """What the record has behind that event, and where the run came from. Raises NoSuchRun, RunNotLive, RunExpired."""
    await arrived(parts, caller, run_id)
    stored = await parts.records.log(caller, run_id)
    if stored is None:
        raise await unknown(parts, caller, run_id, guest=True)
    if parts.pending.may_have(run_id) and (stored.status == "running" or stored.reason == "interrupted"):
        raise RunNotLive("how the run ended may be on its way to the record; ask again in a moment")
    overdue = stored.created_at + timedelta(milliseconds=stored.deadline_ms) + OVERDUE < datetime.now(UTC)
    if stored.status == "running" and not overdue:
        raise RunNotLive("the run is not on this instance and has not ended in the record yet")
    if stored.log is not None:
        events = list(split(stored.log))
        _check(after, len(events))
        return b"".join(events[after + 1 :]), parse(events[0])[2]["source"]
    if stored.reason != "interrupted" and stored.status != "running":
        raise RunExpired("the events of this run are no longer kept; its record may still be there")
    return _last_word(parts, run_id, after, stored.fingerprint), "live"


def _last_word(parts: Parts, run_id: str, after: int, fingerprint: str) -> bytes:
    """The `done` of a run whose server died, numbered on from what the client has seen; nothing if it was that."""
    if parts.told.get(run_id) == after:
        return b""
    parts.told[run_id] = after + 1
    return frame(run_id, after + 1, interrupted(fingerprint))


async def arrived(parts: Parts, caller: Caller, run_id: str) -> None:
    """Wait a moment for the caller's record that is on its way, so that who asks right behind `done` finds it."""
    if parts.pending.may_have(run_id, caller.id):
        await parts.pending.arrival(run_id, ARRIVAL_S, caller.id)


async def unknown(parts: Parts, caller: Caller, run_id: str, *, guest: bool = False) -> NoSuchRun | RunNotLive:
    """What to say of a run that the record does not have for the caller: it may be on its way there, from anywhere.

    guest: also for who may read the run's stream, and has no record of it.
    """
    if parts.pending.may_have(run_id, caller.id) or await parts.answers.elsewhere.knows(run_id, caller, guest=guest):
        return RunNotLive("the record of this run may be on its way; ask again in a moment")
    return NoSuchRun("there is no such run of yours")


def _check(after: int, count: int) -> None:
    if after >= count:
        raise BadLastEventId(f"the run has only {count} events so far, numbered from 0")
