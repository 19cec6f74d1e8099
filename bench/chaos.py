"""Kill a server under load, again and again, and count what its clients were promised and what the record has.

A scene is one spool and one empty database: kills at random moments of the start, the migration, the load, the drain
and the shutdown, then one server that drains what is left. Every run whose `start` said `durable` must be in
PostgreSQL exactly once, every one whose `done` said `durable` with its whole outcome, its log equal to the byte.
"""

import asyncio
import os
import random
import shutil
import signal
from typing import Annotated
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from app.postgres.embedded import EmbeddedPostgres
from bench.servers import folder, free_port
from bench.witness import Scene, Tally, clients, drain, verify


async def _kill(scene: Scene, http: aiohttp.ClientSession, tally: Tally) -> None:
    """One server: start it, let it live for a random time, kill it."""
    server = await scene.start()
    moment = scene.dice.choices(["start", "load", "shutdown"], [3, 6, 1])[0]
    if moment == "start":
        await asyncio.sleep(scene.dice.uniform(0.0, 1.5))
    else:
        while server.returncode is None and await scene.health(http) is None:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.02)
        await asyncio.sleep(scene.dice.uniform(0.0, 0.8))
    if moment == "shutdown":
        server.terminate()
        await asyncio.sleep(scene.dice.uniform(0.0, 0.6))
    if server.returncode is None:
        server.send_signal(signal.SIGKILL)
    await server.wait()
    tally.kills[moment] += 1


async def chaos(kills: int, a_scene: int, seed: int, tell: Console) -> Tally:
    """That many kills, some to a scene; the seed decides the moments (not what the machine makes of them)."""
    tally, dice = Tally(), random.Random(seed)
    with folder() as root:
        async with (
            EmbeddedPostgres(root / "pg") as postgres,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http,
        ):
            for number in range(0, kills, a_scene):
                admin = await asyncpg.connect(postgres.dsn)
                await admin.execute(f"CREATE DATABASE scene{number}")
                await admin.close()
                home = root / f"home{number}"
                home.mkdir(mode=0o700)
                dsn = urlsplit(postgres.dsn)._replace(path=f"/scene{number}").geturl()
                scene = Scene(home, dsn, free_port(), dice)
                async with clients(scene, http):
                    for _ in range(min(a_scene, kills - number)):
                        await _kill(scene, http, tally)
                await drain(scene, http, tally)
                await verify(scene, tally)
                shutil.rmtree(home)
                broken = f"{len(tally.lost)} lost, {len(tally.twice)} twice, {len(tally.different)} different"
                tell.print(f"{sum(tally.kills.values())} kills, {tally.runs} runs seen, {broken}")
    return tally


def main(
    kills: Annotated[int, typer.Option(min=1, help="How many servers are killed.")] = 200,
    a_scene: Annotated[int, typer.Option(min=1, help="Kills on one spool and database.")] = 10,
    seed: Annotated[int, typer.Option(help="What the random moments follow from.")] = 1,
) -> None:
    """Kill servers under load and check that the record keeps every promise."""
    os.umask(0o077)
    console = Console()
    tally = asyncio.run(chaos(kills, a_scene, seed, console))
    table = Table("what", "how many", title="the record after the kills")
    table.add_row("kills", ", ".join(f"{count} in {moment}" for moment, count in tally.kills.most_common()))
    for name in ("runs", "start_durable", "done_durable", "interrupted"):
        table.add_row(name.replace("_", " "), str(getattr(tally, name)))
    for name in ("lost", "twice", "different", "left_open", "unbalanced"):
        table.add_row(name.replace("_", " "), f"{len(getattr(tally, name))} {getattr(tally, name)[:3] or ''}")
    console.print(table)
    raise typer.Exit(0 if tally.whole else 1)


if __name__ == "__main__":
    typer.run(main)
