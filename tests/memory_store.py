"""A store in memory that can be ill; it passes the same suite as PostgreSQL."""

import asyncio
import math
import re
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from app.record.entry import Attachment, Entry
from app.record.store import DeadLetter, EntryRejected, Fate, Filed, SchemaMismatch, StoreUnavailable


class MemoryStore:
    """Keeps the newest entry of every run, and every attachment. Set what ails it, `gate` to make it slow.

    away, held: nothing can be written; broken: raised for entries of the caller `broken`; lose_replies: so many
    writes succeed and say StoreUnavailable; most: a larger batch takes too long; no_graves: bury says StoreUnavailable.
    """

    def __init__(self) -> None:
        self.runs: dict[str, Filed] = {}
        self.attachments: dict[str, Filed] = {}
        self.letters: dict[tuple[bytes, str], DeadLetter] = {}
        self.batches: list[int] = []
        self.away = self.held = self.no_graves = False
        self.lose_replies = 0
        self.most = 10_000
        self.broken: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, batch: Sequence[Filed]) -> list[Fate]:
        """As the protocol says."""
        self.batches.append(len(batch))
        await self.gate.wait()
        if self.away or len(batch) > self.most:
            raise StoreUnavailable("away")
        if self.held:
            raise SchemaMismatch("a column is missing")
        for filed in batch:
            self._check(filed.entry)
        runs, attachments = dict(self.runs), dict(self.attachments)
        fates = [_place(attachments if isinstance(one.entry, Attachment) else runs, one) for one in batch]
        self.runs, self.attachments = runs, attachments
        if self.lose_replies:
            self.lose_replies -= 1
            raise StoreUnavailable("the reply was lost")
        return fates

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """As the protocol says."""
        if self.no_graves or self.away:
            raise StoreUnavailable("no graves")
        for letter in letters:
            self.letters.setdefault((letter.digest, letter.reason), letter)

    async def versions(self) -> dict[str, int]:
        """The version stored of every run."""
        return {run_id: filed.entry.version for run_id, filed in self.runs.items()}

    def _check(self, entry: Entry) -> None:
        """Raises what PostgreSQL would."""
        if self.broken is not None and entry.caller == "broken":
            raise self.broken
        if not (_is_id(entry.id) and _is_id(entry.run_id)):
            raise EntryRejected("not an id")
        if not _is_storable(msgspec.to_builtins(entry, builtin_types=(bytes,))):
            raise EntryRejected("a value that no column takes")


def _place(kept: dict[str, Filed], filed: Filed) -> Fate:
    """Put an entry where it belongs and say what became of it."""
    known = kept.get(filed.entry.id)
    if known is None or known.entry.version < filed.entry.version:
        kept[filed.entry.id] = filed
        return "stored"
    if known.entry.version == filed.entry.version and known.digest != filed.digest:
        return "conflict"
    return "duplicate"


def _is_storable(value: Any) -> bool:
    """Whether JSONB would take it."""
    if isinstance(value, str):
        return re.search("[\x00\ud800-\udfff]", value) is None and len(value) <= 1_000_000
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_storable, value.values()))
    return not isinstance(value, list | tuple) or all(map(_is_storable, value))


def _is_id(run_id: str) -> bool:
    try:
        uuid.UUID(run_id)
    except ValueError:
        return False
    return True
