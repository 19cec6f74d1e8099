"""The only file that chooses concrete parts and joins them. Read `open_services` aloud: it is the whole server."""

import asyncio
import contextlib
import importlib
import logging
import math
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from app import __version__
from app.errors import StartupError, UnknownModel
from app.http.body import Defaults
from app.http.parts import Parts
from app.llm.catalogue import Catalogue
from app.llm.local_child import LocalServers
from app.llm.model import LanguageModel, Warming
from app.llm.options import ProviderOptions
from app.postgres.migrate import migrate
from app.postgres.pool import Pool, translated
from app.postgres.runs import RunStore
from app.question import LaneAsk, LaneName
from app.reasoning.race import Limits
from app.reasoning.runs import Bounds, Runs
from app.record.store import StoreUnavailable
from app.record.writer import Limits as WriterLimits
from app.record.writer import RecordWriter
from app.settings import Settings

log = logging.getLogger(__name__)

# Loaded when first named: their libraries are heavy, or not installed everywhere.
PROVIDERS = {"openai": "app.llm.openai", "local": "app.llm.local", "scripted": "app.llm.scripted"}
WRAPPERS = {"deliberate": "app.llm.deliberate"}
EMBEDDED = "app.postgres.embedded"

DRAIN_RECORD_S = 1.0
END_S = 0.5  # for a background task to end


@dataclass(frozen=True, slots=True)
class Services:
    """The running server: the parts HTTP speaks for, and how to end it."""

    parts: Parts
    writer: RecordWriter
    recorded: asyncio.Event = field(default_factory=asyncio.Event)  # the last wait for the record is over

    async def drain(self, grace_s: float) -> None:
        """No new runs, a grace for live ones, `done` for all, and their records stored while the database is there."""
        await self.parts.runs.drain(grace_s)
        if not self.recorded.is_set() and not await self.writer.drain(DRAIN_RECORD_S):
            log.error("not every record was stored before the end: the database does not answer")
        self.recorded.set()


class Readiness:
    """What stands between this process and a useful answer; its tasks write it, the health routes read it."""

    def __init__(self) -> None:
        self.models = "loading"
        self.database = "connecting"
        self.runs: Runs | None = None
        self.writer: RecordWriter | None = None

    def checks(self) -> dict[str, str]:
        """Part by part. A database that is down is told but does not make the server unready: streams go on."""
        draining = self.runs is not None and self.runs.draining
        away = self.writer is not None and self.writer.away
        return {
            "models": self.models,
            "database": "away" if away else self.database,
            "process": "draining" if draining else "ok",
        }

    def ledger(self) -> dict[str, int]:
        """Where every record that was accepted is now."""
        return {} if self.writer is None else asdict(self.writer.counts)

    @property
    def ready(self) -> bool:
        """True when new runs should be sent here."""
        return self.models == "ok" and self.runs is not None and not self.runs.draining


@contextlib.asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Open every part, in the order in which they need each other; close them in the opposite one."""
    async with contextlib.AsyncExitStack() as stack:
        readiness = Readiness()
        catalogue = _catalogue(settings)
        models = [catalogue.get("fast", settings.fast_model), catalogue.get("slow", settings.slow_model)]
        stack.push_async_callback(catalogue.close)
        dsn = await _database(settings, stack)
        store = await _store(dsn, settings.database_pool_size, stack)
        await _migrated(settings, dsn, store, readiness, stack)
        limits = WriterLimits(settings.record_queue_entries, settings.record_queue_bytes)
        writer = await stack.enter_async_context(RecordWriter(await _store(dsn, 1, stack), limits))
        runs = Runs(catalogue, writer, Limits(settings.slow_threshold_ms), _bounds(settings))
        readiness.runs, readiness.writer = runs, writer
        _background(stack, _warm(models, readiness), "warm models")
        parts = Parts(
            runs=runs,
            records=store,
            readiness=readiness,
            defaults=_defaults(settings),
            ping_s=settings.ping_s,
            max_body_bytes=settings.max_body_bytes,
            version=__version__,
        )
        services = Services(parts, writer)
        stack.push_async_callback(services.drain, 0.0)
        yield services


def _catalogue(settings: Settings) -> Catalogue:
    """Models by name. Raises StartupError when a configured one is not known."""
    configured = frozenset({settings.fast_model, settings.slow_model})
    servers = LocalServers()
    options: dict[LaneName, ProviderOptions] = {
        "fast": _options(settings, "fast", servers),
        "slow": _options(settings, "slow", servers),
    }
    catalogue = Catalogue(
        {name: _loader(module, "open_model") for name, module in PROVIDERS.items()},
        {name: _loader(module, "wrap") for name, module in WRAPPERS.items()},
        options,
        configured,
    )
    for lane, name in (("fast", settings.fast_model), ("slow", settings.slow_model)):
        try:
            catalogue.get(lane, name)  # type: ignore[arg-type]
        except UnknownModel as error:
            raise StartupError(f"{lane.upper()}_MODEL={name}: {error.message}") from error
    return catalogue


def _loader(module: str, attribute: str) -> Callable[[], Any]:
    return lambda: getattr(importlib.import_module(module), attribute)


def _options(settings: Settings, lane: LaneName, servers: LocalServers) -> ProviderOptions:
    """A lane's access to its provider: its own base URL and key, else those of both lanes.

    A lane with a base URL of its own never gets the shared key, which was meant for another host.
    """
    base_url: str | None = getattr(settings, f"{lane}_openai_base_url")
    key: SecretStr | None = getattr(settings, f"{lane}_openai_api_key")
    if key is None and base_url is None:
        key = settings.openai_api_key
    return ProviderOptions(
        base_url=base_url or settings.openai_base_url,
        api_key=None if key is None else key.get_secret_value(),
        connect_timeout_s=settings.connect_timeout_s,
        max_connections=settings.max_connections,
        home=settings.tandem_home,
        local_servers=servers,
    )


async def _database(settings: Settings, stack: contextlib.AsyncExitStack) -> str:
    """Where the database is: the one that was named, or one of our own that is started here."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    server = importlib.import_module(EMBEDDED).EmbeddedPostgres(settings.tandem_home)
    await stack.enter_async_context(server)
    dsn: str = server.dsn
    return dsn


