"""The connections to one model's server: opened when needed, kept for a while, never more than allowed."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import aiohappyeyeballs
from yarl import URL

from app.llm.connection import Broken, Connection

KEEPALIVE_S: Final = 15.0
RESOLVED_S: Final = 10.0
NEXT_ADDRESS_S: Final = 0.25  # before another address of the same host is tried beside the first


@cache
def _tls() -> ssl.SSLContext:
    """One for all; to read the certificates of this machine takes 20 ms, which no start over plain HTTP pays."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Unreachable(Broken):
    """No connection could be made; late: not in time."""

    def __init__(self, *, late: bool) -> None:
        super().__init__("no connection")
        self.late = late


class Pool:
    """Posts to one URL. Belongs to one event loop; takes nothing from the environment, follows no redirect.

    headers: what every request carries beyond its length, as bytes. connect_timeout_s bounds all of connecting, from
    the resolver to TLS; there is no other clock. keep: connections are kept for the next request.
    """

    def __init__(self, url: URL, headers: bytes, connect_timeout_s: float, limit: int, *, keep: bool) -> None:
        self._host, self._port = url.raw_host or "", url.port
        self._tls = _tls() if url.scheme == "https" else None
        target = url.raw_path_qs.encode("ascii")
        host = (url.host_port_subcomponent or "").encode("ascii")
        self._head = b"POST %b HTTP/1.1\r\nHost: %b\r\n%bContent-Length: " % (target, host, headers)
        self._connect_timeout_s = connect_timeout_s
        self._keep = keep
        self._turns = asyncio.Semaphore(limit)
        self._open: set[Connection] = set()
        self._idle: deque[tuple[float, Connection]] = deque()
        self._tidying: asyncio.TimerHandle | None = None
        self._resolving = asyncio.Lock()
        self._resolved: list[Any] | OSError = []
        self._resolved_at = float("-inf")

    async def post(self, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> Connection:
        """The connection that has the head of the response; give it back with `release`. Raises Broken.

        headers: of this request, in ASCII. A kept connection that turns out to be dead, without a byte of a response,
        gives way to a new one, once.
        """
        lines = "".join([f"\r\n{name}: {value}" for name, value in headers]).encode("ascii")
        request = b"%b%d%b\r\n\r\n%b" % (self._head, len(body), lines, body)
        await self._turns.acquire()
        try:
            kept = self._kept()
            if kept is not None:
                try:
                    return await kept.ask(request)
                except Broken:
                    if kept.touched:
                        raise
            return await (await self._connect()).ask(request)
        except BaseException:  # a cancellation too: the turn is given back by whoever has no connection to give back
            self._turns.release()
            raise

    def release(self, connection: Connection) -> None:
        """Give a connection back: it is kept if its response was read to the end and it may be used again."""
        self._turns.release()
        if self._keep and connection.free:
            self._idle.append((connection.loop.time(), connection))
            if self._tidying is None:
                self._tidying = connection.loop.call_later(KEEPALIVE_S, self._tidy)
        else:
            connection.close()

    def close(self) -> None:
        """Drop every connection, and keep none that is being made."""
        self._keep = False
        if self._tidying is not None:
            self._tidying.cancel()
        self._idle.clear()
        for connection in self._open:
            connection.close()

    def _kept(self) -> Connection | None:
        """The connection that was used last, of those that are still open."""
        while self._idle:
            _, connection = self._idle.pop()
            if connection.free:
                return connection
        return None

    def _tidy(self) -> None:
        """Drop what was not used for a while."""
        self._tidying = None
        loop = asyncio.get_running_loop()
        while self._idle and self._idle[0][0] + KEEPALIVE_S <= loop.time():
            _, connection = self._idle.popleft()
            connection.close()
        if self._idle:
            self._tidying = loop.call_at(self._idle[0][0] + KEEPALIVE_S, self._tidy)

    async def _connect(self) -> Connection:
        """A new connection; one address after the other, the next one beside it when the first is slow."""
        limit = asyncio.timeout(self._connect_timeout_s)
        loop = asyncio.get_running_loop()
        try:
            async with limit:
                addresses = await self._addresses(loop)
                made = await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, loop=loop
                )
                _, connection = await loop.create_connection(
                    self._protocol, sock=made, ssl=self._tls, server_hostname=self._host if self._tls else None
                )
        except (OSError, UnicodeError) as error:
            raise Unreachable(late=limit.expired()) from error
        self._open.add(connection)
        return connection

    def _protocol(self) -> Connection:
        return Connection(self._open.discard)

    async def _addresses(self, loop: asyncio.AbstractEventLoop) -> list[Any]:
        """Where the host is, asked once for all who want to know at the same time; a failure is theirs alone."""
        wanted_at = loop.time()
        async with self._resolving:
            lasts = 0.0 if isinstance(self._resolved, OSError) else RESOLVED_S
            if self._resolved_at + lasts <= wanted_at:
                await self._resolve(loop)
            if isinstance(self._resolved, OSError):
                raise self._resolved
            return self._resolved

    async def _resolve(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._resolved = await loop.getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            )
        except OSError as error:
            self._resolved = error
        self._resolved_at = loop.time()
