"""The real application on a real uvicorn, on a free loopback port, inside the loop of the test.

    async with serving(fast_model="scripted:hang") as server:
        response = await server.client.post("/v1/reason", json={"input": "Why?"})

Without `dsn` the record is kept in memory; with it (the fixture of databases.py) every part is the product's own, as
`open_services` joins them. On leaving the block the server must be quiet: no run, lane, request, connection or task
may be left, or the test fails. No signal handler is installed, so any number of servers may share one process.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from journals import MemoryJournal

from app import wiring
from app.answers.cache import Cache
from app.answers.lifetime import Lifetimes, parse_classes
from app.answers.memory import Memory
from app.commands.serve import connection_bounds
from app.experiments.list import Filters, Position
from app.http.callers import Identify
from app.http.doorstep import Doorstep
from app.http.parts import Parts
from app.http.server import DrainingServer, bind, build
from app.main import create_app
from app.postgres.way import Way
from app.question import Caller
from app.reasoning.elsewhere import Nowhere
from app.reasoning.idempotency import NoUses
from app.reasoning.race import Terms
from app.reasoning.runs import Runs
from app.record.entry import Opening
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.wiring import answers, breakers, ends, identity, load, metrics, models
from app.wiring.readiness import Readiness

FAST = "scripted:fast?first=0.01&gap=0.001"
SLOW = "scripted:slow?first=0.03&gap=0.001"
DEFAULTS: dict[str, Any] = {"fast_model": FAST, "slow_model": SLOW, "models_allowed": "*", "port": 0}


@dataclass
class Server:
    """A running server. tasks are its own; client is closed with it, responses it still streams included."""

    port: int
    settings: Settings
    parts: Parts
    uvicorn: DrainingServer
    client: httpx.AsyncClient
    drain: Callable[[float], Any]
    journal: MemoryJournal | None = None
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def runs(self) -> Runs:
        """The registry of its runs."""
        return self.parts.runs

    @property
    def connections(self) -> int:
        """How many connections it holds."""
        return len(self.uvicorn.server_state.connections)


@dataclass(frozen=True)
class StoredRun:
    """What a record in memory has of a run's stream."""

    created_at: datetime
    deadline_ms: int
    status: str
    reason: str | None
    fingerprint: str
    log: bytes | None


def _stored(opening: Opening, status: str, reason: str | None, log: bytes | None) -> StoredRun:
    deadline_ms = round(opening.question.deadline_s * 1000)
    return StoredRun(opening.created_at, deadline_ms, status, reason, opening.fingerprint, log)


class MemoryRecords:
    """Reads back what a journal in memory was given; it lists without filters or pages."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal

    async def page(self, caller: Caller, filters: Filters, limit: int, before: Position | None) -> list[dict[str, Any]]:  # noqa: ARG002  # the protocol of records
        """Every run, newest first."""
        return [self._record(opening) for opening in reversed(self._of(caller))][:limit]

    async def get(self, caller: Caller, run_id: str) -> dict[str, Any] | None:
        """A record of few fields."""
        found = [opening for opening in self._of(caller) if opening.run_id == run_id]
        return self._record(found[0]) if found else None

    async def log(self, caller: Caller, run_id: str) -> StoredRun | None:
        """The stream as the last closing has it."""
        mine = {opening.run_id for opening in self._of(caller)}
        mine |= {guest.run_id for guest in self._journal.attachments if guest.caller == caller.id}
        for closing in reversed(self._journal.closings):
            if closing.opening.run_id == run_id and run_id in mine:
                return _stored(closing.opening, closing.status, closing.reason, closing.log)
        opened = [opening for opening in self._journal.openings if opening.run_id == run_id and run_id in mine]
        return _stored(opened[0], "running", None, None) if opened else None

    def _of(self, caller: Caller) -> list[Opening]:
        return [opening for opening in self._journal.openings if opening.caller == caller.id]

    def _record(self, opening: Opening) -> dict[str, Any]:
        return {"run_id": opening.run_id, "created_at": opening.created_at.astimezone(UTC).isoformat()}


@contextlib.asynccontextmanager
async def serving(
    dsn: str | None = None, *, guard: bool = True, identify: Identify | None = None, **settings: Any
) -> AsyncIterator[Server]:
    """A server with these settings until the block ends; guard: the loopback rule. Fails if it does not end quiet."""
    async with contextlib.AsyncExitStack() as stack:
        spool = stack.enter_context(tempfile.TemporaryDirectory())
        chosen = Settings(**{**DEFAULTS, "database_url": dsn, "spool_dir": Path(spool), **settings})
        journal, doorstep = None, Doorstep()
        if dsn is None:
            journal = MemoryJournal()
            numbers = metrics.open_metrics(chosen, "test")
            parts = await identity.guarded(
                await _in_memory(chosen, journal, numbers, doorstep, stack),
                chosen,
                Way("postgresql://nobody@127.0.0.1:1/none"),
                stack,
            )
            parts = metrics.joined(parts, chosen, numbers)
            drain: Callable[[float], Any] = parts.runs.drain
        else:
            services = await stack.enter_async_context(wiring.open_services(chosen, doorstep))
            await eventually(lambda: "connecting" not in parts_state(services.parts))
            parts, drain = services.parts, services.drain
        parts = replace(parts, identify=identify or parts.identify)
        guarded = create_app(parts, guard_loopback=guard and chosen.auth == "off")
        uvicorn = build(guarded, drain, chosen.shutdown_grace_s, connection_bounds(chosen), doorstep)
        listener = stack.enter_context(contextlib.closing(bind("127.0.0.1", 0)))
        await _start(uvicorn, listener)
        stack.push_async_callback(_stop, uvicorn)
        port = listener.getsockname()[1]
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=False, trust_env=False, timeout=10)
        server = Server(port, chosen, parts, uvicorn, client, drain, journal, asyncio.all_tasks())
        async with client:
            yield server
        await assert_quiet(server)
        await eventually(lambda: server.connections == 0)


def parts_state(parts: Parts) -> str:
    """What is ready and what is not, as one word to look into."""
    return " ".join(parts.readiness.checks().values())


async def assert_quiet(server: Server, within_s: float = 1.0) -> None:
    """Nothing is left of any run or request: no live run, no stray lane, no task but the server's own."""

    def left() -> dict[str, Any]:
        """What is there that should not be."""
        tasks = asyncio.all_tasks() - server.tasks - {asyncio.current_task()}
        found = {
            "runs": server.runs.live,
            "strays": len(server.runs.strays),
            "requests": len(server.uvicorn.server_state.tasks),
            "tasks": [task.get_name() for task in tasks],
        }
        return {name: value for name, value in found.items() if value}

    with contextlib.suppress(TimeoutError):
        await eventually(lambda: not left(), within_s)
    assert (found := left()) == {}, found


