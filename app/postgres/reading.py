"""What those who read are told when PostgreSQL does not answer: an error in the words of what they asked for."""

import contextlib
from collections.abc import Callable, Iterator

import asyncpg

from app.errors import RecordUnavailable
from app.postgres.pool import Pool
from app.record.store import EntryRejected, StoreUnavailable


@contextlib.contextmanager
def told_as(unavailable: Callable[[str], Exception]) -> Iterator[None]:
    """Whatever is wrong with the database becomes that error, made from the message; the cause is kept."""
    try:
        yield
    except (StoreUnavailable, EntryRejected) as error:
        raise unavailable(error.message) from error


def of_the_past(_: str) -> RecordUnavailable:
    """A 503 for whoever asks about the past; the log has the rest."""
    return RecordUnavailable("the record cannot be read now")


async def fetch(pool: Pool, sql: str, *arguments: object, timeout_s: float | None = None) -> list[asyncpg.Record]:
    """The rows of a query about the past, within the pool's own time or another. Raises RecordUnavailable."""
    with told_as(of_the_past):
        async with pool.connection() as connection:
            found: list[asyncpg.Record] = await connection.fetch(sql, *arguments, timeout=timeout_s)
    return found
