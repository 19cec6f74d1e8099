"""What the clients of a server were promised, and whether the record keeps it: for tests that kill and cut."""

import asyncio
import contextlib
import hashlib
import json
import random
import sys
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from bench.processes import ROOT, environment

MODELS = {
    "FAST_MODEL": "scripted:fast?first=0.005&gap=0.002&tokens=8",
    "SLOW_MODEL": "scripted:slow?first=0.02&gap=0.004&tokens=20",
    "LOG_LEVEL": "ERROR",
    "SHUTDOWN_GRACE_S": "0.3",
}
DRAIN_S = 60.0
WORKERS = 8


@dataclass(slots=True)
class Seen:
    """What one client saw of one run: what `start` and `done` said, and the whole stream when it came to its end."""

    start: str
    done: str | None = None
    digest: str | None = None
    first_ms: float | None = None  # until the first delta
    gaps_ms: list[float] = field(default_factory=list)  # between pieces of the stream, from then on


@dataclass(slots=True)
class Tally:
    """The counts over all scenes; lost, twice and different must stay empty."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    start_durable: int = 0
    done_durable: int = 0
    interrupted: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    left_open: list[str] = field(default_factory=list)
    unbalanced: list[dict[str, Any]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """True when every promise was kept."""
        return not (self.lost or self.twice or self.different or self.left_open or self.unbalanced)


@dataclass(slots=True)
class Scene:
    """One spool, one database, one port, and what the clients have seen there."""

    home: Path
    dsn: str
    port: int
    dice: random.Random
    seen: dict[str, Seen] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    async def start(self) -> asyncio.subprocess.Process:
        """A new server on the old spool."""
        own = {"PORT": str(self.port), "TANDEM_HOME": str(self.home), "DATABASE_URL": self.dsn}
        with (self.home.parent / "server.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "app.cli", "serve",
                cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment(MODELS | own | self.settings), start_new_session=True,
            )  # fmt: skip

    async def health(self, http: aiohttp.ClientSession) -> dict[str, Any] | None:
        """What /health/ says; None while nobody answers."""
        try:
            async with http.get(f"http://127.0.0.1:{self.port}/health/") as response:
                told: dict[str, Any] = await response.json()
                return told
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None

    async def ask_for_ever(self, http: aiohttp.ClientSession) -> None:
        """A client: one question after another, whatever happens to the server."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                await self._ask(http)
            await asyncio.sleep(0.01)

    async def _ask(self, http: aiohttp.ClientSession) -> None:
        body = {"input": f"chaos {time.perf_counter()}", "experiment": "chaos", "cache": "off"}
        stream, seen = b"", None
        last = begun = time.perf_counter()
        async with http.post(f"http://127.0.0.1:{self.port}/v1/reason", json=body) as response:
            async for chunk in response.content.iter_any():
                stream, now = stream + chunk, time.perf_counter()
                if seen is None and b"\n\n" in stream:
                    seen = self.seen[response.headers["X-Run-ID"]] = Seen(_data(stream, b"start")["audit"])
                if seen is not None and seen.first_ms is not None and b"event: done" not in chunk:
                    seen.gaps_ms.append((now - last) * 1000)
                elif seen is not None and seen.first_ms is None and b"event: delta" in stream:
                    seen.first_ms = (now - begun) * 1000
                last = now
        if seen is not None and b"event: done\n" in stream:
            seen.digest = hashlib.sha256(stream.replace(b": ping\n", b"")).hexdigest()
            seen.done = _data(stream, b"done")["audit"]


def _data(stream: bytes, event: bytes) -> dict[str, Any]:
    """The data of the first event of that name."""
    block = stream.partition(b"event: " + event + b"\n")[2].partition(b"\n\n")[0]
    data: dict[str, Any] = json.loads(block.partition(b"data: ")[2])
    return data


async def settled(scene: Scene, http: aiohttp.ClientSession) -> dict[str, int] | None:
    """The ledger, once everything has left the spool and the database is there; None before."""
    told = await scene.health(http)
    if told is None or told["checks"]["database"] != "ok":
        return None
    ledger: dict[str, int] = told["record"]
    return None if ledger["spooled"] or ledger["in_flight"] else ledger


async def drain(
    scene: Scene, http: aiohttp.ClientSession, tally: Tally, server: asyncio.subprocess.Process | None = None
) -> None:
    """The server, or a last one, stores what is left, and ends in order."""
    server = server or await scene.start()
    async with asyncio.timeout(DRAIN_S):
        while (ledger := await settled(scene, http)) is None:
            if server.returncode is not None:
                said = (scene.home.parent / "server.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the draining server ended with {server.returncode}:\n{said}")
            await asyncio.sleep(0.05)
    placed = ("stored", "duplicate", "dead_lettered", "logged", "spooled", "in_flight")
    if ledger["accepted"] != sum(ledger[name] for name in placed) or ledger["dead_lettered"]:
        tally.unbalanced.append(ledger)
    server.terminate()
    await server.wait()


async def verify(scene: Scene, tally: Tally) -> None:
    """Compare what was promised with what is there."""
    connection = await asyncpg.connect(scene.dsn)
    try:
        rows = await connection.fetch(
            "SELECT r.run_id, r.status, r.reason, array_agg(l.log) FILTER (WHERE l.log IS NOT NULL) AS logs,"
            " (SELECT count(*) FROM legs WHERE legs.run_id = r.run_id) AS legs"
            " FROM runs r LEFT JOIN run_logs l USING (run_id) GROUP BY r.run_id"
        )
    finally:
        await connection.close()
    found = {str(row["run_id"]): row for row in rows}
    tally.runs += len(scene.seen)
    tally.left_open += [run_id for run_id, row in found.items() if row["status"] == "running"]
    tally.interrupted += sum(row["reason"] == "interrupted" for row in rows)
    tally.twice += [run_id for run_id, row in found.items() if len(row["logs"] or ()) > 1 or row["legs"] != 2]
    for run_id, seen in scene.seen.items():
        tally.start_durable += seen.start == "durable"
        tally.done_durable += seen.done == "durable"
        if run_id not in found:
            tally.lost += [run_id] if "durable" in (seen.start, seen.done) else []
        elif seen.done == "durable":
            logs = found[run_id]["logs"] or [zlib.compress(b"")]
            if hashlib.sha256(zlib.decompress(logs[0])).hexdigest() != seen.digest:
                tally.different.append(run_id)


@contextlib.asynccontextmanager
async def clients(scene: Scene, http: aiohttp.ClientSession) -> AsyncIterator[None]:
    """Clients that ask all the while."""
    tasks = [asyncio.create_task(scene.ask_for_ever(http)) for _ in range(WORKERS)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
