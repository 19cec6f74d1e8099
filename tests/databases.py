"""Real databases for tests: one embedded server a pytest process, one fresh migrated database a test."""

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
import pytest_asyncio

from app.postgres.chores import DAYS_AHEAD
from app.postgres.embedded import DATABASE, EmbeddedPostgres
from app.postgres.migrate import migrate
from app.postgres.pool import Pool
from app.postgres.runs import RunStore
from app.postgres.upkeep import Upkeep
from bench.proxy import Proxy

# What a test writes need not survive a power cut.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "max_wal_size": "96MB",
}
# Memory that looks like a disk: three hundred files are made there in a fifth of the processor time.
MEMORY = Path("/dev/shm")
ROOM = 2 << 30


def _quick_folder() -> Path:
    """Where a test's folders go: memory where the system has it, with room and for programs too, else /tmp."""
    if not MEMORY.is_dir() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC or shutil.disk_usage(MEMORY).free < ROOM:
        return Path("/tmp")
    return MEMORY


class Maker:
    """Makes databases and drops them, beside the tests: on one connection, in one thread with a loop of its own.

    Whoever takes a database has the next of the same template made, which is there when the next test asks.
    """

    def __init__(self, dsn: str) -> None:
        self._numbers = itertools.count()
        self._thread = ThreadPoolExecutor(1, "databases")
        self._runner = asyncio.Runner()
        self._connection: asyncpg.Connection = self._thread.submit(self._runner.run, asyncpg.connect(dsn)).result()
        self._ready: dict[str, Future[str]] = {}
        self._dropped: Future[Any] = self._do("SELECT 1")

    async def take(self, template: str) -> str:
        """The name of a fresh copy of this database."""
        making = self._ready.pop(template, None) or self._thread.submit(self._make, template)
        name = await asyncio.wrap_future(making)
        self._ready[template] = self._thread.submit(self._make, template)
        return name

    def drop(self, name: str) -> None:
        """Nobody needs it any more; that the one before could not be dropped is told now."""
        self._dropped.result()
        self._dropped = self._do(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        """Wait for what is under way, and hang up."""
        self._thread.submit(lambda: self._runner.run(self._connection.close())).result()
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()

    def _make(self, template: str) -> str:
        name = f"test_{next(self._numbers)}"
        # By files: the usual way, through the log, takes six times the processor time.
        statement = f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"
        self._runner.run(self._connection.execute(statement))
        return name

    def _do(self, statement: str) -> Future[Any]:
        return self._thread.submit(lambda: self._runner.run(self._connection.execute(statement)))


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder of our own with a short path that the system user of PostgreSQL can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="t-", dir=_quick_folder()))
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A short folder for one test that needs a server of its own."""
    with short_folder() as folder:
        yield folder


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres() -> AsyncIterator[EmbeddedPostgres]:
    """The server of this pytest process, with two migrated databases to copy from.

    `bare` has no days; `template` has those that a server makes at its start in 25 ms, and to copy them takes none.
    """
    with short_folder() as folder:
        async with EmbeddedPostgres(folder / "home", FAST) as server:
            await execute(server.dsn, "CREATE DATABASE bare")
            await migrate(named(server.dsn, "bare"))
            await execute(server.dsn, "CREATE DATABASE template TEMPLATE bare")
            async with Pool(named(server.dsn, "template")) as pool:
                await Upkeep(pool).ensure_partitions(DAYS_AHEAD)
            yield server


@pytest.fixture(scope="session")
def maker(postgres: EmbeddedPostgres) -> Iterator[Maker]:
    """Who makes the databases of this pytest process."""
    with contextlib.closing(Maker(postgres.dsn)) as maker:
        yield maker


@pytest_asyncio.fixture
async def empty_dsn(postgres: EmbeddedPostgres, maker: Maker) -> AsyncIterator[str]:
    """The address of a fresh database with nothing in it."""
    name = await maker.take("template0")
    yield named(postgres.dsn, name)
    maker.drop(name)


@pytest_asyncio.fixture
async def dsn(postgres: EmbeddedPostgres, maker: Maker) -> AsyncIterator[str]:
    """The address of a fresh, migrated database."""
    name = await maker.take("template")
    yield named(postgres.dsn, name)
    maker.drop(name)


@pytest_asyncio.fixture
async def bare_dsn(postgres: EmbeddedPostgres, maker: Maker) -> AsyncIterator[str]:
    """The address of a fresh, migrated database where no day has a partition yet."""
    name = await maker.take("bare")
    yield named(postgres.dsn, name)
    maker.drop(name)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def files_dsn(postgres: EmbeddedPostgres, maker: Maker) -> AsyncIterator[str]:
    """The address of a migrated database that the tests of a file share."""
    name = await maker.take("template")
    yield named(postgres.dsn, name)
    maker.drop(name)


@pytest_asyncio.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    """A pool on a fresh, migrated database."""
    async with Pool(dsn) as pool:
        yield pool


@pytest_asyncio.fixture
async def proxy(dsn: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A network to a fresh, migrated database that can be cut, and the address through it."""
    parts = urlsplit(dsn)
    async with Proxy(parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432") as network:
        yield network, f"postgresql://tandem@127.0.0.1:{network.port}{parts.path}?sslmode=disable"


@pytest.fixture
def run_store(pool: Pool) -> RunStore:
    """The real store on a fresh, migrated database."""
    return RunStore(pool)


def named(dsn: str, database: str) -> str:
    """The same server, another database."""
    return dsn.replace(f"/{DATABASE}?", f"/{database}?")


async def execute(dsn: str, *statements: str) -> None:
    """Statements on a connection of their own."""
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
