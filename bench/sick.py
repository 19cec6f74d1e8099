"""A sick model under load: `python -m bench.sick`. Does its breaker open, and does the other lane feel anything?

Workers ask in turn with a slow model that is well and with one that hangs, fails or is slow; the fast model is the same
in both. Each group's fast lanes are compared with the other's, so that whatever else happens on this machine happens
to both. Then the model heals, and its breaker must close.
"""

import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import aiohttp
import typer
from rich.console import Console
from rich.table import Table

from bench.answers import serving
from bench.processes import ROOT
from bench.servers import folder

sys.path.append(str(ROOT / "tests"))
from fake_openai import HANG, Reply, behave, error, fake_openai  # tests are no package

FAST, WELL, SICK = "fast-20t-5ms-20ttft", "well-20t-5ms-40ttft", "sick"
P95: Final = ("first token p95 ms", "fast lane p95 ms")
FAULTS: Final = {"hang": Reply((HANG,)), "500": error(500), "slow": behave("20t-1500ttft")}
WINDOW_S, RECOVERY_S, PATIENCE_S = 10.0, 2.0, 1.0
SETTINGS: Final = {
    "FAST_MODEL": f"openai:{FAST}",
    "SLOW_MODEL": f"openai:{SICK}",
    "SLOW_FIRST_TOKEN_TIMEOUT_S": str(PATIENCE_S),
    "BREAKER_WINDOW_S": str(WINDOW_S),
    "BREAKER_RECOVERY_S": str(RECOVERY_S),
    "CACHE": "false",
    "LOG_LEVEL": "INFO",
}
LOOK_S: Final = 0.02
HEAL_S: Final = 3 * RECOVERY_S + PATIENCE_S


class Asked(dict[str, Reply]):
    """What upstream replies by model, and when the sick one was asked."""

    def __init__(self) -> None:
        super().__init__({SICK: behave(WELL)})
        self.times: list[float] = []

    def get(self, model: str, *_: object) -> Reply | None:  # type: ignore[override]
        """The reply, counted."""
        if model == SICK:
            self.times.append(time.perf_counter())
        return super().get(model)


@dataclass
class Seen:
    """Milliseconds of fast lanes to the first token and in all, by the slow model beside them; how slow lanes ended."""

    first_ms: dict[str, list[float]] = field(default_factory=lambda: {WELL: [], SICK: []})
    whole_ms: dict[str, list[float]] = field(default_factory=lambda: {WELL: [], SICK: []})
    ends: Counter[str] = field(default_factory=Counter)
    states: list[tuple[float, str]] = field(default_factory=list)

    def note(self, beside: str, raw: bytes) -> None:
        """One stream."""
        for block in raw.split(b"\n\n"):
            if b"event: lane_end" in block:
                end = json.loads(block.partition(b"data: ")[2])
                if end["lane"] == "fast":
                    self.first_ms[beside].append(end["ttft_ms"])
                    self.whole_ms[beside].append(end["latency_ms"])
                elif beside == SICK:
                    self.ends[end["reason"] or end["outcome"]] += 1

    def when(self, state: str, after: float) -> float | None:
        """When the breaker was first seen so, in seconds after that."""
        return next((at - after for at, its in self.states if its == state and at >= after), None)


@dataclass
class Load:
    """Asks one server until `over`."""

    http: aiohttp.ClientSession
    url: str
    seen: Seen = field(default_factory=Seen)
    over: bool = False

    async def work(self, number: int) -> None:
        """One stream after another, beside the two slow models in turn."""
        turn = number
        while not self.over:
            beside, turn = (WELL, SICK)[turn % 2], turn + 1
            body = {"input": f"{number}.{turn}", "slow": {"model": f"openai:{beside}"}}
            async with self.http.post(f"{self.url}/v1/reason", json=body) as response:
                self.seen.note(beside, await response.read())

    async def watch(self) -> None:
        """Note what the breaker does."""
        while not self.over:
            async with self.http.get(f"{self.url}/api/breakers") as response:
                state = (await response.json())["breakers"][f"openai:{SICK}"]["state"]
            if not self.seen.states or self.seen.states[-1][1] != state:
                self.seen.states.append((time.perf_counter(), state))
            await asyncio.sleep(LOOK_S)


