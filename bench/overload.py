"""More questions than places: `python -m bench.overload`. What who is let in feels, and how soon the others are told.

Calm and overload take turns on one server, so that what else the machine does hits both alike. Questions come at a
steady rate, every other one on a connection of its own and the rest on kept ones, whether those before were answered or
not. Capacity is the number of races (LOAD_MAX_RACES) by how long one lasts; calm is 40 % of it. Times are from the call
to connect on: to the first token of an answer, to the last byte of a refusal. Recovery is the calm right behind an
overload. With every fourth question upstream is asked for its counters, by the same code: what the tool and the machine
take themselves (`direct`), to be subtracted from the refusals.
"""

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from bench.plan import Answer, read_answer
from bench.processes import Child, Cores, MemorySampler, cpu_s, descendants, go_first, raise_file_limit, waited_s
from bench.servers import TANDEM_ENV, folder, free_port, get, upstream

CALM: Final = 0.4  # of the capacity
RECOVERY_S: Final = 1.0
REFUSED_MS: Final = 50.0
TIMES_UNLOADED: Final = 2.0
LIMIT_S: Final = 30.0
FIRST_TOKEN: Final = b'"kind":"answer"'


@dataclass(slots=True)
class Felt:
    """What the askers of some phases felt; milliseconds."""

    first_token: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    direct: list[float] = field(default_factory=list)
    queued: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def asked(self) -> int:
        """How many there were."""
        return self.outcomes.total()


def percentile(values: list[float], share: float) -> float:
    """Of some times; not a number when there are none."""
    return sorted(values)[round(share * (len(values) - 1))] if values else float("nan")


def _request(port: int, *, keep: bool, body: bytes = b"") -> bytes:
    """A question, or a look at upstream's counters."""
    line = "POST /v1/reason HTTP/1.1" if body else "GET /stats HTTP/1.1"
    head = f"{line}\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: {'keep-alive' if keep else 'close'}\r\n\r\n".encode() + body


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Askers:
    """Asks one server at a rate, and upstream in turn with it."""

    def __init__(self, port: int, upstream_port: int, answer: Answer) -> None:
        self._port, self._upstream_port = port, upstream_port
        lane = {"model": f"openai:{answer.model}"}
        body = json.dumps({"input": "Say hello, please.", "fast": lane, "slow": lane, "cache": "off"}).encode()
        self.tasks: set[asyncio.Task[None]] = set()
        self._requests = [_request(port, keep=keep, body=body) for keep in (False, True)]
        self._direct = _request(upstream_port, keep=True)
        self._kept: dict[int, list[Connection]] = {port: [], upstream_port: []}

    async def at(self, rate: float, seconds: float, *fates: tuple[float, Felt]) -> None:
        """So many a second for so long; each is put down where the last time that has come says. Waits for none."""
        began, count = time.perf_counter(), int(rate * seconds)
        for number in range(count):
            due_s = number / rate
            await asyncio.sleep(began + due_s - time.perf_counter())
            felt = [felt for since_s, felt in fates if due_s >= since_s][-1]
            self._begin(self._ask(felt, keep=number % 2 == 1))
            if number % 4 == 0:
                self._begin(self._look(felt))
        await asyncio.sleep(began + seconds - time.perf_counter())

    async def rest(self) -> None:
        """Wait for everybody who asked."""
        if self.tasks:
            await asyncio.wait(set(self.tasks))

    def _begin(self, asking: Coroutine[None, None, None]) -> None:
        self.tasks.add(task := asyncio.create_task(asking))
        task.add_done_callback(self.tasks.discard)

    async def _ask(self, felt: Felt, *, keep: bool) -> None:
        began, outcome = time.perf_counter(), "cut"
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(LIMIT_S), self._connection(self._port, keep=keep) as (reader, writer):
                writer.write(self._requests[keep])
                outcome = await self._listen(reader, felt, began)
        felt.outcomes[outcome] += 1

    async def _look(self, felt: Felt) -> None:
        began = time.perf_counter()
        async with self._connection(self._upstream_port, keep=True) as (reader, writer):
            writer.write(self._direct)
            await _answer(reader, began)
            felt.direct.append((time.perf_counter() - began) * 1000)

    @contextlib.asynccontextmanager
    async def _connection(self, port: int, *, keep: bool) -> AsyncIterator[Connection]:
        """A new connection, or one that is kept for the next when its answer was whole."""
        kept = self._kept[port]
        reader, writer = kept.pop() if keep and kept else await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        except BaseException:
            writer.transport.abort()
            raise
        if keep and not reader.at_eof():
            kept.append((reader, writer))
        else:
            writer.transport.abort()

    @staticmethod
    async def _listen(reader: asyncio.StreamReader, felt: Felt, began: float) -> str:
        """Read to the end, and note the times on the way."""
        head, body, first_ms = await _answer(reader, began)
        status = head[9:12].decode()
        if status != "200":
            felt.refused.append((time.perf_counter() - began) * 1000)
            return f"{status} {json.loads(body)['code']}"
        if b'"status":"completed"' not in body:
            return "not completed"
        felt.first_token.append(first_ms)
        felt.queued.append(float(body.partition(b'"queued_ms":')[2].partition(b",")[0]))
        return "completed"


