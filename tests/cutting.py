"""A wire between a client and a server that breaks in the middle of an event stream, as often as told."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

STREAM = b"content-type: text/event-stream"
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_RETRY = re.compile(rb"(?<=\nretry: )\d+(?=\n)")


@dataclass(slots=True)
class Wire:
    """Breaks `cuts` times, each time `after` bytes into an event stream; counts the streams and 204s it carried."""

    server: int
    after: int
    cuts: int
    port: int = 0
    streams: int = 0
    stops: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """The server, by way of this wire."""
        return f"http://127.0.0.1:{self.port}"

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it or it is cut."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        replies, requests = await asyncio.open_connection("127.0.0.1", self.server)
        up = asyncio.create_task(_pump(reader, requests))
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):  # cancelled when the wire is taken away
                await self._down(replies, writer)
        finally:
            up.cancel()
            await asyncio.wait([up])
            for end in (writer, requests):
                end.close()
            self.tasks.discard(task)

    async def _down(self, replies: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left: int | None = None
        while data := await replies.read(65536):
            data = _RETRY.sub(_soon, data)
            self.stops += len([code for code in _STATUS.findall(data) if code == b"204"])
            if STREAM in data:
                self.streams += 1
                left = self.after
            if left is not None and self.cuts:
                left -= len(data)
                if left < 0:
                    self.cuts -= 1
                    writer.write(data[:left])
                    await writer.drain()
                    return
            writer.write(data)
            await writer.drain()


def _soon(pause: re.Match[bytes]) -> bytes:
    """The pause that a client is told to make before it comes back, made 20 ms, in as many digits."""
    return b"20".zfill(len(pause[0]))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


@contextlib.asynccontextmanager
async def cutting(server_url: str, *, after: int, cuts: int) -> AsyncIterator[Wire]:
    """A wire to the server; it and its connections end with the block."""
    wire = Wire(int(server_url.rpartition(":")[2]), after, cuts)
    listener = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    wire.port = listener.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        listener.close()
        for task in list(wire.tasks):
            task.cancel()
        await asyncio.gather(*wire.tasks, return_exceptions=True)
