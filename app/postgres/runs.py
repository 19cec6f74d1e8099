"""The record of runs in PostgreSQL: the store of the writer, and what is read back, always for one caller."""

import asyncio
import uuid
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from app.errors import RecordUnavailable
from app.events import clean
from app.experiments.list import Filters, Position
from app.postgres.listing import page_of
from app.postgres.pool import Pool
from app.postgres.queries import QUERIES
from app.postgres.records import payload, record
from app.postgres.rows import Rows, canonical, compressed, newest, rows
from app.question import Caller
from app.record.entry import INTERRUPTED
from app.record.store import DeadLetter, EntryRejected, Fate, Filed, StoreUnavailable

COMPRESS_IN_PLACE_BYTES = 32 * 1024  # about 0.1 ms; handing less to a thread costs more than it saves


class StoredLog(NamedTuple):
    """What the record has of a run's stream; log is None while the run is open and for one that was interrupted."""

    created_at: datetime
    deadline_ms: int
    status: str
    reason: str | None
    fingerprint: str
    log: bytes | None


class _Found(NamedTuple):
    """What the table has of a run after a write."""

    version: int
    digest: bytes | None
    caller: str


class RunStore:
    """Writes and reads runs. The pool stays its owner's."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def write(self, batch: Sequence[Filed]) -> list[Fate]:
        """Store a batch in one statement, hence all or nothing; say of each entry what became of it.

        Raises StoreUnavailable, SchemaMismatch or EntryRejected. A reply that is lost after the commit does no harm:
        the same batch written again changes nothing.
        """
        kept = newest(batch)
        runs, lanes, payloads, logs = _rows(kept.filed)
        in_place = sum(map(len, filter(None, logs))) <= COMPRESS_IN_PLACE_BYTES
        packed = compressed(logs) if in_place else await asyncio.to_thread(compressed, logs)
        async with self._pool.connection() as connection:
            written = {row[0] for row in await connection.fetch(QUERIES["write_runs"], runs, lanes, payloads, packed)}
            stored = {index for index in kept.indexes if canonical(batch[index].entry.opening.run_id) in written}
            if len(stored) == len(batch):
                return ["stored"] * len(batch)
            others = {canonical(filed.entry.opening.run_id) for index, filed in enumerate(batch) if index not in stored}
            looked = await connection.fetch(QUERIES["look_at_runs"], sorted(others))
        found = {row[0]: _Found(*row[1:]) for row in looked}
        return ["stored" if index in stored else _fate(filed, found) for index, filed in enumerate(batch)]

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep what could not be stored; one that is there already, by digest and reason, stays as it is."""
        if not letters:
            return
        clean_letters = [letter._replace(run_id=_clean(letter.run_id), error=clean(letter.error)) for letter in letters]
        async with self._pool.connection() as connection:
            await connection.execute(QUERIES["bury_letters"], *map(list, zip(*clean_letters, strict=True)))

    async def page(self, caller: Caller, filters: Filters, limit: int, before: Position | None) -> list[dict[str, Any]]:
        """At most limit of the caller's records, newest first, all of them before the position."""
        statement = page_of(caller, filters, limit, before)
        return [record(row) for row in await self._fetch(statement.sql, *statement.arguments)]

    async def get(self, caller: Caller, run_id: str) -> dict[str, Any] | None:
        """One record with its payload, null when that is no longer kept; None when the caller has no such run."""
        found = await self._fetch(QUERIES["get_run"], caller.id, _uuid(run_id))
        return record(found[0]) | {"payload": payload(found[0])} if found else None

    async def log(self, caller: Caller, run_id: str) -> StoredLog | None:
        """The stream of a run as the readers saw it, byte for byte; None when the caller has no such run."""
        found = await self._fetch(QUERIES["get_log"], caller.id, _uuid(run_id))
        if not found:
            return None
        stored = StoredLog(*found[0])
        return (
            stored if stored.log is None else stored._replace(log=await asyncio.to_thread(zlib.decompress, stored.log))
        )

    async def _fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of a query; a database that does not answer is a 503 for whoever asks about the past."""
        try:
            async with self._pool.connection() as connection:
                found: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
        except (StoreUnavailable, EntryRejected) as error:
            raise RecordUnavailable("the record cannot be read now") from error
        return found


def _rows(filed: Sequence[Filed]) -> Rows:
    """The rows of a batch; an entry that cannot even be one is rejected like one that PostgreSQL refuses."""
    try:
        return rows(filed)
    except (ValueError, OverflowError, TypeError, RecursionError) as error:  # not a number, too deep, of no known type
        raise EntryRejected(f"an entry cannot be made a row: {type(error).__name__}") from error


def _fate(filed: Filed, found: Mapping[str, _Found]) -> Fate:
    """What became of an entry that was not written, told by what is there now.

    Nobody knows the digest of a row that an older server wrote, nor is there more than one way to be interrupted.
    """
    entry = filed.entry
    there = found.get(canonical(entry.opening.run_id))
    if there is None:  # retention took it in between
        return "duplicate"
    if there.caller != clean(entry.opening.caller) or there.version < entry.version:
        return "conflict"
    if there.version > entry.version or entry.version == INTERRUPTED or there.digest in (None, filed.digest):
        return "duplicate"
    return "conflict"


def _clean(text: str | None) -> str | None:
    """The text as PostgreSQL takes it, if there is one."""
    return None if text is None else clean(text)


def _uuid(run_id: str) -> uuid.UUID | None:
    """The id, or None, which no row has, for a word that is no id at all."""
    try:
        return uuid.UUID(run_id)
    except ValueError:
        return None
