"""Take Redis or PostgreSQL away under load, in every way we know, and compare what askers get with a healthy server.

Questions of every kind are asked all the while: fresh, asked before, many at once, under a key twice, come back to.
Streams must be the same, first events no later than the levels' timeouts allow, errors counted; afterwards hits must
come back by themselves.
"""

import asyncio
import contextlib
import itertools
import json
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Self

import aiohttp
import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from app.postgres.embedded import EmbeddedPostgres
from bench.outages import socket_of
from bench.processes import Child, frozen
from bench.proxy import Proxy
from bench.servers import folder, free_port, get

SETTINGS: Final = {
    "FAST_MODEL": "scripted:fast?first=0.02&gap=0.005&tokens=5",
    "SLOW_MODEL": "scripted:slow?first=0.1&gap=0.005&tokens=8",
    "CACHE_MEMORY_ENTRIES": "0",  # or the levels would not be asked
    "LOG_LEVEL": "ERROR",
}
# A first event: looks into Redis and PostgreSQL, a claim, the gate; under a key the record and Redis too.
BOUND_MS: Final = {"fresh": 500.0, "repeated": 500.0, "many": 500.0, "keyed": 1250.0}
MANY: Final = 5
HEAL_S: Final = 15.0
DIFFERENT: Final = {"run_id", "audit", "source", "cost_usd", "latency_ms", "ttft_ms", "usage", "fingerprint", "slow"}


@dataclass(slots=True)
class Patients:
    """A Redis and a PostgreSQL behind proxies, and how to hurt them."""

    redis: subprocess.Popen[bytes]
    postgres: EmbeddedPostgres
    networks: Mapping[str, Proxy]

    def hurt(self, which: str, fault: str) -> contextlib.AbstractAsyncContextManager[None]:
        """One of them is ill for as long as the block lasts."""
        network = self.networks[which]
        if fault == "frozen":
            return self._frozen(which)
        return {"stopped": network.stopped, "black_hole": network.black_hole, "garbage": network.garbage}[fault]()

    @contextlib.asynccontextmanager
    async def _frozen(self, which: str) -> AsyncIterator[None]:
        pid = self.redis.pid if which == "redis" else self.postgres.pid
        assert pid is not None
        with frozen(pid):
            yield


FAULTS: Final = ("healthy", "stopped", "frozen", "black_hole", "garbage")


@dataclass(slots=True)
class Asker:
    """Asks one server, and notes how long first events took and whose streams differ from the first one."""

    http: aiohttp.ClientSession
    port: int
    expected: list[Any] | None = None
    waits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    different: int = 0
    refused: int = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    async def ask(self, kind: str, what: str, key: str | None = None) -> bytes:
        """One whole stream."""
        body = {"messages": [{"role": "system", "content": what}, {"role": "user", "content": "Why?"}]}
        headers = {} if key is None else {"Idempotency-Key": key}
        begun, raw = time.perf_counter(), b""
        async with self.http.post(f"{self.url}/v1/reason", json=body, headers=headers) as response:
            async for chunk in response.content.iter_any():
                if not raw:
                    self.waits[kind].append((time.perf_counter() - begun) * 1000)
                raw += chunk
            if response.status != 200:
                self.refused += 1
                return b""
        raw = raw.replace(b": ping\n", b"")
        said = plain(raw)
        self.expected = self.expected or said
        self.different += said != self.expected
        return raw

    async def resume(self, raw: bytes) -> None:
        """Come back behind the third event."""
        seen = raw.split(b"\n\n")[2].partition(b"\nid: ")[2].partition(b"\n")[0].decode()
        async with self.http.get(
            f"{self.url}/v1/runs/{seen.partition(':')[0]}/events", headers={"Last-Event-ID": seen}
        ) as response:
            rest = (await response.read()).replace(b": ping\n", b"")
        self.different += response.status != 200 or not rest or not raw.endswith(rest)

    async def stats(self, level: str) -> dict[str, Any]:
        """The counts of one level."""
        async with self.http.get(f"{self.url}/api/cache/stats") as response:
            found: dict[str, Any] = (await response.json())["levels"][level]
        return found

    async def everything(self, numbers: "itertools.count[int]", until: float) -> None:
        """Every kind of question, again and again."""
        while time.perf_counter() < until:
            n = next(numbers)
            await self.ask("fresh", f"fresh {n}")
            await self.ask("repeated", "before")
            same = await asyncio.gather(*(self.ask("many", f"many {n}") for _ in range(MANY)))
            twice = [await self.ask("keyed", f"keyed {n}", f"k-{n}") for _ in range(2)]
            self.different += (len(set(same)) > 1) + (len(set(twice)) > 1)
            if twice[0]:
                await self.resume(twice[0])


def plain(raw: bytes) -> list[Any]:
    """A stream, lane by lane, without what differs from one run to another."""
    found = []
    for block in raw.split(b"\n\n")[:-1]:
        name = block.partition(b"event: ")[2].partition(b"\n")[0].decode()
        data = json.loads(block.partition(b"data: ")[2])
        found.append((data.get("lane", ""), name, {key: data[key] for key in sorted(data.keys() - DIFFERENT)}))
    return sorted(found, key=lambda one: one[0])


