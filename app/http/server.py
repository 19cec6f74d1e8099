"""uvicorn as Tandem runs it: a signal first lets every stream end, and only then closes the listener."""

import asyncio
import logging
import resource
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Final

from starlette.types import ASGIApp
from uvicorn import Config, Server

from app.errors import StartupError
from app.http.accepting import Accepting
from app.http.connection import Bounds, Protocol
from app.http.doorstep import Doorstep

log = logging.getLogger(__name__)

CLOSE_S = 1.0  # for connections to close once every stream has ended
BACKLOG = 4096
VANISHED_S: Final = 30.0  # at least, until a client that confirms nothing is given up
DEFAULT_BOUNDS: Final = Bounds()
# When a connection on which nothing is said is asked for a sign of life, how often and how many times.
SIGNS_OF_LIFE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


class DrainingServer(Server):
    """The first signal drains while health checks are still answered, the second ends the grace, a third stops it all.

    drain ends the live runs after that many seconds; while it waits it may be called again with fewer.
    """

    def __init__(
        self, config: Config, drain: Callable[[float], Awaitable[None]], grace_s: float, send_timeout_s: float
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._send_timeout_s = send_timeout_s
        self._graces = [grace_s, 0.0]
        self._ending: set[asyncio.Task[None]] = set()

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super()._serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on these."""
        await super().startup([])  # which knows only the loop's own way to take connections in
        for listener in sockets or ():
            _notice_the_vanished(listener, max(VANISHED_S, self._send_timeout_s))
            self.servers.append(Accepting(listener, self._protocol))  # type: ignore[arg-type]  # all that uvicorn needs of one

    def _protocol(self) -> asyncio.Protocol:
        """For one connection."""
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state={})

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
    """A listening socket. Raises StartupError that names the settings."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:  # the latter of what can be no host's name, as 0..0.0.0
        why = error.strerror if isinstance(error, OSError) else "no host can be called so"
        raise StartupError(f"cannot listen on HOST={host} PORT={port}: {why}; set another HOST or PORT") from None
    listener.listen(BACKLOG)
    listener.set_inheritable(False)
    return listener


def _notice_the_vanished(listener: socket.socket, after_s: float) -> None:
    """Connections whose client vanished without a word end, those with something to send after that many seconds.

    What is set on the listener holds for what it accepts. macOS knows but the first of these.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {**SIGNS_OF_LIFE, "TCP_USER_TIMEOUT": round(after_s * 1000)}
    for name, value in options.items():
        option: int | None = getattr(socket, name, None)
        if option is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)


def _affordable(connections: int) -> int:
    """So many connections at most; every stream needs files beside its own: to its models."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return connections if soft == resource.RLIM_INFINITY else min(connections, max(1, soft // 2))


def build(
    app: ASGIApp,
    drain: Callable[[float], Awaitable[None]],
    grace_s: float,
    bounds: Bounds = DEFAULT_BOUNDS,
    doorstep: Doorstep | None = None,
) -> DrainingServer:
    """A server for the application, every option set on purpose; bounds: of each connection and of their number."""
    bounds = replace(bounds, connections=_affordable(bounds.connections))
    config = Config(
        app,
        http=partial(Protocol, bounds=bounds, doorstep=doorstep or Doorstep()),  # type: ignore[arg-type]  # called like the class
        interface="asgi3",
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
    return DrainingServer(config, drain, grace_s, bounds.send_timeout_s)
