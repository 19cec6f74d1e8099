"""The level of stored answers that survives restarts and that all instances share."""

import contextlib
from collections.abc import AsyncIterator, Sequence

import asyncpg

from app.answers.level import LevelUnavailable, Size, Stored
from app.postgres.pool import Pool
from app.postgres.queries import QUERIES
from app.postgres.reading import told_as
from app.question import Key


class PostgresAnswers:
    """Answers in the table `answers`, one statement a call. The pool stays its owner's."""

    name = "postgres"

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get(self, key: Key) -> bytes | None:
        """The encoded answer, unless it has expired."""
        async with self._connection() as connection:
            found: bytes | None = await connection.fetchval(QUERIES["get_answer"], *key)
        return found

    async def put(self, batch: Sequence[Stored]) -> None:
        """Store these; the answer of a newer run replaces that of an older one."""
        if not batch:
            return
        rows = [(*one.key, one.run_id, one.expires_at, one.encoded) for one in batch]
        async with self._connection() as connection:
            await connection.execute(QUERIES["put_answers"], *map(list, zip(*rows, strict=True)))

    async def remove(self, key: Key) -> bool:
        """Forget one; whether it was there."""
        async with self._connection() as connection:
            found: int = await connection.fetchval(QUERIES["remove_answer"], *key)
        return found > 0

    async def clear(self, scope: str | None) -> int:
        """Forget all of a scope, or all; how many there were."""
        async with self._connection() as connection:
            found: int = await connection.fetchval(QUERIES["clear_answers"], scope)
        return found

    async def size(self) -> Size:
        """How much there is now."""
        async with self._connection() as connection:
            return Size(*await connection.fetchrow(QUERIES["size_of_answers"]))

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Borrow a connection."""
        with told_as(LevelUnavailable):
            async with self._pool.connection() as connection:
                yield connection
