"""Connections to one Redis: every wait bounded, whatever the socket does; every error a RedisUnavailable.

Of the library we use the connections and nothing above them: its commands retry, and wait longer than they say.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Self, TypeVar

from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from app.answers.level import LevelUnavailable
from app.redis.address import CONNECT_S, Address

IDLE_S: Final = 30.0  # what was idle for longer may have been forgotten by a firewall in between

T = TypeVar("T")
Part = str | bytes | int | float
Command = Sequence[Part]
Reply = Any  # as Redis sends it in RESP2: bytes, int, None, or a list of these


class RedisUnavailable(LevelUnavailable):
    """Redis cannot be reached, does not answer in time, refuses, or is not a Redis."""


class Script:
    """A Lua script, which Redis runs as one step."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class Line:
    """One connection, for one caller at a time. Any error closes it, lest a late reply be taken for the next one's."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._transport: asyncio.WriteTransport | None = None
        self.used_at = 0.0

    async def call(self, *command: Part, timeout_s: float) -> Reply:
        """One command, and its reply."""
        return (await self.pipeline([command], timeout_s=timeout_s))[0]

    async def pipeline(self, commands: Sequence[Command], *, timeout_s: float) -> list[Reply]:
        """All sent at once, each its reply; the first that fails raises, and what came after it may have been done."""
        async with _bounded(timeout_s), self._closed_by_an_error():
            return await self.exchange(commands)

    async def run(self, script: Script, keys: Sequence[Part], args: Sequence[Part], *, timeout_s: float) -> Reply:
        """What the script returns; Redis is sent its text only if it does not know it."""
        async with _bounded(timeout_s), self._closed_by_an_error():
            return await self.evaluate(script, keys, args)

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """As pipeline(), with no bound and the errors of the library."""
        connection = self._connection
        if not connection.is_connected:  # the library would connect anew, behind the back of who closed it
            raise exceptions.ConnectionError("closed")
        await connection.send_packed_command(connection.pack_commands(commands))
        return [await connection.read_response() for _ in commands]

    async def evaluate(self, script: Script, keys: Sequence[Part], args: Sequence[Part]) -> Reply:
        """As run(), with no bound and the errors of the library."""
        rest = (len(keys), *keys, *args)
        try:
            return (await self.exchange([("EVALSHA", script.sha, *rest)]))[0]
        except exceptions.NoScriptError:
            return (await self.exchange([("EVAL", script.source, *rest)]))[0]

    async def connect(self) -> None:
        """Connect, authenticate, select the database."""
        async with asyncio.timeout(CONNECT_S), self._closed_by_an_error():
            await self._connection.connect()  # type: ignore[no-untyped-call]
            writer = self._connection._writer  # noqa: SLF001  # for close(); the library forgets it after an error
            self._transport = writer.transport if writer is not None else None

    async def usable(self) -> bool:
        """Whether it is still open, nothing unasked was sent on it, and it was used lately. Touches no network."""
        if asyncio.get_running_loop().time() - self.used_at > IDLE_S or not self._connection.is_connected:
            return False
        return not await self._connection.can_read()

    def close(self) -> None:
        """Drop the connection and what was not sent yet; the library's own ways wait until it is sent."""
        if self._transport is not None:
            self._transport.abort()
        self._connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001  # its only way that is not a coroutine

    @contextlib.asynccontextmanager
    async def _closed_by_an_error(self) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:  # a cancelled call too: its reply would be taken for the next one's
            self.close()
            raise


