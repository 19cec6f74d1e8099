"""A store in memory that can be ill; it passes the same suite as PostgreSQL."""

import asyncio
import uuid
from collections.abc import Sequence

from app.record.entry import Closing, Opening
from app.record.store import Entry, EntryRejected, StoreUnavailable


class MemoryStore:
    """Keeps the newest entry of every run. Set `away` or `broken` to make it ill, `gate` to make it slow."""

    def __init__(self) -> None:
        self.runs: dict[str, Entry] = {}
        self.batches: list[int] = []
        self.away = False
        self.broken: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, entries: Sequence[Entry]) -> int:
        """As the protocol says."""
        self.batches.append(len(entries))
        await self.gate.wait()
        if self.away:
            raise StoreUnavailable("away")
        if self.broken is not None and any(entry.caller == "broken" for entry in map(_opening, entries)):
            raise self.broken
        if any(not _is_id(_opening(entry).run_id) for entry in entries):
            raise EntryRejected("not an id")
        after = dict(self.runs)
        for entry in entries:
            known = after.get(_opening(entry).run_id)
            if known is None or _version(known) < _version(entry):
                after[_opening(entry).run_id] = entry
        new = sum(self.runs.get(run_id) is not entry for run_id, entry in after.items())
        self.runs = after
        return new

    async def versions(self) -> dict[str, int]:
        """The version stored of every run."""
        return {run_id: _version(entry) for run_id, entry in self.runs.items()}


def _opening(entry: Entry) -> Opening:
    return entry.opening if isinstance(entry, Closing) else entry


def _version(entry: Entry) -> int:
    return entry.version if isinstance(entry, Closing) else 1


def _is_id(run_id: str) -> bool:
    try:
        uuid.UUID(run_id)
    except ValueError:
        return False
    return True
