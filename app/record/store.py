"""Where entries become part of the record, as the drainer sees it; the stores satisfy this by shape.

TandemError
├── StoreUnavailable   nothing is wrong with the entries: try again later
│   └── SchemaMismatch the store has not the shape that this server needs: an operator must look, then try again
└── EntryRejected      at least one entry of the batch cannot be stored, now or ever
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from app.errors import TandemError
from app.record.entry import Entry

Fate = Literal["stored", "duplicate", "conflict"]


class StoreUnavailable(TandemError):
    """The store cannot be reached or cannot work now; the same batch may succeed later."""

    code = "store_unavailable"


class SchemaMismatch(StoreUnavailable):
    """A table or a column is not as it should be (SQLSTATE class 42)."""

    code = "schema_mismatch"


class EntryRejected(TandemError):
    """The store will never take this batch, because of what is in it."""

    code = "entry_rejected"


class Filed(NamedTuple):
    """An entry on its way to the store: digest is the SHA-256 of its encoded form, the content hash of its row."""

    entry: Entry
    digest: bytes


class DeadLetter(NamedTuple):
    """An entry that could not become a record, kept as it was: encoded, with what was wrong.

    run_id: what the entry is kept under, which for an attachment is the id of its request.
    """

    digest: bytes
    run_id: str | None
    version: int | None
    reason: Literal["rejected", "conflict", "undecodable"]
    error: str
    encoded: bytes


class Store(Protocol):
    """A durable home for entries. Both calls raise StoreUnavailable (SchemaMismatch) or EntryRejected."""

    async def write(self, batch: Sequence[Filed]) -> list[Fate]:
        """Store a batch, all of it or nothing; say of each entry, in order, what became of it.

        stored: it made the row or replaced a lower version. duplicate: the same entry, or a later version, was there
        already. conflict: the same version was there with another digest; the row stays as it is. Writing twice
        changes nothing. Cancelled, it may or may not have stored the batch.
        """
        ...

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep what could not be stored; one that is there already (by digest and reason) stays as it is."""
        ...
