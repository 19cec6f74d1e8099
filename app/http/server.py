"""uvicorn as Tandem runs it: a signal first lets every stream end, and only then closes the listener."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from types import FrameType

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import StartupError
from app.http.stream import ABORT

log = logging.getLogger(__name__)

CLOSE_S = 1.0  # for connections to close once every stream has ended
BACKLOG = 4096


class Protocol(HttpToolsProtocol):
    """Gives a response the means to drop its connection, for a client that does not read."""

    def on_message_begin(self) -> None:
        """Begin one request."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: self.transport.abort}  # type: ignore[dict-item]


class DrainingServer(Server):
    """The first signal drains while health checks are still answered; a second one stops at once."""

    def __init__(self, config: Config, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._drain = drain
        self._draining: asyncio.Task[None] | None = None

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super()._serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the interpreter between two steps of the main thread."""
        if self._draining is not None or not self.started:
            super().handle_exit(sig, frame)
            return
        self._loop.call_soon_threadsafe(self._begin_end)

    def _begin_end(self) -> None:
        if self._draining is None:
            self._draining = self._loop.create_task(self._end(), name="drain")

    async def _end(self) -> None:
        log.info("shutting down: no new runs; live ones get their grace")
        try:
            await self._drain()
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


def build(app: ASGIApp, drain: Callable[[], Awaitable[None]]) -> DrainingServer:
    """A server for the application, every option set on purpose."""
    config = Config(
        app,
        http=Protocol,
        loop="auto",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=CLOSE_S,  # type: ignore[arg-type]  # seconds; a fraction works
        backlog=BACKLOG,
    )
    return DrainingServer(config, drain)
