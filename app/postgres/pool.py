"""Connections to PostgreSQL, every wait for one bounded, and PostgreSQL's errors in the words of the record."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

import asyncpg

from app.postgres.way import CONNECT_S, Way, way
from app.record.store import EntryRejected, SchemaMismatch, StoreUnavailable

ACQUIRE_S = 4.0
COMMAND_S = 10.0
CLOSE_S = 1.0

# Classes of SQLSTATE that blame the data: 22 data exception, 23 constraint, 54 program limit. Class 42, a missing
# table, column or right, blames the schema. All others blame the server or the network, and may pass.
_OF_THE_DATA = ("22", "23", "54")
_OF_THE_SCHEMA = "42"
_OF_A_NEW_PARTITION = "23514"  # we have no checks of our own: a partition was made while we wrote beside it


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Whatever the driver raises inside becomes an EntryRejected or a StoreUnavailable; the cause is kept."""
    try:
        yield
    except (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError) as error:
        raise StoreUnavailable(
            f"PostgreSQL mixes up our statements ({error.sqlstate}), as behind a transaction pooler: set "
            "DATABASE_STATEMENT_CACHE=0"
        ) from error
    except asyncpg.PostgresError as error:
        state = error.sqlstate or "unknown"
        if state.startswith(_OF_THE_DATA) and state != _OF_A_NEW_PARTITION:
            raise EntryRejected(f"PostgreSQL refuses the data: {state}") from error
        if state.startswith(_OF_THE_SCHEMA):
            raise SchemaMismatch(f"PostgreSQL has another schema: {state} {type(error).__name__}") from error
        raise StoreUnavailable(f"PostgreSQL cannot do it now: {state} {type(error).__name__}") from error
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise StoreUnavailable(f"PostgreSQL cannot be reached: {type(error).__name__}") from error


class Pool:
    """A bounded pool that connects when it is first used, so that a database that is down delays nobody's start.

    Owned by one event loop; `async with` opens and closes it.
    """

    def __init__(self, to: Way | str, max_size: int = 8) -> None:
        self._way = way(to)
        self._max_size = max_size
        self._pool: asyncpg.Pool | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Make the pool; with a minimum of no connections this touches no network."""
        self._pool = await asyncpg.create_pool(
            connect=self._connect,
            min_size=0,
            max_size=self._max_size,
            timeout=CONNECT_S,
            command_timeout=COMMAND_S,
            reset=_keep,
            server_settings={"application_name": "tandem"},
        )

    async def close(self) -> None:
        """Close every connection, by force if it is still in use after a second."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                await asyncio.wait_for(pool.close(), CLOSE_S)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                pool.terminate()

    async def ping(self) -> None:
        """Ask the server for nothing; raises as `connection` does."""
        async with self.connection() as connection:
            await connection.execute("SELECT 1")

    async def _connect(self, *_: object, **options: Any) -> asyncpg.Connection:  # noqa: ANN401  # the driver's own
        """A connection for the pool, whose address is the way's."""
        return await self._way.connect(**options)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Borrow a connection; every error, of getting it and of using it, is translated.

        Cancelled, it is dropped: to give it back would wait for a server that may be gone.
        """
        if self._pool is None:
            raise StoreUnavailable("the pool is closed")
        with translated():
            async with self._pool.acquire(timeout=ACQUIRE_S) as connection:
                try:
                    yield connection
                except asyncio.CancelledError:
                    connection.terminate()
                    raise


async def _keep(_: asyncpg.Connection) -> None:
    """Our statements leave no state in a session, so that resetting it would only cost a round trip."""
