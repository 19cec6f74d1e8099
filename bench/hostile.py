"""Clients that mean harm, on a real server: `python -m bench.hostile`. Does anybody else feel it, and what is left?

Before and during each attack an honest client asks one question after another. Afterwards the files of the process must
be as many as before, no request in flight and no run live; the growth of its memory, the lines in its log and the
later first token are held to bounds, and /prometheus must have counted what happened.
"""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from bench.answers import serving
from bench.attacks import ATTACKS, QUESTION, Attack
from bench.overload import percentile
from bench.processes import Cores, MemorySampler, descendants, go_first, raise_file_limit
from bench.servers import folder

CALM_S: Final = 1.5
AT_LEAST_S: Final = 1.5  # an attack that is over at once is seen for so long
CLEAN_S: Final = 20.0  # until nothing may be left
LATER: Final = (2.0, 50.0)  # the first token: so many times as late, and so many milliseconds
MOST_MIB: Final = 96.0
LINES_S: Final = 5.0  # of the log a second
SPARE_FILES: Final = 4  # kept connections to the database may come and go
LIVE: Final = re.compile(
    rb"^(?:http_requests_in_progress\{.*\}|tandem_live_runs|tandem_open_streams) ([1-9].*)$", re.MULTILINE
)
SETTINGS: Final = {
    "FAST_MODEL": "scripted:fast?first=0.05&gap=0.001",
    "SLOW_MODEL": "scripted:slow?first=0.06&gap=0.001",
    "LOAD_HEAD_TIMEOUT_S": "2",
    "SEND_TIMEOUT_S": "2",
    "DISCONNECT_GRACE_S": "0",
    "KEPT_RUNS": "20",
    "LOG_LEVEL": "INFO",
    "REQUEST_LOG": "false",
}