async def eventually(holds: Callable[[], object], within_s: float = 2.0) -> None:
    """Return once it holds; TimeoutError when it still does not after that long."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  # what is waited for is told by nobody
            await asyncio.sleep(0.002)


async def turns(count: int = 100) -> None:
    """Give so many turns of the loop away, in which this same loop reads what it has written, however fast it is."""
    for _ in range(count):
        await asyncio.sleep(0)


async def _in_memory(
    settings: Settings, journal: MemoryJournal, numbers: Metrics, doorstep: Doorstep, stack: contextlib.AsyncExitStack
) -> Parts:
    """The product's parts over a record in memory."""
    catalogue = models.open_catalogue(settings)
    stack.push_async_callback(catalogue.close)
    memory = Memory(settings.cache_memory_entries, settings.cache_memory_bytes, settings.cache_memory_s)
    cache = None
    if settings.cache:
        cache = await stack.enter_async_context(
            Cache(memory, [], Lifetimes(settings.cache_ttl_s, parse_classes(settings.cache_ttl_by_class), 0.0))
        )
    sparing = breakers.open_breakers(settings, catalogue)
    terms = Terms(settings.slow_threshold_ms, judge=sparing.models.judge)
    make = partial(Runs, sparing.models, journal, terms, wiring.bounds(settings))
    runs = ends.told(make, numbers.meters.keep, *sparing.listeners)(answers.keeper(cache))
    stack.push_async_callback(runs.drain, 0.0)
    readiness = Readiness()
    readiness.models = readiness.database = "ok"
    readiness.runs = runs
    records = MemoryRecords(journal)
    protection = load.open_load(settings, stack)
    protection.tell(numbers.sources)
    doorstep.watch(protection.gate, numbers.meters)
    numbers.sources.ended = doorstep.notices
    parts = Parts(
        answers=answers.answers_of(settings, runs, answers.Before(NoUses(), protection.gate), cache, Nowhere()),
        runs=runs,
        streams=protection.streams,
        records=records,
        readiness=readiness,
        defaults=models.defaults(settings),
        ping_s=settings.ping_s,
        max_body_bytes=settings.max_body_bytes,
        version="test",
        request_lines=settings.request_log,
    )
    return sparing.show(parts)


async def _start(uvicorn: DrainingServer, listener: Any) -> None:
    """Listen, without uvicorn's main loop, which catches signals and looks only ten times a second for its end."""
    uvicorn.config.load()
    uvicorn.lifespan = uvicorn.config.lifespan_class(uvicorn.config)
    uvicorn._loop = asyncio.get_running_loop()
    await uvicorn.startup(sockets=[listener])
    await uvicorn.on_tick(0)


async def _stop(uvicorn: DrainingServer) -> None:
    """Close the listener and every connection, and wait for what still runs."""
    for listening in uvicorn.servers:
        listening.close()
    for connection in list(uvicorn.server_state.connections):
        connection.transport.abort()
    tasks = set(uvicorn.server_state.tasks)
    if tasks:
        await asyncio.wait(tasks, timeout=1.0)
    await uvicorn.lifespan.shutdown()
