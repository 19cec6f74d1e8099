"""uvicorn as Tandem runs it: a signal first lets every stream end, and only then closes the listener."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import Any, NamedTuple

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import StartupError
from app.http.departure import CONNECTION

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 * 1024
LINE_BYTES = 4  # what stands around the name and the value of a header
LINGER_S = 2.0  # for what a client still sends of a request that has had its reply
CLOSE_S = 1.0  # for connections to close once every stream has ended
BACKLOG = 4096


class Parting(NamedTuple):
    """What a request writes its reply to when the connection ends with it: the transport, but for how it is closed."""

    write: Callable[[bytes], None]
    is_closing: Callable[[], bool]
    close: Callable[[], None]


class Protocol(HttpToolsProtocol):
    """Drops a connection whose client takes nothing of what was written for send_timeout_s seconds.

    Here and not in a response, because what a finished response has left in the buffer must go the same way: closing
    a connection waits for its buffer, for ever when nobody reads.
    """

    # Beside the parent's dict, which with eight more names would be too large to share its keys.
    __slots__ = ("_head_bytes", "_in_body", "_lingering", "_lost", "_pending", "_send_timeout_s", "_unread", "_watch")

    def __init__(self, *args: Any, send_timeout_s: float, **kwargs: Any) -> None:  # noqa: ANN401  # uvicorn's own
        super().__init__(*args, **kwargs)
        self._send_timeout_s = send_timeout_s
        self._pending = 0  # bytes since a head or a part of a body was whole
        self._head_bytes = 0
        self._in_body = False
        self._unread = 0
        self._watch: asyncio.TimerHandle | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._lost: asyncio.Future[None] = self.loop.create_future()

    def data_received(self, data: bytes) -> None:
        """Some bytes. The parser keeps what is unfinished whole, however long; nobody may send a head for ever."""
        self._pending += len(data)
        super().data_received(data)
        if self._pending > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: {"lost": self._lost}}
        self._head_bytes = 0
        self._in_body = False

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or behind the body one trailer, which nobody here reads."""
        if not self._in_body:
            self._head_bytes += len(name) + len(value) + LINE_BYTES
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole; a request begins, unless the head was too large."""
        self._pending = 0
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse()
        self._in_body = True
        if not self.transport.is_closing():
            super().on_headers_complete()
            if not self.cycle.keep_alive:
                parting = Parting(self.transport.write, self.transport.is_closing, self._part)
                self.cycle.transport = parting  # type: ignore[assignment]  # all that a cycle needs of one

    def _part(self) -> None:
        """Close after a reply. Nobody who still sends may be reset, or the reply would be lost with the connection."""
        if not self.cycle.more_body:
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write_eof()
            self._lingering = self.loop.call_later(LINGER_S, self.transport.abort)

    def on_body(self, body: bytes) -> None:
        """A part of the body, which its reader bounds."""
        self._pending = 0
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole. Reading goes on, to see the client leave, unless requests wait for their turn."""
        self._pending = 0
        if self._lingering is not None:
            self.transport.close()
        if not self.transport.is_closing():
            super().on_message_complete()
            if not self.pipeline:
                self.flow.resume_reading()

    def _refuse(self) -> None:
        """Say why while no response can be under way, and hang up."""
        if self._in_body:
            self.transport.abort()
        else:
            self.send_400_response("The head of the request is too large.")

    def pause_writing(self) -> None:
        """The buffer is full; the response waits."""
        super().pause_writing()
        self._begin_watch()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._end_watch()

    def on_response_complete(self) -> None:
        """A response is in the buffer as a whole."""
        super().on_response_complete()
        self._begin_watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever wanted it."""
        super().connection_lost(exc)
        self._lost.set_result(None)
        self._end_watch()
        if self._lingering is not None:
            self._lingering.cancel()

    def _begin_watch(self) -> None:
        self._end_watch()
        self._unread = self.transport.get_write_buffer_size()
        if self._unread:
            self._watch = self.loop.call_later(self._send_timeout_s, self._look)

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _look(self) -> None:
        """A client that has read something since the last look, however little, is given as long again."""
        if self.transport.get_write_buffer_size() < self._unread:
            self._begin_watch()
        else:
            self.transport.abort()


class DrainingServer(Server):
    """The first signal drains while health checks are still answered, the second ends the grace, a third stops it all.

    drain ends the live runs after that many seconds; while it waits it may be called again with fewer.
    """

    def __init__(self, config: Config, drain: Callable[[float], Awaitable[None]], grace_s: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._graces = [grace_s, 0.0]
        self._ending: set[asyncio.Task[None]] = set()

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super()._serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the interpreter between two steps of the main thread."""
        if not self._graces or not self.started:
            super().handle_exit(sig, frame)
            return
        self._loop.call_soon_threadsafe(self._begin_end, self._graces.pop(0))

    def _begin_end(self, grace_s: float) -> None:
        task = self._loop.create_task(self._end(grace_s), name="drain")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, grace_s: float) -> None:
        log.info("shutting down: no new runs; live ones have %g s", grace_s)
        try:
            await self._drain(grace_s)
        finally:
            self.should_exit = True


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises StartupError that names the setting."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise StartupError(f"cannot listen on HOST={host} PORT={port}: {error.strerror}; set another PORT") from None
    listener.listen(BACKLOG)
    listener.set_inheritable(False)
    return listener


def build(
    app: ASGIApp, drain: Callable[[float], Awaitable[None]], grace_s: float, send_timeout_s: float
) -> DrainingServer:
    """A server for the application, every option set on purpose; send_timeout_s: how long a client may read nothing."""
    config = Config(
        app,
        http=partial(Protocol, send_timeout_s=send_timeout_s),  # type: ignore[arg-type]  # called like the class
        loop="auto",
        ws="none",
        lifespan="off",  # what is opened and closed is not the application's
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=CLOSE_S,  # type: ignore[arg-type]  # seconds; a fraction works
        backlog=BACKLOG,
    )
    return DrainingServer(config, drain, grace_s)
