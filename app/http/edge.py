"""The outermost layer, pure ASGI: request ids and lines, security headers, the door."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import trail
from app.errors import Refusal
from app.http.carried import carried, request_id_of
from app.http.door import RATED, Door, is_https
from app.http.fields import FIELDS, Fields
from app.http.problems import REFUSED, problem
from app.http.requests import Sent
from app.record.detectors import SECRETS, mask


def _fit(trace: trail.Trace | None) -> trail.Trace | None:
    """The trace without a state in which a key stands: that goes on to providers and to the collector."""
    return trace._replace(state="") if trace is not None and mask(trace.state, SECRETS)[1] else trace


class Watch(Protocol):
    """Somebody who watches requests; never raises."""

    def began(self, scope: Scope) -> None:
        """A request came; who asks is not known yet."""
        ...

    def finished(self, scope: Scope, sent: Sent) -> None:
        """A request has ended, whatever ended it."""
        ...


class Edge:
    """Wraps the application. door: who is let in; watches: told of every request as it comes and as it goes."""

    def __init__(self, app: ASGIApp, *, door: Door, watches: Sequence[Watch] = ()) -> None:
        self._app = app
        self._door = door
        self._watches = watches

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = scope[FIELDS] = Fields(scope)
        request_id = request_id_of(headers.get("x-request-id"))
        scope["request_id"] = request_id
        parents = headers.getlist("traceparent")
        trail.begin(request_id, _fit(trail.trace_of(parents, headers.getlist("tracestate"))) if parents else None)
        added = [*carried(request_id, https=is_https(headers, scope)), *self._door.added(headers)]
        sent = Sent()

        def send_with_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added, *scope.get(RATED, ())]
                sent.head = message
            else:
                sent.bytes += len(message.get("body", b""))
            return send(message)

        for watch in self._watches:
            watch.began(scope)
        try:
            try:
                answer = await self._door.enter(headers, scope)
            except Refusal as refused:
                scope[REFUSED] = refused.code
                answer = problem(refused, request_id)
            await (answer or self._app)(scope, receive, send_with_headers)
        finally:
            for watch in self._watches:
                watch.finished(scope, sent)