@dataclass(frozen=True, slots=True)
class Victim:
    """The server under attack."""

    port: int
    pid: int
    log: Path

    def files(self) -> int:
        """How many it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def lines(self) -> int:
        """How many it has written."""
        return self.log.read_bytes().count(b"\n")

    async def ask(self) -> tuple[bytes, float]:
        """One honest question: everything that came, and after how many milliseconds the first token."""
        began, heard, first_ms = time.perf_counter(), b"", 0.0
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                with contextlib.closing(writer.transport):
                    writer.write(QUESTION)
                    while b"event: done" not in heard and (piece := await reader.read(65_536)):
                        heard += piece
                        if not first_ms and b'"kind":"answer"' in heard:
                            first_ms = (time.perf_counter() - began) * 1000
        return heard, first_ms

    async def scrape(self) -> bytes:
        """What it says of itself."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with contextlib.closing(writer.transport):
            writer.write(b"GET /prometheus HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return await reader.read(-1)


@dataclass(slots=True)
class Honest:
    """What an honest client felt, until it is told to stop."""

    victim: Victim
    times: list[float]
    failed: int = 0
    over: bool = False

    async def go_on(self) -> None:
        """One question after another."""
        while not self.over:
            heard, first_ms = await self.victim.ask()
            if b'"status":"completed"' in heard:
                self.times.append(first_ms)
            else:
                self.failed += 1
            await asyncio.sleep(0.02)


async def feel(victim: Victim, attack: Attack | None) -> Honest:
    """Ask for as long as the attack lasts, or a while without one."""
    honest = Honest(victim, [])
    asking = asyncio.create_task(honest.go_on())
    began = time.perf_counter()
    if attack is not None:
        await attack.run(victim.port)
    least_s = CALM_S if attack is None else AT_LEAST_S
    await asyncio.sleep(began + least_s - time.perf_counter())
    honest.over = True
    await asking
    return honest


def counted(scraped: bytes, what: str) -> float:
    """The sum of the samples whose name and labels contain that."""
    lines = [line for line in scraped.decode().splitlines() if what in line and not line.startswith("#")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if "_bucket" not in line and "_sum" not in line)


@dataclass(frozen=True, slots=True)
class Felt:
    """What one attack did."""

    name: str
    lasted_s: float
    calm_ms: float
    first_ms: float
    answered: int
    failed: int
    grown_mib: float
    files_left: int
    busy_left: int
    lines: int
    counted: float

    def broken(self) -> list[str]:
        """Which bounds were."""
        factor, more_ms = LATER
        found = {
            "felt": self.first_ms > factor * self.calm_ms + more_ms,
            "unanswered": self.failed > 0 or not self.answered,
            "memory": self.grown_mib > MOST_MIB,
            "files": self.files_left > SPARE_FILES,
            "left": self.busy_left > 0,
            "log": self.lines > LINES_S * max(1.0, self.lasted_s),
            "uncounted": self.counted <= 0,
        }
        return [name for name, is_so in found.items() if is_so]


async def suffer(victim: Victim, attack: Attack) -> Felt:
    """One attack, with the calm before it and what it left."""
    calm = await feel(victim, None)
    files, lines, before = victim.files(), victim.lines(), await victim.scrape()
    began = time.perf_counter()
    with MemorySampler(victim.pid) as memory:
        honest = await feel(victim, attack)
        lasted_s = time.perf_counter() - began
        after = await _clean(victim, files)
    return Felt(
        attack.name,
        lasted_s,
        percentile(calm.times, 0.95),
        percentile(honest.times, 0.95),
        len(honest.times),
        honest.failed,
        (memory.peak() - memory.idle) / (1 << 20),
        victim.files() - files,
        len(LIVE.findall(after)) - 1,  # the scrape itself is in flight
        victim.lines() - lines,
        counted(after, attack.counted) - counted(before, attack.counted),
    )


async def _clean(victim: Victim, files: int) -> bytes:
    """The scrape that finds nothing left, or the last one when that takes too long."""
    until = time.perf_counter() + CLEAN_S
    while True:
        scraped = await victim.scrape()
        is_clean = victim.files() <= files + SPARE_FILES and len(LIVE.findall(scraped)) <= 1
        if is_clean or time.perf_counter() > until:
            return scraped
        await asyncio.sleep(0.1)


def show(found: list[Felt]) -> bool:
    """Print it; whether every bound was kept."""
    heads = ("attack", "lasted s", "first token p95 ms\ncalm, attacked", "answered", "memory MiB", "files", "left")
    table = Table(*heads, "log lines", "counted", "broken")
    for felt in found:
        first = f"{felt.calm_ms:.0f}, {felt.first_ms:.0f}"
        answered = f"{felt.answered} of {felt.answered + felt.failed}"
        numbers = (f"{felt.grown_mib:+.0f}", f"{felt.files_left:+d}", str(felt.busy_left), str(felt.lines))
        broken = ", ".join(felt.broken())
        table.add_row(felt.name, f"{felt.lasted_s:.1f}", first, answered, *numbers, f"{felt.counted:.0f}", broken)
    Console(width=160, highlight=False).print(table)
    return not any(felt.broken() for felt in found)


@contextlib.contextmanager
def _victim(cores: Cores, *, first: bool) -> Iterator[Victim]:
    with folder() as logs, serving(logs, **SETTINGS) as (port, pid):
        cores.give_server(pid)
        if first:
            go_first({os.getpid(), pid, *descendants(pid)})
        yield Victim(port, pid, logs / "tandem.log")


async def _all(victim: Victim, names: list[str]) -> list[Felt]:
    await feel(victim, None)  # what is made at the first question is made
    return [await suffer(victim, attack) for attack in ATTACKS if not names or attack.name in names]


def main(
    only: Annotated[str, typer.Option(help="Names of attacks, with commas; all without.")] = "",
    pin: Annotated[bool, typer.Option(help="Server on one half of the cores, attackers on the other (Linux).")] = True,
    first: Annotated[bool, typer.Option(help="Before everybody else on this machine (Linux, root).")] = False,
) -> None:
    """Attack a server in every way that is known here; exit code 1 when a bound was broken. Linux, two minutes."""
    raise_file_limit()
    names = [name.strip() for name in only.split(",") if name.strip()]
    with _victim(Cores(pin=pin), first=first) as victim:
        found = uvloop.run(_all(victim, names))
    raise typer.Exit(0 if show(found) else 1)


if __name__ == "__main__":
    typer.run(main)
