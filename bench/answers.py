"""What a stored answer costs, and what a crowd with one question costs: `python -m bench.answers`.

The time of the server to the first event of a hit is that from the request's last byte to that event, less the same
for /health/live, asked in turn with it over the same connection. Memory, Redis and PostgreSQL are measured by leaving
out what stands above them; between the first and the others the server is killed and must still know the answer.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from bench.processes import Child
from bench.servers import folder, free_port, get, upstream, upstream_stats

GOALS_MS: Final = {"memory": 1.0, "redis": 5.0, "postgres": 15.0}  # at the median
QUESTION: Final = {"input": "Who was the first woman to win a Nobel Prize?"}
PAUSE_S: Final = 0.005  # between two questions, for the record of the last one to be put away
SETTLE_S: Final = 0.5
CROWD_MODEL: Final = "openai:40t-10ms-200ttft"


class Answer(NamedTuple):
    """One response: its head in lower case, its body, and the milliseconds to its first event or its whole body."""

    head: bytes
    body: bytes
    first_ms: float

    @property
    def source(self) -> str:
        """Where a stream says that it comes from."""
        return self.head.partition(b"x-run-source: ")[2].partition(b"\r")[0].decode()


class Client:
    """One kept connection, read without any library, whose own time would be measured too."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def ask(self, body: Mapping[str, Any]) -> Answer:
        """A question."""
        return self._exchange(request("POST", "/v1/reason", self._port, json.dumps(body).encode()))

    def live(self) -> Answer:
        """The least that this server can be asked."""
        return self._exchange(request("GET", "/health/live", self._port))

    def _exchange(self, sent: bytes) -> Answer:
        began = time.perf_counter()
        self._socket.sendall(sent)
        data, first_ms = b"", None
        while not (whole := body_of(data)):
            piece = self._socket.recv(1 << 18)
            now = time.perf_counter()
            if not piece:
                raise RuntimeError("the server hung up")
            data += piece
            if first_ms is None and (b"\n\n" in data or body_of(data)):
                first_ms = (now - began) * 1000
        return Answer(data.partition(b"\r\n\r\n")[0].lower(), whole, first_ms or 0.0)


def request(method: str, path: str, port: int, body: bytes = b"") -> bytes:
    """The bytes of a request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def body_of(data: bytes) -> bytes:
    """The body of a response once it is whole, chunked or of a given length; empty before."""
    head, _, body = data.partition(b"\r\n\r\n")
    if b"\r\ntransfer-encoding: chunked" not in head.lower():
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
        return body if length and len(body) >= int(length) else b""
    if not body.endswith(b"0\r\n\r\n"):
        return b""
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        parts.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return b"".join(parts)


@contextlib.contextmanager
def serving(logs: Path, **settings: str) -> Iterator[tuple[int, int]]:
    """A server on the home of all servers here, by its port and process id."""
    port = free_port()
    own = {"PORT": str(port), "TANDEM_HOME": str(logs / "home"), "LOG_LEVEL": "WARNING", "REQUEST_LOG": "false"}
    models = {"FAST_MODEL": "scripted:fast", "SLOW_MODEL": "scripted:slow"}
    with Child(["app.cli", "serve"], logs / "tandem.log", {**own, **models, **settings}) as child:
        child.await_ready(lambda: get(port, "/health/ready")[0] == 200)
        yield port, child.pid


@contextlib.contextmanager
def redis(logs: Path) -> Iterator[str | None]:
    """The address of a Redis of our own; None without redis-server."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(logs)]
    with (logs / "redis.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True, slots=True)
class Timed:
    """One level: the times of hits and of /health/live, in milliseconds, and which of them were none."""

    level: str
    hits: list[float]
    live: list[float]
    misses: int

    def added(self, share: float) -> float:
        """What a hit takes more, at that percentile of both."""
        return _percentile(self.hits, share) - _percentile(self.live, share)

    @property
    def good(self) -> bool:
        """Nothing but hits, and fast enough."""
        return self.misses == 0 and self.added(0.5) < GOALS_MS[self.level]


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[round(share * (len(values) - 1))]


def ask_once(port: int) -> Answer:
    """The question, over a connection of its own."""
    with contextlib.closing(Client(port)) as client:
        return client.ask(QUESTION)


def timed(level: str, port: int, count: int) -> Timed:
    """The same question again and again, each hit told from where it came by the server's own count."""
    with contextlib.closing(Client(port)) as client:
        for _ in range(10):
            client.ask(QUESTION)
            client.live()
            time.sleep(0.02)
        before, hits, live = hits_of(port, level), [], []
        for _ in range(count):
            time.sleep(PAUSE_S)
            live.append(client.live().first_ms)
            time.sleep(PAUSE_S)
            hits.append(client.ask(QUESTION).first_ms)
    return Timed(level, hits, live, count - (hits_of(port, level) - before))


def hits_of(port: int, level: str) -> int:
    """How many hits a level had."""
    hits: int = json.loads(get(port, "/api/cache/stats")[1])["levels"][level]["hits"]
    return hits


class Levels(NamedTuple):
    """Every level that could be measured, and where the answer came from after a kill."""

    timed: list[Timed]
    after_kill: str


def levels(logs: Path, count: int) -> Levels:
    """Memory; a kill; PostgreSQL alone; Redis before it."""
    found = []
    with serving(logs) as (port, pid):
        ask_once(port)
        time.sleep(SETTLE_S)
        found.append(timed("memory", port, count))
        os.kill(pid, signal.SIGKILL)
    with serving(logs, CACHE_MEMORY_ENTRIES="0") as (port, _):
        after_kill = ask_once(port).source
        found.append(timed("postgres", port, count))
    with redis(logs) as url:
        if url is not None:
            with serving(logs, CACHE_MEMORY_ENTRIES="0", REDIS_URL=url) as (port, _):
                found.append(timed("redis", port, count))
    return Levels(found, after_kill)


class Crowd(NamedTuple):
    """Many with one question: how many asked, how often upstream was asked, how many streams differ from the first."""

    askers: int
    upstream: int
    sources: dict[str, int]
    different: int
    bytes: int

    @property
    def good(self) -> bool:
        """One race, one stream."""
        return self.upstream == 2 and self.different == 0 and self.sources == {"live": 1, "attached": self.askers - 1}


async def crowd(logs: Path, askers: int) -> Crowd:
    """All connect, then all ask at once."""
    with upstream(logs, 0) as up:
        base_url = f"http://127.0.0.1:{up.port}/v1"
        with serving(logs, FAST_MODEL=CROWD_MODEL, SLOW_MODEL=CROWD_MODEL, OPENAI_BASE_URL=base_url) as (port, _):
            before = upstream_stats(up.port)["requests"]
            sent = request("POST", "/v1/reason", port, json.dumps(QUESTION).encode())
            connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(askers)]
            for _, writer in connections:
                writer.write(sent)
            answers = await asyncio.gather(*(_read(reader) for reader, _ in connections))
            for _, writer in connections:
                writer.close()
            asked = upstream_stats(up.port)["requests"] - before
    bodies = [answer.body.replace(b": ping\n", b"") for answer in answers]
    sources = [answer.source for answer in answers]
    different = sum(body != bodies[0] for body in bodies)
    counts = {source: sources.count(source) for source in sorted(set(sources), reverse=True)}
    return Crowd(askers, asked, counts, different, len(bodies[0]))


