"""Take PostgreSQL away under load, in every way we know, and compare the streams and the record with a healthy run.

While PostgreSQL is sick the streams must not notice: first token and gaps stay as they are. Afterwards every run must
be there once, whole, and the ledger must balance.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

import aiohttp
import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from app.postgres.embedded import EmbeddedPostgres
from bench.processes import frozen, rss_bytes
from bench.proxy import Proxy
from bench.servers import folder, free_port
from bench.witness import Scene, Tally, clients, drain, settled, verify

MODELS = {
    "FAST_MODEL": "scripted:fast?first=0.05&gap=0.01&tokens=10",
    "SLOW_MODEL": "scripted:slow?first=0.1&gap=0.01&tokens=20",
}


@dataclass(slots=True)
class Patient:
    """A PostgreSQL behind a proxy, and how to hurt it."""

    postgres: EmbeddedPostgres
    proxy: Proxy
    database: str

    async def sql(self, *statements: str) -> None:
        """Some statements, past the proxy."""
        connection = await asyncpg.connect(self.postgres.dsn, database=self.database)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()


Fault = Callable[[Patient], contextlib.AbstractAsyncContextManager[None]]


@contextlib.asynccontextmanager
async def healthy(_: Patient) -> AsyncIterator[None]:
    """Nothing is wrong."""
    yield


@contextlib.asynccontextmanager
async def killed(patient: Patient) -> AsyncIterator[None]:
    """An immediate shutdown; it recovers by itself."""
    assert patient.postgres.pid is not None
    os.kill(patient.postgres.pid, signal.SIGQUIT)
    yield


def stopped(patient: Patient) -> contextlib.AbstractAsyncContextManager[None]:
    """Nobody listens."""
    return patient.proxy.stopped()


def black_hole(patient: Patient) -> contextlib.AbstractAsyncContextManager[None]:
    """Bytes go in and nothing comes out, not even an end."""
    return patient.proxy.black_hole()


@contextlib.asynccontextmanager
async def standing_still(patient: Patient) -> AsyncIterator[None]:
    """Every process of it stands still."""
    assert patient.postgres.pid is not None
    with frozen(patient.postgres.pid):
        yield


@contextlib.asynccontextmanager
async def replies_lost(patient: Patient) -> AsyncIterator[None]:
    """Every third reply is lost with its connection: the commit happened, nobody heard."""
    patient.proxy.lose_every = 3
    yield
    patient.proxy.lose_every = 0


@contextlib.asynccontextmanager
async def read_only(patient: Patient) -> AsyncIterator[None]:
    """It answers, and takes nothing."""
    name = patient.database
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    await patient.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on", end)
    yield
    write = "SET default_transaction_read_only = off"
    await patient.sql(write, f"ALTER DATABASE {name} RESET default_transaction_read_only", end)


@contextlib.asynccontextmanager
async def renamed(patient: Patient) -> AsyncIterator[None]:
    """A column has another name."""
    await patient.sql("ALTER TABLE runs RENAME COLUMN reason TO cause")
    yield
    await patient.sql("ALTER TABLE runs RENAME COLUMN cause TO reason")


@contextlib.asynccontextmanager
async def crowded(patient: Patient) -> AsyncIterator[None]:
    """Every connection is taken by somebody else."""
    await patient.proxy.down()  # and with it our own connections
    taken: list[asyncpg.Connection] = []
    with contextlib.suppress(asyncpg.TooManyConnectionsError, asyncpg.ConnectionRejectionError):
        while True:
            taken.append(await asyncpg.connect(patient.postgres.dsn, database=patient.database))
    await patient.proxy.up()
    yield
    for connection in taken:
        await connection.close()


FAULTS: dict[str, Fault] = {
    "healthy": healthy,
    "stopped": stopped,
    "killed": killed,
    "frozen": standing_still,
    "black_hole": black_hole,
    "replies_lost": replies_lost,
    "read_only": read_only,
    "renamed": renamed,
    "crowded": crowded,
}


@dataclass(frozen=True, slots=True)
class Result:
    """One fault: what the clients felt, in milliseconds, what the record kept, and how much memory grew, in MiB."""

    fault: str
    runs: int
    pending: int
    first_p50: float
    first_p99: float
    gap_p99: float
    grown_mib: float
    tally: Tally


async def outages(names: list[str], seconds: float, tell: Callable[[Result], None]) -> list[Result]:
    """Each fault for so many seconds under load, on a server and a database of its own."""
    results = []
    with folder() as root:
        async with (
            EmbeddedPostgres(root / "pg") as postgres,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http,
        ):
            for name in names:
                admin = await asyncpg.connect(postgres.dsn)
                await admin.execute(f"CREATE DATABASE {name}")
                await admin.close()
                async with Proxy(str(socket_of(postgres.dsn))) as proxy:
                    patient = Patient(postgres, proxy, name)
                    (root / name).mkdir(mode=0o700)
                    dsn = f"postgresql://{urlsplit(postgres.dsn).username}@127.0.0.1:{proxy.port}/{name}"
                    scene = Scene(root / name, dsn, free_port(), random.Random(1), settings=MODELS)
                    results.append(await _one(name, patient, scene, http, seconds))
                    tell(results[-1])
    return results


async def _one(name: str, patient: Patient, scene: Scene, http: aiohttp.ClientSession, seconds: float) -> Result:
    """A healthy beginning, the fault, a healthy end; then everything must be there."""
    tally = Tally()
    server = await scene.start()
    try:
        async with asyncio.timeout(30):
            while not await settled(scene, http):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.02)
        async with clients(scene, http):
            await asyncio.sleep(0.5)
            before, known = rss_bytes(server.pid), set(scene.seen)
            async with FAULTS[name](patient):
                await asyncio.sleep(seconds)
            grown = rss_bytes(server.pid) - before
            during = set(scene.seen) - known
            await asyncio.sleep(0.8)
        await asyncio.sleep(0.5)
    finally:
        await drain(scene, http, tally, server)
    await verify(scene, tally)
    felt = [scene.seen[run_id] for run_id in during if scene.seen[run_id].done]
    firsts = sorted(seen.first_ms for seen in felt if seen.first_ms is not None)
    gaps = sorted(gap for seen in felt for gap in seen.gaps_ms)
    return Result(
        fault=name,
        runs=len(felt),
        pending=sum(seen.done == "pending" for seen in felt),
        first_p50=_share(firsts, 0.5),
        first_p99=_share(firsts, 0.99),
        gap_p99=_share(gaps, 0.99),
        grown_mib=grown / 2**20,
        tally=tally,
    )


def socket_of(dsn: str) -> Path:
    """The socket file of a local server, from its address."""
    words = parse_qs(urlsplit(dsn).query)
    return Path(words["host"][0]) / f".s.PGSQL.{words['port'][0]}"


def _share(ordered: list[float], share: float) -> float:
    """A percentile of ordered numbers."""
    return ordered[int(share * (len(ordered) - 1))] if ordered else float("nan")


def main(
    faults: Annotated[str, typer.Option(help="Of " + ", ".join(FAULTS))] = ",".join(FAULTS),
    seconds: Annotated[float, typer.Option(min=0.5, help="How long each lasts.")] = 10.0,
) -> None:
    """Take PostgreSQL away under load and check that no stream notices and no record is missing."""
    console = Console()
    table = Table("fault", "runs", "pending", "first p50", "p99 ms", "gap p99 ms", "grown MiB", "record")

    def tell(result: Result) -> None:
        numbers = (result.first_p50, result.first_p99, result.gap_p99, result.grown_mib)
        verdict = "whole" if result.tally.whole else str(result.tally)
        table.add_row(result.fault, str(result.runs), str(result.pending), *(f"{n:.1f}" for n in numbers), verdict)
        console.print(f"{result.fault}: {result.runs} runs, {verdict}")

    results = asyncio.run(outages(faults.split(","), seconds, tell))
    console.print(table)
    raise typer.Exit(0 if all(result.tally.whole for result in results) else 1)


if __name__ == "__main__":
    typer.run(main)
