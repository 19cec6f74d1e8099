"""A run's log as a response: an event stream that sends what is ready in one write, or one JSON object at the end."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sse_starlette import EventSourceResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.events import PING, parse
from app.http.departure import Departure
from app.reasoning.log import Log, split

HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
# There are proxies that compress in spite of no-transform, and hold events back while they do; all leave alone what
# says that it has been encoded.
_STREAM_HEADERS = {**HEADERS, "Content-Encoding": "identity"}
_PARENTS = EventSourceResponse(iter(()), headers=_STREAM_HEADERS).raw_headers  # made once
_HEAD = [pair for pair in _PARENTS if pair[0] != b"connection"]  # which is for the connection to say


class Place(msgspec.Struct, frozen=True):
    """Where a reader begins: behind event number `after`; a guest reads a run that another request opened."""

    after: int = -1
    guest: bool = False


WRITE_BYTES: Final = 256 * 1024  # in one write: what a client does not read is to lie in the log alone
HEAD_S: Final = 0.25  # how long a head waits for the first event


class RunStream(EventSourceResponse):
    """sse-starlette's response over a run.

    It keeps that response's headers, framing and keep-alive interval. The end at shutdown comes through the log: each
    run gets its `done` within the grace, so no stream is cut. What it replaces is the group of four tasks and the
    cancel scope around every send: here the server tells of the disconnect, and one timer, re-armed only when it
    fires, serves the keep-alive. A client that does not read is dropped by the server's protocol. The reader is
    attached when the response begins, so that one that never begins leaves nothing.
    """

    background = None

    def __init__(self, run: Log, place: Place, ping_s: float, headers: Mapping[str, str]) -> None:
        # Not the parent's, which would make an iterator, a lock and the same headers anew for each stream.
        self.raw_headers = [*_HEAD, *[(name.lower().encode(), value.encode()) for name, value in headers.items()]]
        self.ping_interval = ping_s
        self._run = run
        self._place = place
        self._gone = False
        self._ping_due = False
        self._since = 0.0  # when the last write began

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; whatever ends it, the reader leaves the run."""
        loop = self._run.loop
        self._reader = self._run.attach(self._place.after, guest=self._place.guest)
        self._since = loop.time()
        self._timer = loop.call_later(min(HEAD_S, self.ping_interval), self._begin)
        try:
            with Departure(scope, receive, self._leave):
                if not len(self._run):  # `start` comes within its gate as a rule; the head goes with it
                    await self._reader.wait()
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await self._pump(send, loop)
        finally:
            self._timer.cancel()
            self._reader.close()

    async def _pump(self, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        """Send what is ready until the log ends or the client is gone."""
        reader = self._reader
        while not self._gone:
            block = reader.take(WRITE_BYTES)
            ended = reader.ended
            if not block and not ended:
                if not self._ping_due:
                    await reader.wait()
                    continue
                block = PING
            self._ping_due = False
            self._since = loop.time()
            await send({"type": "http.response.body", "body": block, "more_body": not ended})
            if ended:
                return

    def _leave(self) -> None:
        self._gone = True
        self._reader.wake()

    def _begin(self) -> None:
        """A log that shows nothing in time, as one of another instance may: the head goes alone."""
        self._reader.wake()
        self._timer = self._run.loop.call_at(self._since + self.ping_interval, self._tick)

    def _tick(self) -> None:
        """The one timer: ping a client that has had nothing to read for a while."""
        loop = self._run.loop
        due = self._since + self.ping_interval
        if loop.time() >= due:
            self._ping_due = True
            self._reader.wake()
            due = loop.time() + self.ping_interval
        self._timer = loop.call_at(due, self._tick)


class RunAnswer(Response):
    """The whole run as one JSON object, once it has ended: `{start, preliminary, lanes, final, done}`."""

    def __init__(self, run: Log, place: Place, headers: Mapping[str, str]) -> None:
        super().__init__(media_type="application/json", headers={**HEADERS, **headers})
        self._run = run
        self._place = place
        self._gone = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; a client that leaves is a reader that leaves."""
        self._reader = self._run.attach(guest=self._place.guest)
        parts = [self._reader.take()]
        try:
            with Departure(scope, receive, self._leave):
                while not self._reader.ended and not self._gone:
                    await self._reader.wait()
                    parts.append(self._reader.take())
        finally:
            self._reader.close()
        if not self._gone:
            self.body = json.dumps(summary(b"".join(parts))).encode()
            self.headers["content-length"] = str(len(self.body))
            await super().__call__(scope, receive, send)

    def _leave(self) -> None:
        self._gone = True
        self._reader.wake()


def summary(log: bytes) -> dict[str, Any]:
    """A finished log as one object; null where an event did not happen, deltas left out."""
    whole: dict[str, Any] = {"start": None, "preliminary": None, "lanes": [], "final": None, "done": None}
    for block in split(log):
        name, _, data = parse(block)
        if name == "lane_end":
            whole["lanes"].append(data)
        elif name != "delta":
            whole[name] = data
    return whole


def rest_of(events: bytes, headers: Mapping[str, str]) -> Response:
    """What is left of a run that has ended; 204, which stops an EventSource for good, when that is nothing."""
    if not events:
        return Response(status_code=204, headers=dict(headers))
    return Response(events, headers={**_STREAM_HEADERS, **headers}, media_type="text/event-stream")
