"""A server that answers byte by byte as told, also what is no HTTP."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

# Send bytes, wait for seconds, wait for the next request, close, reset.
Step = bytes | float | Literal["request", "close", "reset"]
REQUEST: Literal["request"] = "request"
CLOSE: Literal["close"] = "close"
RESET: Literal["reset"] = "reset"


@dataclass
class RawUpstream:
    """What it does on its first, second, ... connection, and what it saw. gone: connections that their client ended."""

    connections: tuple[tuple[Step, ...], ...]
    port: int = 0
    accepted: int = 0
    gone: int = 0
    requests: list[bytes] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Play one connection."""
        steps = self.connections[self.accepted]
        self.accepted += 1
        task = asyncio.get_running_loop().create_task(self._play(steps, reader, writer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _play(self, steps: tuple[Step, ...], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                for step in steps:
                    await self._do(step, reader, writer)
                if not writer.is_closing():
                    await reader.read()
            if not writer.is_closing():
                self.gone += 1
        finally:
            writer.close()

    async def _do(self, step: Step, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(step, bytes):
            writer.write(step)
        elif isinstance(step, float):
            await asyncio.sleep(step)
        elif step == REQUEST:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            self.requests.append(head + await reader.readexactly(length))
        else:
            if step == RESET:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.close()


@asynccontextmanager
async def raw_upstream(*connections: tuple[Step, ...], tls: ssl.SSLContext | None = None) -> AsyncIterator[RawUpstream]:
    """The server on loopback, until the block ends."""
    upstream = RawUpstream(connections)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, ssl=tls)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        for task in set(upstream.tasks):
            task.cancel()
        if upstream.tasks:
            await asyncio.wait(upstream.tasks)
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.001)  # in which the transports of both sides go
