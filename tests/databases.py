"""Real databases for tests: one embedded server a pytest process, one fresh migrated database a test."""

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
import pytest_asyncio

from app.postgres.embedded import DATABASE, EmbeddedPostgres
from app.postgres.migrate import migrate
from app.postgres.pool import Pool
from app.postgres.runs import RunStore
from bench.proxy import Proxy

_numbers = itertools.count()
_spent: list[str] = []  # databases to drop when the next is made, on the same connection
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
    """The server of this pytest process, with a migrated database named `template` to copy from."""
    with short_folder() as folder:
        async with EmbeddedPostgres(folder / "home", FAST) as server:
            await execute(server.dsn, "CREATE DATABASE template")
            await migrate(named(server.dsn, "template"))
            yield server


@pytest_asyncio.fixture
async def empty_dsn(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The address of a fresh database with nothing in it."""
    async with _database(postgres, "template0") as dsn:
        yield dsn


@pytest_asyncio.fixture
async def dsn(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The address of a fresh, migrated database."""
    async with _database(postgres, "template") as dsn:
        yield dsn


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def files_dsn(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The address of a migrated database that the tests of a file share."""
    async with _database(postgres, "template") as dsn:
        yield dsn


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


@contextlib.asynccontextmanager
async def _database(server: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """A database of its own for one test."""
    name = f"test_{next(_numbers)}"
    gone = [f"DROP DATABASE {spent} WITH (FORCE)" for spent in _spent]
    _spent.clear()
    # By files: the usual way, through the log, takes six times the processor time.
    await execute(server.dsn, *gone, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield named(server.dsn, name)
    _spent.append(name)


async def execute(dsn: str, *statements: str) -> None:
    """Statements on a connection of their own."""
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
