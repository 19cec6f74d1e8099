"""What every command on the record needs: the database."""

import contextlib
import importlib
from collections.abc import AsyncIterator
from typing import NamedTuple

from app.postgres.migrate import migrate
from app.postgres.pool import Pool, translated
from app.postgres.way import Way
from app.settings import Settings
from app.wiring.database import way_to
from app.wiring.record import EMBEDDED


class Database(NamedTuple):
    """Where the records are, and a pool on it."""

    way: Way
    pool: Pool


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """The database: the one that is named, the running embedded one, or that one started for this command."""
    async with contextlib.AsyncExitStack() as stack:
        way = way_to(settings)
        if way is None:
            embedded = importlib.import_module(EMBEDDED)
            dsn = embedded.running_dsn(settings.tandem_home) or ""
            if not dsn:
                dsn = (await stack.enter_async_context(embedded.EmbeddedPostgres(settings.tandem_home))).dsn
            way = Way(dsn)
        if settings.database_url is None or settings.migrate_at_start:
            with translated():
                await migrate(way)
        yield Database(way, await stack.enter_async_context(Pool(way, 2)))
