"""A network between a client and a server's Unix socket that can be cut, swallow everything, lose or spoil replies."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator
from typing import Self

TURNS = 10  # of the loop, in which a connection that was accepted gets its task and ends


class Proxy:
    """Listens on 127.0.0.1:port. `async with` starts it and closes every connection at the end."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._up = False
        self.port = 0
        self.lose_next_reply = False
        self.lose_every = 0  # the n-th reply is lost, and the 2n-th; 0: none
        self.swallow = False
        self.spoil = False  # replies are so many random bytes instead
        self._replies = 0

    async def __aenter__(self) -> Self:
        self._place = socket.socket()  # bound and never listening: nobody else gets the port while we are down
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port = self._place.getsockname()[1]
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()
        self._place.close()

    async def up(self) -> None:
        """Accept connections, on the same port as before."""
        self._up = True
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, reuse_port=True)

    async def down(self) -> None:
        """Cut every connection and refuse new ones."""
        self._up = False
        for listener in () if self._server is None else self._server.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
        for _ in range(TURNS):  # who was taken in just now would find no server to belong to, and never be closed
            await asyncio.sleep(0)
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # in which what was aborted is closed

    @contextlib.asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """Nobody listens."""
        await self.down()
        yield
        await self.up()

    @contextlib.asynccontextmanager
    async def black_hole(self) -> AsyncIterator[None]:
        """Bytes go in and nothing comes out, not even an end; then the connections are cut."""
        self.swallow = True
        yield
        self.swallow = False
        await self.down()
        await self.up()

    @contextlib.asynccontextmanager
    async def garbage(self) -> AsyncIterator[None]:
        """Every reply is noise."""
        self.spoil = True
        yield
        self.spoil = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: two pumps, the end of either ends both. What was accepted at the very end is cut at once."""
        if not self._up:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, asyncio.CancelledError):
            stack.callback(self._tasks.discard, task)
            stack.callback(writer.transport.abort)
            server_reader, server_writer = await asyncio.open_unix_connection(self.socket)
            stack.callback(server_writer.transport.abort)
            pumps = [
                asyncio.create_task(self._pump(reader, server_writer)),
                asyncio.create_task(self._pump(server_reader, writer, replies=True)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool = False) -> None:
        """Carry bytes one way until there are no more, or one reply is to be lost."""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if replies and self._loses():
                    return
                if not self.swallow:
                    writer.write(random.randbytes(len(data)) if replies and self.spoil else data)

    def _loses(self) -> bool:
        """Whether this reply is one that gets lost, with its connection."""
        self._replies += 1
        if self.lose_next_reply or (self.lose_every and self._replies % self.lose_every == 0):
            self.lose_next_reply = False
            return True
        return False