@dataclass(frozen=True, slots=True)
class Result:
    """One fault: how long first events took at most, by kind, what was counted, how soon it was well again."""

    name: str
    worst_ms: dict[str, float]
    asked: int
    different: int
    refused: int
    errors: int
    healed_s: float

    @property
    def whole(self) -> bool:
        """Whether every promise was kept."""
        late = any(self.worst_ms[kind] > bound for kind, bound in BOUND_MS.items())
        return not (late or self.different or self.refused or self.healed_s > HEAL_S)


class Redis:
    """A redis-server on a socket in a folder, for the length of the block."""

    def __init__(self, home: Path) -> None:
        self.socket = str(home / "redis.sock")
        self._home = home

    def __enter__(self) -> Self:
        command = ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", str(self._home), "--save", ""]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


async def _one(which: str, fault: str, patients: Patients, seconds: float, asker: Asker) -> Result:
    """A healthy beginning, the fault, a healthy end until a stored answer of that level is told again."""
    numbers = itertools.count()
    await asker.ask("healthy", "before")
    await asker.everything(numbers, time.perf_counter())
    before, begun = await asker.stats(which), time.perf_counter()
    async with contextlib.nullcontext() if fault == "healthy" else patients.hurt(which, fault):
        await asyncio.gather(*(asker.everything(numbers, begun + seconds) for _ in range(2)))
        during = await asker.stats(which)
    healed = time.perf_counter()
    while (await asker.stats(which))["hits"] == during["hits"] and time.perf_counter() < healed + HEAL_S + 1:
        if which == "postgres":
            connection = await asyncio.create_subprocess_exec(
                "redis-cli", "-s", patients.networks["redis"].socket, "FLUSHALL", stdout=asyncio.subprocess.DEVNULL
            )
            await connection.wait()
        await asker.ask("healing", "before")
        await asyncio.sleep(0.05)
    worst = {kind: max(asker.waits[kind]) for kind in BOUND_MS}
    asked = sum(map(len, asker.waits.values()))
    errors = during["errors"] - before["errors"]
    healed_s = time.perf_counter() - healed
    return Result(f"{which} {fault}", worst, asked, asker.different, asker.refused, errors, healed_s)


async def outages(names: list[str], seconds: float, tell: Callable[[Result], None]) -> list[Result]:
    """Each fault of each of both for so many seconds, on a server and a database of its own."""
    results = []
    timeout = aiohttp.ClientTimeout(total=30)
    with folder() as root, Redis(root) as redis:
        async with EmbeddedPostgres(root / "pg") as postgres, aiohttp.ClientSession(timeout=timeout) as http:
            for which, fault in itertools.product(("redis", "postgres"), names):
                name = f"{which}_{fault}"
                admin = await asyncpg.connect(postgres.dsn)
                await admin.execute(f"CREATE DATABASE {name}")
                await admin.close()
                async with Proxy(redis.socket) as first, Proxy(str(socket_of(postgres.dsn))) as second:
                    own = {
                        "TANDEM_HOME": str(root / name),
                        "PORT": str(port := free_port()),
                        "REDIS_URL": f"redis://127.0.0.1:{first.port}/0",
                        "REDIS_PREFIX": name,
                        "DATABASE_URL": f"postgresql://tandem@127.0.0.1:{second.port}/{name}?sslmode=disable",
                    }
                    patients = Patients(redis.process, postgres, {"redis": first, "postgres": second})
                    with Child(["app.cli", "serve"], root / f"{name}.log", SETTINGS | own) as child:
                        await asyncio.to_thread(child.await_ready, lambda: get(port, "/health/ready")[0] == 200)
                        results.append(await _one(which, fault, patients, seconds, Asker(http, port)))
                tell(results[-1])
    return results


def main(
    faults: Annotated[str, typer.Option(help="Of " + ", ".join(FAULTS))] = ",".join(FAULTS),
    seconds: Annotated[float, typer.Option(min=0.5, help="How long each lasts.")] = 5.0,
) -> None:
    """Take Redis and PostgreSQL away while questions of every kind are asked, and check that nobody notices."""
    if shutil.which("redis-server") is None:
        raise typer.BadParameter("redis-server is not installed")
    console = Console(width=110)
    table = Table("fault", "asked", *(f"{kind} max ms" for kind in BOUND_MS), "errors", "healed s", "streams")

    def tell(result: Result) -> None:
        verdict = "the same" if result.whole else f"{result.different} differ, {result.refused} refused, or late"
        worst = (f"{result.worst_ms[kind]:.0f}" for kind in BOUND_MS)
        table.add_row(result.name, str(result.asked), *worst, str(result.errors), f"{result.healed_s:.1f}", verdict)
        console.print(f"{result.name}: {result.asked} asked, {verdict}")

    results = asyncio.run(outages(faults.split(","), seconds, tell))
    console.print(table)
    raise typer.Exit(0 if all(result.whole for result in results) else 1)


if __name__ == "__main__":
    typer.run(main)
