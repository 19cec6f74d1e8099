"""Bring a database to the schema this server needs: numbered files, each applied once, in order, in a transaction."""

import hashlib
import importlib.resources
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable

import asyncpg

from app.errors import StartupError
from app.postgres.queries import QUERIES
from app.postgres.way import Way, way

logger = logging.getLogger(__name__)

LOCK_KEY = 0x7461_6E64_656D  # "tandem"
CONNECT_S = 5.0
TIMEOUT_S = 60.0  # another server's migration included
_NAME = re.compile(r"(\d{4})_\w+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    sql: str
    checksum: str


def shipped() -> Traversable:
    """The folder with the migrations of this server."""
    return importlib.resources.files(__package__) / "migrations"


def read(folder: Traversable) -> list[Migration]:
    """The migrations in a folder, in order; numbers start at 1, without a gap or a double."""
    found = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        match = _NAME.fullmatch(file.name)
        if match is not None:
            content = file.read_bytes()
            checksum = hashlib.sha256(content).hexdigest()
            found.append(Migration(int(match[1]), file.name, content.decode(), checksum))
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise StartupError(f"the migrations are not numbered from 0001 without a gap: {[m.name for m in found]}")
    return found


async def migrate(to: Way | str, folder: Traversable | None = None) -> list[str]:
    """Apply what is missing and return its names; servers that do this at the same time wait for each other."""
    migrations = read(folder or shipped())
    connection = await way(to).connect(timeout=CONNECT_S, command_timeout=TIMEOUT_S)
    try:
        return await _apply(connection, migrations)
    finally:
        await connection.close(timeout=2.0)


async def _apply(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> list[str]:
    """Apply what is missing, each at a savepoint: of those before one that fails nothing is lost.

    The lock ends with the transaction around all, so that it never stays with a server that a pooler lends to others.
    """
    names: list[str] = []
    failure: asyncpg.PostgresError | None = None
    async with connection.transaction():
        await connection.execute(QUERIES["lock_migrations"], LOCK_KEY)
        for migration in await _missing(connection, migrations):
            try:
                async with connection.transaction():
                    await connection.execute(migration.sql)
                    await connection.execute(
                        QUERIES["add_migration"], migration.version, migration.name, migration.checksum
                    )
            except asyncpg.PostgresError as error:
                failure = error
                break
            names.append(migration.name)
    for name in names:
        logger.info("applied migration %s", name)
    if failure is not None:
        raise failure
    return names


async def _missing(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> list[Migration]:
    """What is to be applied, under the lock. Versions beyond ours are left alone: a deploy may be rolled back."""
    await connection.execute(QUERIES["create_migrations_table"])
    applied = {row["version"]: row["checksum"] for row in await connection.fetch(QUERIES["list_migrations"])}
    for migration in migrations:
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise StartupError(
                f"migration {migration.name} was changed after it was applied to this database: restore the file and "
                "put the change into a new migration"
            )
    return [migration for migration in migrations if migration.version not in applied]
