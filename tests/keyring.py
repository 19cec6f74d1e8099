"""Keys in memory, and servers with AUTH=keys over a real database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from servers import Server, serving

from app.admission.keys import Minted, Seal
from app.admission.ring import KeysUnavailable, StoredKey
from app.postgres.keys import PostgresKeys
from app.postgres.pool import Pool
from app.question import Caller, Grant, Right

PEPPER: Final = "pepper-for-tests-" * 3
SEAL: Final = Seal(PEPPER)
QUICK: Final[dict[str, Any]] = {
    "fast_model": "scripted:fast?first=0.005&gap=0",
    "slow_model": "scripted:slow?first=0.01&gap=0",
    "disconnect_grace_s": 0,
}


@dataclass
class MemoryKeys:
    """A store of keys that counts how often it is asked, and can be away or silent."""

    keys: dict[str, StoredKey] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)
    asked: int = 0
    away: bool = False
    silent: bool = False

    def issue(self, caller: str = "alice", **more: Any) -> Minted:
        """A new key of that caller."""
        minted = SEAL.mint()
        self.keys[minted.key_id] = StoredKey(minted.key_id, minted.digest, Caller(caller), **more)
        return minted

    async def find(self, key_id: str, session: str | None) -> StoredKey | None:
        """As Keys has it."""
        self.asked += 1
        if self.silent:
            await asyncio.Event().wait()
        if self.away:
            raise KeysUnavailable("away")
        await asyncio.sleep(0)
        key = self.keys.get(key_id)
        return key and replace(key, ended=session in self.over)

    async def end(self, session: str, ends_at: float) -> None:  # noqa: ARG002  # as KeyStore has it
        """As KeyStore has it."""
        if self.away:
            raise KeysUnavailable("away")
        self.over.add(session)

    async def revoke(self, key_id: str) -> bool:
        """As KeyStore has it."""
        if key_id in self.keys:
            self.keys[key_id] = replace(self.keys[key_id], revoked=True)
        return key_id in self.keys


async def issued(
    pool: Pool, caller: str, rights: Iterable[Right] = ("ask", "read"), tenant: str = "", grant: Grant | None = None
) -> Minted:
    """A new key in the database."""
    minted = SEAL.mint()
    holder = Caller(caller, tenant, frozenset(rights), grant or Grant())
    assert await PostgresKeys(pool).add(minted, holder, "", datetime.now(UTC) + timedelta(hours=1)) is not None
    return minted


def bearer(minted: Minted) -> dict[str, str]:
    """The header with a key."""
    return {"authorization": f"Bearer {minted.token}"}


@contextlib.asynccontextmanager
async def guarded(dsn: str, **settings: Any) -> AsyncIterator[Server]:
    """A server that wants keys."""
    chosen = {"limit_caller": "off", **QUICK, **settings}
    async with serving(dsn, auth="keys", key_pepper=PEPPER, **chosen) as server:
        server.tasks |= asyncio.all_tasks()
        yield server
