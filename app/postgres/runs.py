"""The record of runs in PostgreSQL: the store of the writer, and what is read back, always for one caller."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from app.events import clean
from app.experiments.list import Filters, Position
from app.postgres.listing import page_of
from app.postgres.pool import Pool
from app.postgres.queries import QUERIES
from app.postgres.reading import fetch
from app.postgres.records import payload, record
from app.postgres.rows import OfAttachment, OfRun, Rows, apart, attachment_rows, first, newest, rows
from app.question import Caller
from app.reasoning.elsewhere import Used
from app.record.entry import INTERRUPTED
from app.record.packing import unpacked
from app.record.store import DeadLetter, EntryRejected, Fate, Filed


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

    @classmethod
    def after(cls, word: OfRun) -> "_Found":
        """What it has once this word was written."""
        return cls(word.entry.version, word.digest, clean(word.entry.opening.caller))


class RunStore:
    """Writes and reads runs. The pool stays its owner's."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def write(self, batch: Sequence[Filed]) -> list[Fate]:
        """Store a batch, all or nothing; say of each entry what became of it.

        Raises StoreUnavailable, SchemaMismatch or EntryRejected. A reply that is lost after the commit does no harm:
        the same batch written again changes nothing. A batch of one kind is one statement and needs no transaction.
        """
        runs, attachments = apart(batch)
        kept = newest(runs)
        arguments = _rows(kept)
        fates: dict[int, Fate] = {}
        async with (
            self._pool.connection() as connection,
            connection.transaction() if runs and attachments else nullcontext(),
        ):
            if runs:
                fates |= await _write_runs(connection, runs, kept, arguments)
            if attachments:
                fates |= await _write_attachments(connection, attachments)
        return [fates[place] for place in range(len(batch))]

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
        return [record(row) for row in await fetch(self._pool, statement.sql, *statement.arguments)]

    async def get(self, caller: Caller, run_id: str) -> dict[str, Any] | None:
        """One record with its payload, null when that is no longer kept; None when the caller has no such run."""
        found = await fetch(self._pool, QUERIES["get_run"], caller.id, _uuid(run_id))
        return record(found[0]) | {"payload": payload(found[0])} if found else None

    async def log(self, caller: Caller, run_id: str) -> StoredLog | None:
        """The stream of a run as the readers saw it, byte for byte, for who opened or shared it; None for others."""
        found = await fetch(self._pool, QUERIES["get_log"], caller.id, _uuid(run_id))
        if not found:
            return None
        stored = StoredLog(*found[0])
        return stored if stored.log is None else stored._replace(log=await asyncio.to_thread(unpacked, stored.log))

    async def by_key(self, caller: Caller, key_hash: str, since: datetime) -> Used | None:
        """The newest use of a key by that caller since then, or None. Raises RecordUnavailable."""
        found = await fetch(self._pool, QUERIES["run_by_key"], caller.id, key_hash, since)
        return Used(*found[0]) if found else None


async def _write_runs(
    connection: asyncpg.Connection, words: Sequence[OfRun], kept: Sequence[OfRun], arguments: Rows
) -> dict[int, Fate]:
    """Store some words on runs, of which those kept are written; the fate of each by its place in the batch."""
    written = {row[0] for row in await connection.fetch(QUERIES["write_runs"], *arguments)}
    fates: dict[int, Fate] = {word.place: "stored" for word in kept if word.id in written}
    others = [word for word in words if word.place not in fates]
    if others:
        found = {word.id: _Found.after(word) for word in kept if word.id in written}
        if unknown := sorted({word.id for word in others} - found.keys()):
            looked = await connection.fetch(QUERIES["look_at_runs"], unknown)
            found |= {row[0]: _Found(*row[1:]) for row in looked}
        fates |= {word.place: _fate(word, found) for word in others}
    return fates


async def _write_attachments(connection: asyncpg.Connection, attachments: Sequence[OfAttachment]) -> dict[int, Fate]:
    """The same for requests that shared a run."""
    kept = first(attachments)
    written = {row[0] for row in await connection.fetch(QUERIES["write_attachments"], attachment_rows(kept))}
    fates: dict[int, Fate] = {one.place: "stored" for one in kept if one.id in written}
    others = [one for one in attachments if one.place not in fates]
    if others:
        looked = await connection.fetch(QUERIES["look_at_attachments"], sorted({one.id for one in others}))
        found: dict[str, bytes] = {row[0]: row[1] for row in looked}
        same = {one.place for one in others if found.get(one.id, one.digest) == one.digest}
        fates |= {one.place: "duplicate" if one.place in same else "conflict" for one in others}
    return fates


def _rows(words: Sequence[OfRun]) -> Rows:
    """The rows of some runs; an entry that cannot even be one is rejected like one that PostgreSQL refuses."""
    try:
        return rows(words)
    except (ValueError, OverflowError, TypeError, RecursionError) as error:  # not a number, too deep, of no known type
        raise EntryRejected(f"an entry cannot be made a row: {type(error).__name__}") from error


def _fate(word: OfRun, found: Mapping[str, _Found]) -> Fate:
    """What became of an entry that was not written, told by what is there now.

    Nobody knows the digest of a row that an older server wrote, nor is there more than one way to be interrupted.
    """
    entry = word.entry
    there = found.get(word.id)
    if there is None:  # retention took it in between
        return "duplicate"
    if there.caller != clean(entry.opening.caller) or there.version < entry.version:
        return "conflict"
    if there.version > entry.version or entry.version == INTERRUPTED or there.digest in (None, word.digest):
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
