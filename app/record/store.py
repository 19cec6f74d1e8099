"""Where entries become durable, as the writer sees it; the stores satisfy this by shape.

TandemError
├── StoreUnavailable   nothing is wrong with the entries: try again later
└── EntryRejected      at least one entry of the batch cannot be stored, now or ever
"""

from collections.abc import Sequence
from typing import Protocol

from app.errors import TandemError
from app.record.entry import Closing, Opening

Entry = Opening | Closing


class StoreUnavailable(TandemError):
    """The store cannot be reached or cannot work now; the same batch may succeed later."""

    code = "store_unavailable"


class EntryRejected(TandemError):
    """The store will never take this batch, because of what is in it."""

    code = "entry_rejected"


class Store(Protocol):
    """A durable home for entries."""

    async def write(self, entries: Sequence[Entry]) -> int:
        """Store a batch, all of it or nothing, and return how many entries were new.

        The others were there already, in the same or a later version; writing twice changes nothing. Raises
        StoreUnavailable or EntryRejected. Cancelled, it may or may not have stored the batch.
        """
        ...