class Client:
    """A bounded pool that connects when it is first used, so that a Redis that is away delays nobody's start.

    Owned by one event loop; `async with` closes it, at once. A connection that is still being opened when its caller's
    time is up goes on being opened, for the next caller: else a Redis that is far away would never be reached.
    """

    def __init__(self, url: str, prefix: str, max_size: int = 16) -> None:
        self._address = Address(url)
        self._prefix = prefix
        self._slots = asyncio.Semaphore(max_size)
        self._idle: list[Line] = []
        self._lines: set[Line] = set()
        self._openings: set[asyncio.Task[Line]] = set()
        self._left: list[asyncio.Task[Line]] = []  # openings that nobody waits for
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def key(self, *parts: str) -> str:
        """`prefix:part:part`."""
        return ":".join((self._prefix, *parts))

    async def call(self, *command: Part, timeout_s: float) -> Reply:
        """One command, and its reply."""
        return (await self.pipeline([command], timeout_s=timeout_s))[0]

    async def pipeline(self, commands: Sequence[Command], *, timeout_s: float) -> list[Reply]:
        """All sent at once, each its reply; the first that fails raises, and what came after it may have been done."""
        async with _bounded(timeout_s), self._borrowed() as line:
            return await line.exchange(commands)

    async def run(self, script: Script, keys: Sequence[Part], args: Sequence[Part], *, timeout_s: float) -> Reply:
        """What the script returns; Redis is sent its text only if it does not know it."""
        async with _bounded(timeout_s), self._borrowed() as line:
            return await line.evaluate(script, keys, args)

    @contextlib.asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        """A connection of one's own beside the pool, for reads that block; closed with the block. At most CONNECT_S."""
        async with _bounded(CONNECT_S):
            line = await self._opened()
        try:
            yield line
        finally:
            self._drop(line)

    async def close(self) -> None:
        """Drop every connection, also those in use; their callers get a RedisUnavailable."""
        self._closed = True
        openings = list(self._openings)
        for opening in openings:
            opening.cancel()
        await asyncio.gather(*openings, return_exceptions=True)
        for line in list(self._lines):
            self._drop(line)
        self._idle.clear()
        await asyncio.sleep(0)  # in which what was aborted is closed

    @contextlib.asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Line]:
        """A line of the pool, back in it afterwards unless anything went wrong."""
        async with self._slots:
            line = await self._idle_line() or await self._opened()
            try:
                yield line
            except BaseException:  # as above
                self._drop(line)
                raise
            self._shelve(line)

    async def _idle_line(self) -> Line | None:
        while self._idle:
            line = self._idle.pop()
            if await line.usable():
                return line
            self._drop(line)
        return None

    async def _opened(self) -> Line:
        """A new line. Cancelled, it leaves the opening to go on for the next caller."""
        opening = self._left.pop() if self._left else self._start_opening()
        try:
            await asyncio.wait([opening])
        except asyncio.CancelledError:
            self._left.append(opening)
            if opening.done():
                self._arrived(opening)
            raise
        if opening.cancelled():
            raise RedisUnavailable("the connections to Redis are closed")
        return opening.result()

    def _start_opening(self) -> asyncio.Task[Line]:
        if self._closed:
            raise RedisUnavailable("the connections to Redis are closed")
        opening = asyncio.create_task(self._open())
        self._openings.add(opening)
        opening.add_done_callback(self._openings.discard)
        opening.add_done_callback(self._arrived)
        return opening

    async def _open(self) -> Line:
        line = Line(self._address.connection())
        self._lines.add(line)
        try:
            await line.connect()
        except BaseException:  # a cancelled opening leaves no socket either
            self._drop(line)
            raise
        return line

    def _arrived(self, opening: asyncio.Task[Line]) -> None:
        """An opening is done; keep its line, if nobody waits for it."""
        if opening in self._left:
            self._left.remove(opening)
            if not opening.cancelled() and opening.exception() is None:
                self._shelve(opening.result())

    def _shelve(self, line: Line) -> None:
        if self._closed:
            self._drop(line)
            return
        line.used_at = asyncio.get_running_loop().time()
        self._idle.append(line)

    def _drop(self, line: Line) -> None:
        self._lines.discard(line)
        line.close()


def short(scope: str) -> str:
    """A scope as a part of a key: it may hold any character and be of any length."""
    return hashlib.sha256(scope.encode()).hexdigest()[:16]


def expected(kind: type[T], reply: Reply) -> T:
    """The reply, if it is of the kind that Redis answers with."""
    if not isinstance(reply, kind):
        raise RedisUnavailable(f"Redis cannot be reached: it answers with {type(reply).__name__}")
    return reply


@contextlib.asynccontextmanager
async def _bounded(timeout_s: float) -> AsyncIterator[None]:
    """End what is inside when its time is up; whatever it raises becomes a RedisUnavailable, the cause kept."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except RedisUnavailable:
        raise
    except exceptions.ResponseError as error:
        raise RedisUnavailable(f"Redis refuses: {_reason(error)}") from error
    except exceptions.AuthenticationError as error:
        raise RedisUnavailable("Redis refuses the user or the password in REDIS_URL") from error
    except TimeoutError as error:
        raise RedisUnavailable(f"Redis did not answer within {timeout_s:g} s") from error
    except Exception as error:  # bytes that no Redis sends make the library raise anything
        raise RedisUnavailable(f"Redis cannot be reached: {type(error).__name__}") from error


def _reason(error: exceptions.ResponseError) -> str:
    """The code that Redis puts before its words, which may repeat what it was sent."""
    code = str(error).partition(" ")[0]
    return code if code.isupper() and len(code) <= 20 else type(error).__name__
