"""One connection as the server sees it: how long and how large whatever a client sends and leaves unread may be."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final, Literal

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.http.closings import LATE, MALFORMED, TOO_LARGE, full
from app.http.departure import CONNECTION
from app.http.doorstep import Doorstep
from app.http.joining import Joining
from app.http.notices import Kind
from app.http.offers import Declining
from app.http.parting import Parting

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 256
LINE_BYTES: Final = 4  # what stands around the name and the value of a header
MAX_PIPELINED: Final = 32  # requests that wait for the answers of those before them
LINGER_BYTES: Final = 4 * 1024 * 1024  # of a body that was answered before its end; a client that is cut off
LINGER_S: Final = 3.0  # before it has sent that much, or for so long, would not see the answer


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a client may read nothing, and take for a head, in seconds; how many connections there may be."""

    send_timeout_s: float = 30.0
    head_timeout_s: float = 10.0
    connections: int = 10_000


class Protocol(Declining):
    """uvicorn's protocol with bounds, most of which cost a request nothing.

    It drops a connection whose client takes nothing of what was written for send_timeout_s seconds. Here and not in a
    response, because what a finished response has left in the buffer must go the same way: closing a connection waits
    for its buffer, for ever when nobody reads.
    """

    # Beside the parent's dict, which with so many more names would be too large to share its keys.
    __slots__ = (
        "_bounds", "_current", "_deaf", "_doorstep", "_head_bytes", "_head_watch", "_linger", "_linger_watch", "_lost",
        "_pending", "_stage", "_turned_away", "_unread", "_watch",
    )  # fmt: skip

    def __init__(self, *args: Any, bounds: Bounds, doorstep: Doorstep, **kwargs: Any) -> None:  # noqa: ANN401  # uvicorn's own
        super().__init__(*args, **kwargs)
        self._bounds = bounds
        self._doorstep = doorstep
        self._current: RequestResponseCycle | None = None  # that is answered; the parent knows the last that came
        self._pending = 0  # bytes since a head or a part of a body was whole
        self._head_bytes = 0
        self._stage: Literal["head", "body", "between"] = "between"
        self._watch: asyncio.TimerHandle | None = None
        self._head_watch: asyncio.TimerHandle | None = None
        self._turned_away = False
        self._deaf = False  # what still comes is read for the client to see why, and dropped
        self._linger = 0
        self._linger_watch: asyncio.TimerHandle | None = None
        self._lost: asyncio.Future[None] = self.loop.create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came; it is told when there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._bounds.connections:
            transport.write(full())
            self._end("too_many_connections")
        else:
            self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Some bytes. The parser keeps what is unfinished whole, however long; nobody may send a head for ever."""
        if self._deaf:
            self._linger -= len(data)
            if self._linger < 0:
                self.transport.abort()
            return
        self._pending += len(data)
        self._unset_keepalive_if_required()
        try:
            self.feed(data)
        except httptools.HttpParserError:
            self._refuse("malformed", MALFORMED)
            return
        if self._deaf or self.transport.is_closing():
            return
        if self._pending > MAX_HEAD_BYTES:
            self._refuse("head_large", TOO_LARGE)
        elif self._head_watch is None and (self._stage == "head" or (self._stage == "between" and self._pending)):
            self._watch_head()

    # -- the head

    def on_message_begin(self) -> None:
        """A head begins. Behind the end of a connection nothing does, however much of it came in one read."""
        if self.transport.is_closing():
            raise ConnectionAbortedError
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: {"lost": self._lost}}
        self._head_bytes = 0
        self._stage = "head"

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or behind the body one trailer, which nobody here reads."""
        if self._stage == "body":
            return
        self._head_bytes += len(name) + len(value) + LINE_BYTES
        if len(self.headers) >= MAX_HEADERS or self._head_bytes > MAX_HEAD_BYTES:
            self._refuse("head_large", TOO_LARGE)
            raise ConnectionAbortedError  # the parser would go on to the end of what came
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole; a request begins, unless the head was too large."""
        self._pending = 0
        if self._head_watch is not None:
            self._head_watch.cancel()
            self._head_watch = None
        if self.transport.is_closing() or self.offers():
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse("head_large", TOO_LARGE)
            raise ConnectionAbortedError  # or the parser would tell of the end of a request that never began
        if len(self.pipeline) >= MAX_PIPELINED:
            self._end("pipelined", abort=True)
        elif not self._answering and self._doorstep.turns_away(self.parser.get_method(), self.url, self.headers):
            self._turn_away()
        else:
            self._stage = "body"
            super().on_headers_complete()
            if not self.pipeline:
                self._current = self.cycle
            if self.cycle.keep_alive:
                self.cycle.transport = Joining(self.cycle)  # type: ignore[assignment]  # all that a cycle needs of one
            else:
                parting = Parting(self.transport, self._part, plain=self.scope["http_version"] == "1.0")
                self.cycle.transport = parting  # type: ignore[assignment]  # as above

    def _turn_away(self) -> None:
        """Answer at once, and end with the request."""
        self._stage, self._turned_away = "body", True
        self.transport.write(self._doorstep.refusal(self._who, self.headers))
        self._begin_watch()
        self._let_finish()

    def _watch_head(self) -> None:
        self._head_watch = self.loop.call_later(self._bounds.head_timeout_s, self._head_late)

    def _head_late(self) -> None:
        """The time for a head is over; a client that still reads an answer has as long again."""
        self._head_watch = None
        if self._answering:
            self._watch_head()
        elif not self._deaf and not self.transport.is_closing():
            if self._stage == "head" or self._pending:
                self.transport.write(LATE)
            self._end("head_late")

    # -- the body

    def on_body(self, body: bytes) -> None:
        """A part of the body, which its reader bounds; what comes behind the answer is bounded here."""
        self._pending = 0
        if self._linger_watch is not None:
            self._linger -= len(body)
            if self._linger < 0:
                self._drop_body()
        if not self._turned_away and not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole. Reading goes on, to see the client leave, unless requests wait for their turn."""
        if self._plain:
            return
        self._pending, self._stage = 0, "between"
        self.scope["extensions"][CONNECTION]["whole"] = True
        if self._linger_watch is not None and (self._turned_away or not self.cycle.keep_alive):
            self.transport.close()
        self._end_linger()
        if not self.transport.is_closing():
            super().on_message_complete()
            if not self.pipeline:
                self.flow.resume_reading()

    def _drop_body(self) -> None:
        self._end("body_unwanted", abort=True)

    def _end_linger(self) -> None:
        if self._linger_watch is not None:
            self._linger_watch.cancel()
            self._linger_watch = None

    # -- the answer

    def _part(self) -> None:
        """Close after a reply. Nobody who still sends may be reset, or the reply would be lost with the connection."""
        if self._current is None or not self._current.more_body:
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write_eof()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def on_response_complete(self) -> None:
        """A response is in the buffer as a whole, perhaps before its request."""
        if self.pipeline:
            self._current = self.pipeline[-1][0]
        super().on_response_complete()
        if self._stage == "body" and not self._answering and not self.transport.is_closing():
            self._let_finish()
        self._begin_watch()

    def _let_finish(self) -> None:
        """A client sees the answer when it may send the rest of its request."""
        self._end_linger()
        self._linger = LINGER_BYTES
        self._linger_watch = self.loop.call_later(LINGER_S, self._drop_body)

    def pause_writing(self) -> None:
        """The buffer is full; the response waits."""
        super().pause_writing()
        self._begin_watch()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._end_watch()

    def _begin_watch(self) -> None:
        self._end_watch()
        self._unread = self.transport.get_write_buffer_size()
        if self._unread:
            self._watch = self.loop.call_later(self._bounds.send_timeout_s, self._look)

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _look(self) -> None:
        """A client that has read something since the last look, however little, is given as long again."""
        if self.transport.get_write_buffer_size() < self._unread:
            self._begin_watch()
        else:
            self._end("never_read", abort=True)

    # -- the end

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever wanted it."""
        super().connection_lost(exc)
        if self._current is not None:
            self._current.disconnected = True
            self._current.message_event.set()
        self._lost.set_result(None)
        for timer in filter(None, (self._watch, self._linger_watch, self._head_watch)):
            timer.cancel()

    @property
    def _who(self) -> str:
        return self.client[0] if self.client else "a socket"

    def _refuse(self, kind: Kind, answer: bytes) -> None:
        """Say why unless an answer is under way. Who still sends is heard out, or would not see it."""
        if self._deaf or self.transport.is_closing():
            return
        if self.pipeline or (self._answering and self.cycle.response_started):
            self._end(kind, abort=True)
        elif self._answering:  # that answer has nowhere to go any more, which is to be known at once
            self.transport.write(answer)
            self._end(kind)
        else:
            self._doorstep.notices.tell(kind, self._who)
            self._deaf = True
            if not (self._turned_away or (self.cycle and not self.cycle.keep_alive)):  # else the last word was said
                self.transport.write(answer)
            self.transport.write_eof()
            self._end_linger()
            self._linger = LINGER_BYTES
            self._linger_watch = self.loop.call_later(LINGER_S, self.transport.abort)
            self._begin_watch()

    def _end(self, kind: Kind, *, abort: bool = False) -> None:
        """Close the connection, at once or behind what was written, and have that told."""
        self._doorstep.notices.tell(kind, self._who)
        if abort:
            self.transport.abort()
        else:
            self.transport.close()
            self._begin_watch()
