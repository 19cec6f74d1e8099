"""The only folder that chooses concrete parts and joins them. Read `open_services` aloud: it is the whole server."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

from app import __version__
from app.admission.load import Load
from app.http.doorstep import Doorstep
from app.http.parts import Answers, Parts, Past
from app.postgres.everybody import EverybodysRollups
from app.postgres.experiments import Experiments
from app.postgres.logs import RequestLog
from app.postgres.rollups import Rollups
from app.postgres.runs import RunStore
from app.reasoning.race import Terms
from app.reasoning.runs import Bounds, Runs
from app.record.intake import Intake
from app.settings import Settings
from app.wiring import answers, identity, metrics, models, record
from app.wiring.around import Around, open_around
from app.wiring.background import background
from app.wiring.ends import told
from app.wiring.ground import Ground, open_ground

log = logging.getLogger(__name__)

DRAIN_RECORD_S = 1.0


@dataclass(frozen=True, slots=True)
class Services:
    """The running server: the parts HTTP speaks for, and how to end it."""

    parts: Parts
    journal: Intake
    gate: Load
    recorded: asyncio.Event = field(default_factory=asyncio.Event)  # the last wait for the record is over

    async def drain(self, grace_s: float) -> None:
        """No new runs, a grace for live ones, `done` for all, and their records stored while the database is there."""
        self.gate.close()
        await asyncio.gather(self.parts.runs.drain(grace_s), self.parts.answers.elsewhere.drain(grace_s))
        if not self.recorded.is_set() and not await self.journal.drain(DRAIN_RECORD_S):
            log.warning("not every record was stored before the end: the database does not answer")
        self.recorded.set()


@contextlib.asynccontextmanager
async def open_services(settings: Settings, doorstep: Doorstep | None = None) -> AsyncIterator[Services]:
    """Open every part, in the order in which they need each other; close them in the opposite one.

    doorstep: of the server that these are for.
    """
    async with contextlib.AsyncExitStack() as stack:
        ground = await open_ground(settings, stack)
        around = await open_around(settings, ground, stack)
        runs, found = await _open_runs(settings, ground, around, stack)
        ground.readiness.runs, around.condition.answers = runs, found
        background(stack, models.warm(settings, ground.catalogue, ground.prices, ground.readiness), "warm models")
        upkeep = record.keep_house(settings, ground.way, ground.upkeep, ground.chores, ground.readiness)
        background(stack, upkeep, "chores")
        parts = around.sparing.show(_parts(settings, ground, around, found, runs), ground.journal, around.counters)
        parts = await identity.guarded(parts, settings, ground.way, stack)
        parts = metrics.joined(parts, settings, around.numbers, ground.journal)
        services = Services(parts, ground.journal, around.guard.gate)
        around.look_before(doorstep or Doorstep(), parts.cors)
        background(stack, around.numbers.look_again(), "sizes of levels")
        stack.push_async_callback(services.drain, 0.0)
        yield services


async def _open_runs(
    settings: Settings, ground: Ground, around: Around, stack: contextlib.AsyncExitStack
) -> tuple[Runs, Answers]:
    """Where runs live, and what may answer instead of a new one."""
    tariffs = models.tariffs(settings, ground.prices)
    guards, spans = around.sparing.models, around.spans
    terms = Terms(settings.slow_threshold_ms, tariffs, ground.instance, guards.judge, spans.along)
    make_runs = told(partial(Runs, guards, ground.journal, terms, bounds(settings)), *around.listeners)
    before = answers.Before(RunStore(ground.readers), around.gate)
    return await answers.open_answers(settings, ground.way, make_runs, before, stack)


def _parts(settings: Settings, ground: Ground, around: Around, found: Answers, runs: Runs) -> Parts:
    """What HTTP speaks for, before it is known who may come."""
    readers, rolled_up = ground.readers, Rollups(ground.readers, settings.slow_threshold_ms)
    return Parts(
        answers=found,
        runs=runs,
        records=RunStore(readers),
        readiness=ground.readiness,
        pending=ground.journal,
        doorman=around.limited.doorman,
        budget=around.limited.budget,
        streams=around.guard.streams,
        requests=RequestLog(readers, settings.slow_threshold_ms),
        past=Past(Experiments(readers, ground.way), rolled_up, EverybodysRollups(readers)),
        defaults=models.defaults(settings),
        ping_s=settings.ping_s,
        max_body_bytes=settings.max_body_bytes,
        version=__version__,
        request_lines=settings.request_log,
        mask=record.redactor(settings).remark,
    )


def bounds(settings: Settings) -> Bounds:
    """How many runs are held."""
    return Bounds(
        live=settings.max_live_runs,
        kept=settings.kept_runs,
        kept_bytes=settings.kept_runs_bytes,
        kept_s=settings.kept_runs_s,
        disconnect_grace_s=settings.disconnect_grace_s,
    )
