"""Roll new servers in for old ones behind a real nginx, under streams, and look for one that was refused, cut or lost.

Two places, each with a port and a spool of its own, share one PostgreSQL. A roll starts a server on the free place and
ends the other one, by SIGTERM or by SIGKILL. Clients ask short and long questions all the while, lose their connection
now and then, and come back with Last-Event-ID, to whichever server nginx chooses. nginx asks the other server when one
cannot be reached or answers 503, which Tandem does only before it has begun anything. Every stream must end with one
`done`, numbered without a gap; every run that was seen must be in PostgreSQL once, ended, its log equal to the byte.
"""

import asyncio
import contextlib
import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from app.postgres.embedded import EmbeddedPostgres
from bench.cache_outages import Redis
from bench.fronts import LOCAL_NAME, Wish, fronting, search_path
from bench.journeys import PATIENCE_S, Clients, Outcome
from bench.processes import ROOT, environment, raise_file_limit
from bench.servers import folder, free_port
from bench.witness import Scene, settled, verify

SETTINGS: Final = {
    "FAST_MODEL": "scripted:fast?first=0.02&gap=0.01&tokens=5",
    "SLOW_MODEL": "scripted:slow?first=0.1&gap=0.02&tokens=10",
    "LOG_LEVEL": "WARNING",
}
# Longer than the grace of a shutdown, so that some are cut by it and end with status `shutdown`.
LONG: Final = "scripted:slow?first=0.1&gap=0.2&tokens=30"
NEXT: Final = f"{LOCAL_NAME['nginx']} proxy_connect_timeout 1s; proxy_next_upstream error http_503 non_idempotent;"
READY_S: Final = 30.0


