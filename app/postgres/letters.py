"""What an operator looks at: dead letters, how many runs there are, which servers live."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from app.postgres.pool import Pool
from app.postgres.queries import QUERIES
from app.record.store import DeadLetter


class Kept(NamedTuple):
    """A dead letter, its number, and when it was kept."""

    id: int
    created_at: datetime
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class Overview:
    """Counts of runs, open runs and dead letters; instances with the seconds since they were heard of."""

    runs: int
    open_runs: int
    letters: int
    instances: dict[str, float]


class Letters:
    """Over all callers, for whoever operates the server. Raises StoreUnavailable when the database is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def newest(self, limit: int) -> list[Kept]:
        """At most limit dead letters, the newest first."""
        async with self._pool.connection() as connection:
            rows = await connection.fetch(QUERIES["list_letters"], limit)
        return [
            Kept(row["id"], row["created_at"], DeadLetter(**{name: row[name] for name in DeadLetter._fields}))
            for row in rows
        ]

    async def count(self) -> int:
        """How many dead letters there are."""
        async with self._pool.connection() as connection:
            found: int = await connection.fetchval(QUERIES["count_letters"])
        return found

    async def drop(self, letter_id: int) -> None:
        """Forget one; nothing happens when it is gone already."""
        async with self._pool.connection() as connection:
            await connection.execute(QUERIES["drop_letter"], letter_id)

    async def overview(self) -> Overview:
        """The counts now."""
        async with self._pool.connection() as connection:
            runs = await connection.fetchrow(QUERIES["count_runs"])
            letters = await connection.fetchval(QUERIES["count_letters"])
            instances = await connection.fetch(QUERIES["list_instances"])
        return Overview(runs["runs"], runs["open"], letters, {row["instance"]: row["silent_s"] for row in instances})