@dataclass(frozen=True)
class Result:
    """One fault: seconds until the breaker opened and, healed, closed; asks while it was open; p95 of fast lanes."""

    fault: str
    opened_s: float | None
    asks: int
    allowed: int
    closed_s: float | None
    first_ms: tuple[float, float]
    whole_ms: tuple[float, float]
    ends: Counter[str]

    @property
    def good(self) -> bool:
        """Whether all goals were met."""
        felt = any(sick > well * 1.15 + 3 for well, sick in (self.first_ms, self.whole_ms))
        in_time = self.opened_s is not None and self.opened_s <= WINDOW_S and self.closed_s is not None
        return in_time and self.asks <= self.allowed and not felt


async def _one(fault: str, load: Load, asked: Asked, seconds: float, streams: int) -> Result:
    """Healthy, sick, healed."""
    tasks = [asyncio.create_task(load.work(n)) for n in range(streams)] + [asyncio.create_task(load.watch())]
    await asyncio.sleep(2)
    load.seen.first_ms, load.seen.whole_ms = Seen().first_ms, Seen().whole_ms
    load.seen.ends.clear()
    began, asked[SICK] = time.perf_counter(), FAULTS[fault]
    await asyncio.sleep(seconds)
    p95 = [tuple(_p95(of[beside]) for beside in (WELL, SICK)) for of in (load.seen.first_ms, load.seen.whole_ms)]
    ends, healed, asked[SICK] = load.seen.ends.copy(), time.perf_counter(), behave(WELL)
    opened = load.seen.when("open", began)
    since = began + (opened or 0.0)
    asks = sum(since < at <= healed for at in asked.times)
    while load.seen.states[-1][1] != "closed" and time.perf_counter() < healed + HEAL_S:  # noqa: ASYNC110  # as told
        await asyncio.sleep(LOOK_S)
    closed = load.seen.when("closed", healed)
    load.over = True
    await asyncio.gather(*tasks)
    allowed = int((healed - since) / RECOVERY_S) + 1
    return Result(fault, opened, asks, allowed, closed, p95[0], p95[1], ends)  # type: ignore[arg-type]


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else float("nan")


@contextmanager
def _server(base_url: str) -> Iterator[tuple[int, Path]]:
    with folder() as logs, serving(logs, OPENAI_BASE_URL=base_url, **SETTINGS) as (port, _):
        yield port, logs / "tandem.log"


async def _measure(faults: list[str], seconds: float, streams: int) -> tuple[list[Result], list[str]]:
    results, said = [], []
    async with fake_openai() as fake, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        with await asyncio.to_thread(_Running, fake.base_url) as (port, log):
            for fault in faults:
                asked = Asked()
                fake.replies = asked
                load = Load(http, f"http://127.0.0.1:{port}")
                results.append(await _one(fault, load, asked, seconds, streams))
            said = [line for line in log.read_text().splitlines() if "the breaker of" in line]
    return results, said


class _Running:
    """A server that was started in a thread, so that upstream goes on meanwhile."""

    def __init__(self, base_url: str) -> None:
        self._context = _server(base_url)
        self._given = self._context.__enter__()

    def __enter__(self) -> tuple[int, Path]:
        return self._given

    def __exit__(self, *_: object) -> None:
        self._context.__exit__(None, None, None)


def sick(
    faults: Annotated[str, typer.Option(help="Of hang, 500, slow.")] = "hang,500,slow",
    seconds: Annotated[float, typer.Option(min=2, max=600, help="How long each lasts.")] = 8.0,
    streams: Annotated[int, typer.Option(min=2, max=1000)] = 20,
) -> None:
    """Print what happened; end with 1 when a goal was missed."""
    results, said = asyncio.run(_measure(faults.split(","), seconds, streams))
    heads = ("fault", "open after s", "asks while open", "closed s after healing", *P95, "lanes of the sick model")
    table = Table(*heads)
    for result in results:
        pairs = [f"{well:.0f} beside well, {ill:.0f} beside sick" for well, ill in (result.first_ms, result.whole_ms)]
        waits = ["never" if wait is None else f"{wait:.2f}" for wait in (result.opened_s, result.closed_s)]
        ends = ", ".join(f"{reason} {count}" for reason, count in result.ends.most_common())
        table.add_row(result.fault, waits[0], f"{result.asks} of {result.allowed}", waits[1], *pairs, ends)
    Console(width=200).print(table)
    print(*said, sep="\n")
    if not all(result.good for result in results):
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(sick)
