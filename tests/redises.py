"""A real Redis for tests: one a pytest process, emptied for every test, and ways to make it ill."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from databases import short_folder

from bench.servers import free_port

READY_S = 10.0
ALIVE = b"+PONG\r\n"


class RedisServer:
    """A redis-server on a free loopback port, which it keeps over restarts; nothing it holds outlives it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.socket = str(folder / "redis.sock")

    @property
    def url(self) -> str:
        """Its address, database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        """Return when it answers; options as on its command line, `--maxmemory`, `1mb`."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        command += ["--save", "", "--appendonly", "no", "--unixsocket", self.socket, *options]
        self._child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + READY_S
        while self._answer(b"PING\r\n") != ALIVE:
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"redis-server did not start; exit code {self._child.poll()}")
            time.sleep(0.005)

    def kill(self) -> None:
        """Gone, and with it all it held; connections are reset and new ones refused."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def freeze(self) -> None:
        """It keeps its connections, the kernel takes new ones, and nobody answers."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it stopped."""
        self._send(signal.SIGCONT)

    def heal(self) -> None:
        """Whatever a test did to it: it runs, answers, and is empty."""
        if self._child is None:
            self.start()
        self.thaw()
        self.do("CONFIG SET maxmemory 0", "REPLICAOF NO ONE", "FLUSHALL", "SCRIPT FLUSH")

    def do(self, *commands: str) -> None:
        """Commands whose reply is OK, on a connection of their own."""
        for command in commands:
            reply = self._answer(command.encode() + b"\r\n")
            assert reply[:3] == b"+OK", (command, reply)

    def ask(self, command: str) -> str:
        """The first bytes of the reply to one command, as they are sent."""
        return self._answer(command.encode() + b"\r\n").decode("utf-8", "replace")

    def _answer(self, command: bytes) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self.port), READY_S) as connection:
                connection.sendall(command)
                return connection.recv(65536)
        except OSError:
            return b""

    def _send(self, sign: signal.Signals) -> None:
        if self._child is not None:
            self._child.send_signal(sign)


async def clients_of(server: RedisServer, expected: int) -> int:
    """How many connections the server has besides the one that asks; it gets a moment to see the expected number."""
    count = -1
    for _ in range(500):
        count = server.ask("CLIENT LIST").count(" laddr=") - 1
        if count == expected:
            break
        await asyncio.sleep(0.001)
    return count


@contextlib.asynccontextmanager
async def answering(*replies: bytes, after_s: float = 0.0) -> AsyncIterator[str]:
    """The address of a thing that sends one of these for whatever it is sent, the first late, and then hangs up."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            for n, reply in enumerate(replies):
                await reader.read(65536)
                await asyncio.sleep(0.0 if n else after_s)
                writer.write(reply)
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        await asyncio.sleep(0)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving)
        await asyncio.sleep(0)  # in which what was aborted is closed


@contextlib.contextmanager
def redis_running() -> Iterator[RedisServer]:
    """A server for the length of the block."""
    with short_folder() as folder:
        server = RedisServer(folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture(scope="session")
def redis_of_the_session() -> Iterator[RedisServer]:
    """The server of this pytest process; without the program the test is skipped, but never on CI."""
    if shutil.which("redis-server") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")
    with redis_running() as server:
        yield server


@pytest.fixture
def redis_server(redis_of_the_session: RedisServer) -> RedisServer:
    """A healthy, empty server; a test may do to it what it likes."""
    redis_of_the_session.heal()
    return redis_of_the_session


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of a healthy, empty server."""
    return redis_server.url
