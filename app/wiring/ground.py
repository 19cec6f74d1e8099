"""What everything else stands on: the models and their prices, the database, the record."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from app.llm.catalogue import Catalogue
from app.postgres.chores import Chores
from app.postgres.pool import Pool
from app.postgres.runs import RunStore
from app.postgres.upkeep import Upkeep
from app.postgres.way import Way
from app.record.intake import Intake
from app.record.prices import PriceBook
from app.settings import Settings
from app.wiring import models, record
from app.wiring.readiness import Readiness


@dataclass(frozen=True, slots=True)
class Ground:
    """Parts that know nothing of questions. instance: the name of this server; readers: the pool of those who read."""

    instance: str
    catalogue: Catalogue
    prices: PriceBook
    way: Way
    readers: Pool
    upkeep: Upkeep
    chores: Chores
    journal: Intake
    readiness: Readiness


async def open_ground(settings: Settings, stack: AsyncExitStack) -> Ground:
    """All of it, in the order in which it is needed. An embedded database is started and migrated."""
    readiness = Readiness(settings.health_stall_s)
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
    readiness.journal, readiness.chores = journal, chores
    return Ground(instance, catalogue, prices, way, readers, upkeep, chores, journal, readiness)
