"""A level of stored answers beyond this process, as the cache needs it: Redis, PostgreSQL."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from app.errors import TandemError
from app.question import Key


class LevelUnavailable(TandemError):
    """The level cannot be reached, or not in time; for who asks it is a miss."""

    code = "level_unavailable"


class Stored(NamedTuple):
    """An encoded answer on its way to a level; expires_at in Unix time."""

    key: Key
    run_id: str
    expires_at: float
    encoded: bytes


class Size(NamedTuple):
    """How much a level holds."""

    entries: int
    bytes: int


class Level(Protocol):
    """Answers by key, each until it expires. Every call raises LevelUnavailable, and may be cancelled at any point."""

    @property
    def name(self) -> str:
        """`redis` or `postgres`."""
        ...

    async def get(self, key: Key) -> bytes | None:
        """The encoded answer, unless it has expired."""
        ...

    async def put(self, batch: Sequence[Stored]) -> None:
        """Store these; of those to one key the one of the newest run stays, whichever comes last: ids are UUIDv7."""
        ...

    async def remove(self, key: Key) -> bool:
        """Forget one; whether it was there."""
        ...

    async def clear(self, scope: str | None) -> int:
        """Forget all of a scope, or all; how many there were."""
        ...

    async def size(self) -> Size:
        """How much there is now."""
        ...