async def _answer(reader: asyncio.StreamReader, began: float) -> tuple[bytes, bytes, float]:
    """One answer: its head, its body, and after how many milliseconds the first token came; waits for a close, too."""
    head = await reader.readuntil(b"\r\n\r\n")
    names = head.lower()
    if b"content-length:" in names:
        length = int(names.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        if b"connection: close" in names:
            await reader.read()
        return head, body, 0.0
    body, first_ms = b"", 0.0
    while not body.endswith(b"0\r\n\r\n") and (piece := await reader.read(65_536)):
        body += piece
        if not first_ms and FIRST_TOKEN in body:
            first_ms = (time.perf_counter() - began) * 1000
    return head, body, first_ms


@contextlib.contextmanager
def tandem(logs: Path, upstream_port: int, cores: Cores, own: dict[str, str]) -> Iterator[tuple[int, int]]:
    """A Tandem with these settings: its port and process."""
    port, model = free_port(), "openai:20t-0ms"
    models = {"FAST_MODEL": model, "SLOW_MODEL": model, "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1"}
    place = {"PORT": str(port), "HOST": "127.0.0.1", "TANDEM_HOME": str(logs / "home")}
    with Child(["app.cli", "serve"], logs / "tandem.log", {**TANDEM_ENV, **models, **place, **own}) as child:
        cores.give_server(child.pid)
        child.await_ready(lambda: get(port, "/health/ready")[0] == 200)
        yield port, child.pid


@dataclass(frozen=True, slots=True)
class Plan:
    """races: places on the server; each phase lasts for seconds, and there are rounds of both."""

    answer: Answer
    races: int
    factor: float
    seconds: float
    rounds: int

    @property
    def capacity(self) -> float:
        """Answers a second."""
        return self.races / self.answer.lasts_s


@dataclass(frozen=True, slots=True)
class Found:
    """What was felt in the calm, in the overload, right after it; and the memory in MiB."""

    calm: Felt
    overload: Felt
    recovery: Felt
    idle_mib: float
    warm_mib: float
    peak_mib: float
    busy: float  # the server's share of a core in the overload
    waited: float  # and for how much of the time it waited for one

    def judged(self) -> list[tuple[str, str, bool]]:
        """What was promised, what was found, and whether that is it."""
        calm, over, after = (percentile(felt.first_token, 0.95) for felt in (self.calm, self.overload, self.recovery))
        told, tool = (percentile(times, 0.99) for times in (self.overload.refused, self.overload.direct))
        others = {name for name in self.overload.outcomes if name != "completed" and name[:3] not in ("429", "503")}
        return [
            (
                f"first token of who is let in, p95, at most {TIMES_UNLOADED:g} times the {calm:.0f} ms of the calm",
                f"{over:.0f} ms, {over / calm:.2f} times",
                over <= TIMES_UNLOADED * calm,
            ),
            (
                f"refusals told within {REFUSED_MS:g} ms, p99 less that of direct",
                f"{told:.1f} - {tool:.1f} ms",
                told - tool < REFUSED_MS,
            ),
            ("nothing but answers, 429 and 503", ", ".join(sorted(others)) or "nothing else", not others),
            (
                f"calm again at once: in the first {RECOVERY_S:g} s all are let in, as fast as before",
                f"{self.recovery.outcomes['completed']} of {self.recovery.asked()}, p95 {after:.0f} ms",
                self.recovery.outcomes.keys() == {"completed"} and after <= TIMES_UNLOADED * calm,
            ),
            (
                "memory of the overload bounded: at most half as much again as in the calm",
                f"{self.warm_mib:.0f} MiB, at most {self.peak_mib:.0f} (idle {self.idle_mib:.0f})",
                self.peak_mib <= 1.5 * self.warm_mib,
            ),
        ]


async def measure(plan: Plan, upstream_port: int, port: int, pid: int) -> Found:
    """Calm, overload, calm, ... and the calm behind the last."""
    askers, calm, overload, recovery = Askers(port, upstream_port, plan.answer), Felt(), Felt(), Felt()
    with MemorySampler(pid) as memory:
        await askers.at(CALM * plan.capacity, 2.0, (0.0, Felt()))  # connections and code are warm
        await askers.at(CALM * plan.capacity, plan.seconds, (0.0, calm))
        warm, busy_s, late_s = memory.peak(), 0.0, 0.0
        for _ in range(plan.rounds):
            before_s, before_late_s = cpu_s(pid), waited_s(pid)
            await askers.at(plan.factor * plan.capacity, plan.seconds, (0.0, overload))
            busy_s, late_s = busy_s + cpu_s(pid) - before_s, late_s + waited_s(pid) - before_late_s
            await asyncio.sleep(plan.answer.lasts_s)  # who was let in last still holds a place
            await askers.at(CALM * plan.capacity, plan.seconds, (0.0, recovery), (RECOVERY_S, calm))
        await askers.rest()
    spent_s = plan.rounds * plan.seconds
    idle, most = memory.idle, memory.peak()
    idle_mib, warm_mib, peak_mib = (size / (1 << 20) for size in (idle, warm, most))
    return Found(calm, overload, recovery, idle_mib, warm_mib, peak_mib, busy_s / spent_s, late_s / spent_s)


def show(plan: Plan, found: Found) -> bool:
    """Print it; whether every promise was kept."""
    console = Console(highlight=False, width=140)
    columns = (
        "asked",
        "completed",
        "first token\np50 / p95 / p99 ms",
        "queued\np50 / p95 ms",
        "told\np50 / p95 / p99 / max ms",
        "direct\np50 / p95 / p99 ms",
    )
    table = Table(
        "phase", *columns, "others", title=f"{plan.races} races of {plan.answer.model}: {plan.capacity:.1f}/s"
    )
    for name, felt in (("calm", found.calm), ("overload", found.overload), ("recovery", found.recovery)):
        others = ", ".join(f"{n} {what}" for what, n in sorted(felt.outcomes.items()) if what != "completed")
        times = [
            " / ".join(f"{percentile(values, share):.0f}" for share in shares)
            for values, shares in (
                (felt.first_token, (0.5, 0.95, 0.99)),
                (felt.queued, (0.5, 0.95)),
                (felt.refused, (0.5, 0.95, 0.99, 1.0)),
                (felt.direct, (0.5, 0.95, 0.99)),
            )
        ]
        table.add_row(name, str(felt.asked()), str(felt.outcomes["completed"]), *times, others)
    console.print(table)
    console.print(
        f"in the overload the server took {found.busy:.0%} of a core, waited for one for {found.waited:.0%}; "
        f"load of the machine {os.getloadavg()[0]:.1f}"
    )
    judged = found.judged()
    for promise, was, kept in judged:
        console.print(f"{'kept  ' if kept else 'BROKEN'}  {promise}: {was}")
    return all(kept for _, _, kept in judged)


def main(  # noqa: PLR0913, PLR0917  # an option of the command is an argument
    races: Annotated[int, typer.Option(min=1, max=2000, help="LOAD_MAX_RACES of the server.")] = 20,
    factor: Annotated[float, typer.Option(min=0.1, max=50, help="How many times the capacity is asked.")] = 5.0,
    seconds: Annotated[float, typer.Option(min=2, max=600, help="Of each phase.")] = 20.0,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Of overload and calm.")] = 1,
    answer: Annotated[str, typer.Option(help="What upstream does, as in bench/README.md.")] = "20t-40ms-300ttft",
    pin: Annotated[bool, typer.Option(help="Server on one half of the cores, load on the other (Linux).")] = True,
    first: Annotated[bool, typer.Option(help="Before everybody else on this machine (Linux, root).")] = False,
) -> None:
    """Ask a server several times as much as it has room for; exit code 1 when a promise was broken."""
    raise_file_limit()
    plan, cores = Plan(read_answer(answer), races, factor, seconds, rounds), Cores(pin=pin)
    own = {"LOAD_MAX_RACES": str(races), "LOAD_MAX_LAG_S": "0.5"}
    with folder() as logs, upstream(logs, 0) as up, tandem(logs, up.port, cores, own) as (port, pid):
        if first:
            go_first({os.getpid(), up.pid or pid, pid, *descendants(pid)})
        found = uvloop.run(measure(plan, up.port, port, pid))
    raise typer.Exit(0 if show(plan, found) else 1)


if __name__ == "__main__":
    typer.run(main)
