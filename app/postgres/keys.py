"""API keys in the tables `keys` and `callers`, and the sessions that were ended."""

import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec

from app.admission.keys import Minted
from app.admission.ring import KeysUnavailable, StoredKey
from app.errors import IdentityUnavailable
from app.postgres.pool import Pool
from app.postgres.queries import QUERIES
from app.postgres.reading import told_as
from app.question import Caller, Grant

log = logging.getLogger(__name__)

_grant = msgspec.json.Decoder(Grant).decode


@dataclass(frozen=True, slots=True)
class KeyRow:
    """What an operator sees of a key."""

    key_id: str
    caller: Caller
    note: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def state(self) -> str:
        """`good`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= datetime.now(UTC) else "good"


class PostgresKeys:
    """Keys, one statement a call. Every call raises KeysUnavailable. The pool stays its owner's."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, key_id: str, session: str | None) -> StoredKey | None:
        """The key of that id, and whether that session of it has ended; None when there is no such key."""
        async with self._connection() as connection:
            row = await connection.fetchrow(QUERIES["find_key"], key_id, session)
        if row is None:
            return None
        return StoredKey(row["key_id"], row["digest"], _caller(row), row["expires_at"], row["revoked"], row["ended"])

    async def add(self, minted: Minted, caller: Caller, note: str, expires_at: datetime | None) -> datetime | None:
        """Keep a new key; when it was made, or None because the caller belongs to another tenant."""
        granted = {name: value for name, value in asdict(caller.grant).items() if value is not None}
        values = (minted.digest, sorted(caller.rights), msgspec.json.encode(granted).decode(), note, expires_at)
        async with self._connection() as connection:
            made: datetime | None = await connection.fetchval(
                QUERIES["add_key"], minted.key_id, caller.id, caller.tenant, *values
            )
        return made

    async def listed(self, caller: str | None = None, key_id: str | None = None) -> list[KeyRow]:
        """Every key, or those of one caller, or one, the oldest of a caller first."""
        async with self._connection() as connection:
            rows = await connection.fetch(QUERIES["list_keys"], caller, key_id)
        names = ("note", "created_at", "expires_at", "revoked_at")
        return [KeyRow(row["key_id"], _caller(row), *(row[name] for name in names)) for row in rows]

    async def revoke(self, key_id: str) -> bool:
        """That key is good no more; whether there is one."""
        async with self._connection() as connection:
            return await connection.fetchval(QUERIES["revoke_key"], key_id) is not None

    async def end_at(self, key_id: str, moment: datetime) -> None:
        """That key is good until then, unless it ends sooner."""
        async with self._connection() as connection:
            await connection.execute(QUERIES["end_key"], key_id, moment)

    async def end(self, session: str, ends_at: float) -> None:
        """That session is over, whatever its cookie says."""
        async with self._connection() as connection:
            await connection.execute(QUERIES["end_session"], session, ends_at)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Borrow a connection."""
        with told_as(KeysUnavailable):
            async with self._pool.connection() as connection:
                yield connection


def _caller(row: Any) -> Caller:  # noqa: ANN401  # a row
    """Whose key it is. Raises IdentityUnavailable for what no version of ours wrote: that key alone is no good."""
    try:
        return Caller(row["caller"], row["tenant"], frozenset(row["roles"]), _grant(row["granted"]))
    except (msgspec.MsgspecError, TypeError) as error:
        why = type(error).__name__
        log.error("the row of key %s is unreadable: %s", row["key_id"], why)  # noqa: TRY400  # a traceback quotes
        raise IdentityUnavailable(f"what the key {row['key_id']} grants cannot be read; the log has more") from error
