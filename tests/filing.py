"""Entries with their digests, as a store takes them, and a look at what a database has."""

import hashlib
from typing import Any

import asyncpg

from app.postgres.runs import RunStore
from app.record.codec import digest, encode
from app.record.entry import Entry
from app.record.store import Filed


def filed(*entries: Entry) -> list[Filed]:
    """The entries with the digests of their encoded forms."""
    return [Filed(entry, digest(encode(entry))) for entry in entries]


def poisoned(*entries: Entry) -> list[Filed]:
    """The same for entries that have no encoded form."""
    return [Filed(entry, hashlib.sha256(repr(entry).encode("utf-8", "replace")).digest()) for entry in entries]


async def rows(dsn: str, sql: str, *arguments: object) -> list[asyncpg.Record]:
    """What one query says, on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        found: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
        return found
    finally:
        await connection.close()


async def value(dsn: str, sql: str, *arguments: object) -> Any:
    """The first value of one query."""
    return (await rows(dsn, sql, *arguments))[0][0]


async def do(dsn: str, sql: str) -> None:
    """Any statements, on a connection of their own."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


class VisibleRunStore(RunStore):
    """The real store, and a look at its table."""

    async def versions(self) -> dict[str, int]:
        """The version stored of every run."""
        async with self._pool.connection() as connection:
            return {str(row[0]): row[1] for row in await connection.fetch("SELECT run_id, version FROM runs")}
