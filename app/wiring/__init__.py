"""The only folder that chooses concrete parts and joins them. Read `open_services` aloud: it is the whole server."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from app import __version__
from app.http.parts import Parts, Past
from app.postgres.chores import Chores
from app.postgres.experiments import Experiments
from app.postgres.logs import RequestLog
from app.postgres.pool import Pool
from app.postgres.rollups import Rollups
from app.postgres.runs import RunStore
from app.postgres.upkeep import Upkeep
from app.reasoning.race import Terms
from app.reasoning.runs import Bounds, Runs
from app.record.intake import Intake
from app.settings import Settings
from app.wiring import answers, models, record
from app.wiring.readiness import Readiness

log = logging.getLogger(__name__)

DRAIN_RECORD_S = 1.0
END_S = 0.5  # for a background task to end


@dataclass(frozen=True, slots=True)
class Services:
    """The running server: the parts HTTP speaks for, and how to end it."""

    parts: Parts
    journal: Intake
    recorded: asyncio.Event = field(default_factory=asyncio.Event)  # the last wait for the record is over

    async def drain(self, grace_s: float) -> None:
        """No new runs, a grace for live ones, `done` for all, and their records stored while the database is there."""
        await asyncio.gather(self.parts.runs.drain(grace_s), self.parts.answers.elsewhere.drain(grace_s))
        if not self.recorded.is_set() and not await self.journal.drain(DRAIN_RECORD_S):
            log.warning("not every record was stored before the end: the database does not answer")
        self.recorded.set()


@contextlib.asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Open every part, in the order in which they need each other; close them in the opposite one."""
    async with contextlib.AsyncExitStack() as stack:
        readiness = Readiness()
        instance = record.instance_name()
        catalogue = models.open_catalogue(settings)
        stack.push_async_callback(catalogue.close)
        prices = models.open_prices(settings)
        way = await record.open_database(settings, stack)
        readers, writer = [await stack.enter_async_context(Pool(way, n)) for n in (settings.database_pool_size, 1)]
        upkeep = Upkeep(readers, settings.slow_threshold_ms)
        if settings.database_url is None:
            await record.migrate_own(settings, way, upkeep)
            readiness.database = "ok"
        journal = await stack.enter_async_context(record.open_journal(settings, RunStore(writer), prices))
        chores = Chores(upkeep, instance, record.keep(settings))
        terms = Terms(settings.slow_threshold_ms, models.tariffs(settings, prices), instance)
        make_runs = partial(Runs, catalogue, journal, terms, bounds(settings))
        runs, found = await answers.open_answers(settings, way, make_runs, RunStore(readers), stack)
        readiness.runs, readiness.journal, readiness.chores = runs, journal, chores
        _background(stack, models.warm(settings, catalogue, prices, readiness), "warm models")
        _background(stack, record.keep_house(settings, way, upkeep, chores, readiness), "chores")
        parts = Parts(
            answers=found,
            runs=runs,
            records=RunStore(readers),
            readiness=readiness,
            defaults=models.defaults(settings),
            ping_s=settings.ping_s,
            max_body_bytes=settings.max_body_bytes,
            version=__version__,
            pending=journal,
            requests=RequestLog(readers, settings.slow_threshold_ms),
            request_lines=settings.request_log,
            past=Past(Experiments(readers, way), Rollups(readers, settings.slow_threshold_ms)),
            mask=record.redactor(settings).remark,
        )
        services = Services(parts, journal)
        stack.push_async_callback(services.drain, 0.0)
        yield services


def _background(stack: contextlib.AsyncExitStack, work: Any, name: str) -> None:  # noqa: ANN401  # any coroutine
    """A task that ends with the services."""
    task = asyncio.create_task(work, name=name)

    async def end() -> None:
        task.cancel()
        await asyncio.wait([task], timeout=END_S)

    stack.push_async_callback(end)


def bounds(settings: Settings) -> Bounds:
    """How many runs are held."""
    return Bounds(
        live=settings.max_live_runs,
        kept=settings.kept_runs,
        kept_bytes=settings.kept_runs_bytes,
        kept_s=settings.kept_runs_s,
        disconnect_grace_s=settings.disconnect_grace_s,
    )