@dataclass(slots=True)
class Place:
    """A port and a home, and the server that is there, if any."""

    scene: Scene
    server: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """A server, ready for questions."""
        own = {"PORT": str(self.scene.port), "TANDEM_HOME": str(self.scene.home), "DATABASE_URL": self.scene.dsn}
        with (self.scene.home.parent / f"{self.scene.home.name}.log").open("ab") as log:
            self.server = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "app.cli", "serve",
                cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment(SETTINGS | own | self.scene.settings), start_new_session=True,
            )  # fmt: skip
        async with aiohttp.ClientSession() as http, asyncio.timeout(READY_S):
            while not await self._ready(http):
                if self.server.returncode is not None:
                    raise RuntimeError(f"a server ended with {self.server.returncode}; see {log.name}")
                await asyncio.sleep(0.05)

    async def _ready(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(f"http://127.0.0.1:{self.scene.port}/health/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def end(self, sign: signal.Signals) -> float:
        """End the server that is there; how long it took."""
        begun = time.monotonic()
        if self.server is not None:
            self.server.send_signal(sign)
            await self.server.wait()
            self.server = None
        return time.monotonic() - begun

    async def empty(self) -> None:
        """Return when all that this server has to store is stored."""
        async with aiohttp.ClientSession() as http, asyncio.timeout(PATIENCE_S):
            while await settled(self.scene, http) is None:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Plan:
    """One scenario. sign: how old servers are ended; calm_s: before a new one starts, and before an old one ends.

    long: the model of half of the questions.
    """

    name: str
    sign: signal.Signals = signal.SIGTERM
    rolls: int = 4
    clients: int = 200
    long: str = LONG
    calm_s: float = 1.0
    settings: dict[str, str] = field(default_factory=dict)


async def roll(plan: Plan, home: Path, dsn: str, seed: int = 1) -> Outcome:
    """Play one scenario in a folder, on a migrated or empty database."""
    outcome, dice = Outcome(plan.name), random.Random(seed)
    places = []
    for name in ("blue", "green"):
        (home / name).mkdir(mode=0o700)
        places.append(Place(Scene(home / name, dsn, free_port(), dice, settings=plan.settings)))
    old, new = places
    seen = old.scene
    ports = tuple(place.scene.port for place in places)
    try:
        await old.start()
        with fronting(Wish("nginx", ports, balance=NEXT), home / "nginx") as front:
            async with Clients(front.url, seen, outcome, plan.long).asking(plan.clients):
                for _ in range(plan.rolls):
                    await asyncio.sleep(plan.calm_s)
                    await new.start()
                    await asyncio.sleep(plan.calm_s)
                    outcome.exits.append(await old.end(plan.sign))
                    outcome.rolls += 1
                    old, new = new, old
                if plan.sign == signal.SIGKILL:
                    await new.start()  # takes over what lies in the spool of the one that was killed last
        for place in places:
            if place.server is not None:
                await place.empty()
    finally:
        for place in places:
            await place.end(signal.SIGTERM)
    await _compare(seen, outcome)
    return outcome


async def _compare(scene: Scene, outcome: Outcome) -> None:
    """Hold what clients have seen against what PostgreSQL has."""
    await verify(scene, outcome.record)
    connection = await asyncpg.connect(scene.dsn)
    found = {str(row["run_id"]) for row in await connection.fetch("SELECT run_id FROM runs")}
    await connection.close()
    outcome.missing = sorted(scene.seen.keys() - found)


def show(outcomes: list[Outcome]) -> Table:
    """The table for people."""
    table = Table(
        "scenario", "rolls", "runs", "ends", "resumed", "tried again", "refused", "broken", "record", "exit s"
    )
    for one in outcomes:
        ends, waited = (", ".join(f"{count} {name}" for name, count in c.most_common()) for c in (one.ends, one.waited))
        record = one.record
        wrong = [len(found) for found in (one.missing, record.lost, record.twice, record.different, record.left_open)]
        told = "whole" if not any(wrong) else "{} missing, {} lost, {} twice, {} different, {} open".format(*wrong)
        table.add_row(
            one.name, str(one.rolls), str(record.runs), ends, str(one.resumed), waited,
            str(dict(+one.refused) or 0), str(len(one.broken) + len(one.unended)), told,
            f"{max(one.exits):.1f}",
        )  # fmt: skip
    return table


async def scenarios(plans: list[Plan]) -> list[Outcome]:
    """Each on a database of its own."""
    outcomes = []
    with folder() as home, contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis(home)) if shutil.which("redis-server") else None
        async with EmbeddedPostgres(home / "pg") as postgres:
            for number, plan in enumerate(plans):
                if "Redis" in plan.name:
                    if redis is None:
                        continue
                    plan.settings["REDIS_URL"] = f"unix://{redis.socket}"
                admin = await asyncpg.connect(postgres.dsn)
                await admin.execute(f"CREATE DATABASE rolling{number}")
                await admin.close()
                (home / str(number)).mkdir(mode=0o711)
                dsn = urlsplit(postgres.dsn)._replace(path=f"/rolling{number}").geturl()
                outcomes.append(await roll(plan, home / str(number), dsn))
    return outcomes


def main(
    rolls: Annotated[int, typer.Option(min=1, help="Servers that are replaced in each scenario.")] = 4,
    clients: Annotated[int, typer.Option(min=1, help="Clients at the same time.")] = 200,
    only: Annotated[str, typer.Option(help="Only scenarios with this in their name.")] = "",
) -> None:
    """Replace servers behind nginx while streams run, and check that nobody was refused, cut or forgotten."""
    if shutil.which("nginx", path=search_path()) is None:
        raise typer.BadParameter("nginx is not installed")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that our children are ended on the way out
    raise_file_limit()
    ways = {"SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}
    plans = [
        Plan(name, sign, rolls, clients)
        for tail in ("", " with Redis")
        for way, sign in ways.items()
        if only in (name := way + tail)
    ]
    outcomes = asyncio.run(scenarios(plans))
    Console(width=170).print(show(outcomes))
    raise typer.Exit(0 if all(one.whole for one in outcomes) else 1)


if __name__ == "__main__":
    typer.run(main)