async def _store(dsn: str, connections: int, stack: contextlib.AsyncExitStack) -> RunStore:
    """The record over a pool of its own: slow readers must not take the writer's connection."""
    pool = await stack.enter_async_context(Pool(dsn, connections))
    return RunStore(pool, socket.gethostname())


async def _migrated(
    settings: Settings, dsn: str, store: RunStore, readiness: Readiness, stack: contextlib.AsyncExitStack
) -> None:
    """Our own database is migrated before we listen; a foreign one behind it, for as long as that takes."""
    if settings.database_url is None:
        await migrate(dsn)
        interrupted = await store.close_interrupted(datetime.now(UTC))
        if interrupted:
            log.warning("%d runs were interrupted when the last server died", interrupted)
        readiness.database = "ok"
        return
    _background(stack, _migrate_when_there(dsn, readiness), "migrate")


async def _migrate_when_there(dsn: str, readiness: Readiness) -> None:
    retrying = AsyncRetrying(wait=wait_random_exponential(0.2, 10.0), retry=retry_if_exception_type(StoreUnavailable))
    try:
        await retrying(_migrate_once, dsn)
    except Exception as error:  # the server goes on without its database; /health says why
        log.exception("the database cannot be migrated")
        readiness.database = f"not migrated: {type(error).__name__}"
    else:
        readiness.database = "ok"


async def _migrate_once(dsn: str) -> None:
    with translated():
        await migrate(dsn)


async def _warm(models: list[LanguageModel], readiness: Readiness) -> None:
    """Load what takes time, again and again until it is there; meanwhile /health/ready tells what is wrong."""

    def note(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        log.warning("a model could not be loaded: %s", error)
        readiness.models = f"not loaded: {type(error).__name__}"

    for model in models:
        if isinstance(model, Warming):
            await AsyncRetrying(wait=wait_random_exponential(0.5, 10.0), before_sleep=note)(model.warm)
    readiness.models = "ok"


def _background(stack: contextlib.AsyncExitStack, work: Any, name: str) -> None:  # noqa: ANN401  # any coroutine
    """A task that ends with the services."""
    task = asyncio.create_task(work, name=name)

    async def end() -> None:
        task.cancel()
        await asyncio.wait([task], timeout=END_S)

    stack.push_async_callback(end)


def _defaults(settings: Settings) -> Defaults:
    """What a question leaves open."""
    fast = LaneAsk(
        model=settings.fast_model,
        timeout_s=settings.fast_timeout_s,
        first_token_timeout_s=settings.fast_first_token_timeout_s or math.inf,
        idle_timeout_s=settings.fast_idle_timeout_s or math.inf,
        max_output_tokens=settings.fast_max_output_tokens,
    )
    slow = LaneAsk(
        model=settings.slow_model,
        timeout_s=settings.slow_timeout_s,
        first_token_timeout_s=settings.slow_first_token_timeout_s,
        idle_timeout_s=settings.slow_idle_timeout_s,
        max_output_tokens=settings.slow_max_output_tokens,
    )
    return Defaults(fast, slow, settings.run_deadline_s)


def _bounds(settings: Settings) -> Bounds:
    """How many runs are held."""
    return Bounds(
        live=settings.max_live_runs,
        kept=settings.kept_runs,
        kept_bytes=settings.kept_runs_bytes,
        kept_s=settings.kept_runs_s,
        disconnect_grace_s=settings.disconnect_grace_s,
    )
