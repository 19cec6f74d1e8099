"""Where the record goes: the database, the sink before it, and the chores around it."""

import importlib
import logging
import socket
import uuid
from contextlib import AsyncExitStack
from dataclasses import replace

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from app.postgres.chores import DAYS_AHEAD, Chores, Keep
from app.postgres.migrate import migrate
from app.postgres.pool import translated
from app.postgres.runs import RunStore
from app.postgres.upkeep import Upkeep
from app.postgres.way import Way
from app.record.backlog import Limits, Steps
from app.record.direct import DirectJournal
from app.record.intake import Intake
from app.record.journal import SpoolJournal
from app.record.prices import PriceBook
from app.record.redaction import Redactor
from app.record.spool import Spool
from app.record.store import SchemaMismatch, StoreUnavailable
from app.settings import Settings
from app.wiring.database import way_to
from app.wiring.readiness import Readiness

log = logging.getLogger(__name__)

EMBEDDED = "app.postgres.embedded"
SPOOL_SPACING_S = 0.05  # between batches of what is durable; a statement for one entry costs as much as for ten
SPOOL_LINGER_S = 0.2  # of a start that is durable; two words of one run in a batch cost the store as much as one


def instance_name() -> str:
    """A name for this process that no other has or had."""
    return f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"


async def open_database(settings: Settings, stack: AsyncExitStack) -> Way:
    """The way to the database: to the one that was named, or to one of our own that is started here."""
    named = way_to(settings)
    if named is not None:
        return named
    server = importlib.import_module(EMBEDDED).EmbeddedPostgres(settings.tandem_home)
    await stack.enter_async_context(server)
    return Way(server.dsn)


def open_journal(settings: Settings, store: RunStore, prices: PriceBook) -> Intake:
    """The sink that AUDIT_SINK names, texts redacted before anything keeps them."""
    steps = Steps(prepare=redactor(settings), fill=prices.fill, may_fill=prices.may_fill)
    limits = Limits(
        entries=settings.audit_queue_entries,
        bytes=settings.audit_queue_bytes,
        fallback_s=settings.audit_fallback_s,
    )
    if settings.audit_sink == "direct":
        return DirectJournal(store, policy=settings.audit_full, limits=limits, steps=steps)
    limits = replace(limits, spacing_s=SPOOL_SPACING_S, linger_s=SPOOL_LINGER_S)
    spool = Spool(settings.spool_path, max_bytes=settings.spool_max_bytes, min_free_bytes=settings.spool_min_free_bytes)
    return SpoolJournal(spool, store, policy=settings.audit_full, limits=limits, steps=steps)


def redactor(settings: Settings) -> Redactor:
    """What takes out of every text that is kept what may not be kept."""
    return Redactor(settings.audit_content, settings.audit_max_text_chars)


def keep(settings: Settings) -> Keep:
    """How long things are kept."""
    return Keep(settings.payload_days, settings.log_days, settings.run_days, settings.instance_silent_s)


async def migrate_own(settings: Settings, way: Way, upkeep: Upkeep) -> None:
    """Our own database is migrated before we listen.

    Nobody else writes there: without a spool, which knows better, what is open now was left by a server that died.
    """
    await _migrate(way, upkeep)
    if settings.audit_sink == "direct":
        await upkeep.sweep(0.0)


async def keep_house(settings: Settings, way: Way, upkeep: Upkeep, chores: Chores, readiness: Readiness) -> None:
    """Migrate a foreign database behind the listening server, or wait until a job has; then do the chores."""

    def note(state: RetryCallState) -> None:
        if state.outcome is not None and isinstance(state.outcome.exception(), SchemaMismatch):
            readiness.database = "waits for `tandem migrate`"
            log.warning("the database has not the schema that this server needs: run `tandem migrate`")

    if readiness.database != "ok":
        retrying = AsyncRetrying(
            wait=wait_random_exponential(0.2, 10.0),
            retry=retry_if_exception_type(StoreUnavailable),
            before_sleep=note,
        )
        try:
            await retrying(_migrate, way if settings.migrate_at_start else None, upkeep)
        except Exception as error:  # the server goes on without its database; /health says why
            log.exception("the database cannot be migrated")
            readiness.database = f"not migrated: {type(error).__name__}"
            return
        readiness.database = "ok"
    await chores.run()


async def _migrate(way: Way | None, upkeep: Upkeep) -> None:
    """The schema, and partitions for today and the days to come before anybody writes there."""
    if way is not None:
        with translated():
            await migrate(way)
    await upkeep.ensure_partitions(DAYS_AHEAD)
