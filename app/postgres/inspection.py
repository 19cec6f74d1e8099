"""A look at a database before anything is asked of it: nothing is written, nothing is migrated."""

import time
from dataclasses import dataclass
from typing import Final

import asyncpg

from app.postgres.migrate import read, shipped
from app.postgres.pool import Pool
from app.postgres.queries import QUERIES

ROUND_TRIPS: Final = 5  # the others tell how busy this machine is, and what a first one has to set up


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found. ms: of the quickest round trip; ahead_s: of our clock; missing, changed, unknown: migrations."""

    version: int
    encoding: str
    ms: float
    ahead_s: float
    may_create: bool
    read_only: bool
    unwritable: tuple[str, ...]
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    unknown: int


async def inspect(pool: Pool) -> Inspection:
    """Look. Raises what the pool raises."""
    async with pool.connection() as connection:
        quickest_s = min([await _round_trip(connection) for _ in range(ROUND_TRIPS)])
        began, here = time.perf_counter(), time.time()
        server = await connection.fetchrow(QUERIES["look_at_server"])
        took_s = time.perf_counter() - began
        rows = await connection.fetch(QUERIES["list_migrations"]) if server["migrated"] else []
        unwritable = await connection.fetch(QUERIES["look_at_rights"]) if server["migrated"] else []
    applied = {row["version"]: row["checksum"] for row in rows}
    ours = read(shipped())
    return Inspection(
        version=server["version"] // 10_000,
        encoding=server["encoding"],
        ms=round(quickest_s * 1000, 2),
        ahead_s=here + took_s / 2 - server["now"],
        may_create=server["may_create"],
        read_only=server["read_only"],
        unwritable=tuple(row["name"] for row in unwritable),
        missing=tuple(one.name for one in ours if one.version not in applied),
        changed=tuple(one.name for one in ours if applied.get(one.version, one.checksum) != one.checksum),
        unknown=len(applied.keys() - {one.version for one in ours}),
    )


async def _round_trip(connection: asyncpg.Connection) -> float:
    """The seconds that one took."""
    began = time.perf_counter()
    await connection.execute("SELECT 1")
    return time.perf_counter() - began