async def _read(reader: asyncio.StreamReader) -> Answer:
    data = b""
    async with asyncio.timeout(60):
        while not (whole := body_of(data)):
            piece = await reader.read(1 << 18)
            if not piece:
                raise RuntimeError(f"the server hung up after {data[-200:]!r}")
            data += piece
    return Answer(data.partition(b"\r\n\r\n")[0].lower(), whole, 0.0)


def main(
    count: Annotated[int, typer.Option(min=10, help="Hits a level.")] = 500,
    askers: Annotated[int, typer.Option(min=2, max=1000, help="How many ask the same at once.")] = 200,
) -> None:
    """Measure hits on every level, and one question asked by many at once; exit code 1 when a promise was broken."""
    with folder() as logs:
        measured = levels(logs, count)
        met = asyncio.run(crowd(logs, askers))
    console = Console(highlight=False)
    columns = ("hits", "first event\np50 / p99 ms", "/health/live\np50 / p99 ms", "added\np50 / p99 ms", "goal\np50")
    table = Table("level", *columns, title="a stored answer")
    for one in measured.timed:
        times = [[_percentile(values, share) for share in (0.5, 0.99)] for values in (one.hits, one.live)]
        numbers = [f"{p50:.2f} / {p99:.2f}" for p50, p99 in (*times, (one.added(0.5), one.added(0.99)))]
        verdict = f"< {GOALS_MS[one.level]:g} {'met' if one.good else 'missed'}"
        table.add_row(one.level, f"{len(one.hits) - one.misses} of {len(one.hits)}", *numbers, verdict)
    console.print(table)
    if len(measured.timed) < len(GOALS_MS):
        console.print("redis was not measured: there is no redis-server here")
    console.print(f"after kill -9 and a restart the answer came from: {measured.after_kill}")
    came = ", ".join(f"{number} {source}" for source, number in met.sources.items())
    console.print(
        f"{met.askers} asked the same at once: {came}; upstream was asked {met.upstream} times, "
        f"{met.different} streams differ from the first, of {met.bytes:,} bytes"
    )
    good = all(one.good for one in measured.timed) and measured.after_kill == "cache" and met.good
    raise typer.Exit(0 if good else 1)


if __name__ == "__main__":
    typer.run(main)
