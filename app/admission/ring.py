"""Who holds a key: looked up in the store, then remembered for seconds, and longer while the store is away."""

import asyncio
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol
from weakref import WeakValueDictionary

from cachetools import LRUCache

from app.admission.keys import Claim
from app.errors import IdentityUnavailable, TandemError, Unauthenticated
from app.question import Caller

PLACES: Final = 10_000
RETRY_S: Final = 1.0  # between two tries of a store that is away


class KeysUnavailable(TandemError):
    """The store of keys does not answer."""

    code = "keys_unavailable"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as it is kept. Times in Unix time; ended: a session of it that was asked about was ended by its user."""

    key_id: str
    digest: bytes
    caller: Caller
    expires_at: float | None = None
    revoked: bool = False
    ended: bool = False


class Keys(Protocol):
    """Where keys are kept. Raises KeysUnavailable."""

    async def find(self, key_id: str, session: str | None) -> StoredKey | None:
        """The key of that id, and whether that session of it has ended; None when there is no such key."""
        ...


class Holder(NamedTuple):
    """Who showed a key, or the cookie of a session of it, and how long that is good (Unix time)."""

    caller: Caller
    key_id: str
    session: str | None
    ends_at: float | None


@dataclass(frozen=True, slots=True)
class Patience:
    """In seconds: how long a look is good for, how long while the store is away, how long a look may take."""

    cache_s: float = 30.0
    away_s: float = 900.0
    look_s: float = 1.0


@dataclass(slots=True)
class _Known:
    key: StoredKey | None
    at: float


Place = tuple[str, str | None]


@dataclass(slots=True)
class Ring:
    """The keys that were shown lately. Belongs to one event loop; clock is monotonic, wall is Unix time."""

    store: Keys
    patience: Patience = field(default_factory=Patience)
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    _known: LRUCache[Place, _Known] = field(default_factory=lambda: LRUCache(PLACES))
    _doors: WeakValueDictionary[Place, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    _age: int = 0  # rises with every change here: what was read before one is not remembered after it
    _away: bool = False
    _retry_at: float = 0.0

    def at_hand(self, claim: Claim) -> Holder | None:
        """Who makes this claim, if that was looked up just now; no wait. Raises Unauthenticated."""
        known = self._known.get((claim.key_id, claim.session))
        if known is None or self.clock() - known.at >= self.patience.cache_s:
            return None
        return self._judged(known.key, claim)

    async def find(self, claim: Claim) -> Holder:
        """Who makes this claim. Raises Unauthenticated, or IdentityUnavailable when nobody can tell now."""
        place = (claim.key_id, claim.session)
        async with self._doors.setdefault(place, asyncio.Lock()):  # of many at once, one looks
            holder = self.at_hand(claim)
            if holder is not None:
                return holder
            try:
                key = await self._look(*place)
            except KeysUnavailable as error:
                known = self._known.get(place)
                if known is None or known.key is None or self.clock() - known.at >= self.patience.away_s:
                    raise IdentityUnavailable("keys cannot be looked up now; try again in a moment") from error
                key = known.key
            return self._judged(key, claim)

    async def _look(self, key_id: str, session: str | None) -> StoredKey | None:
        """Ask the store; one that is away is asked now and then by one alone, and nobody waits for it."""
        if self._away:
            if self.clock() < self._retry_at:
                raise KeysUnavailable("the store of keys was away a moment ago")
            self._retry_at = self.clock() + RETRY_S
        age = self._age
        try:
            async with asyncio.timeout(self.patience.look_s):
                key = await self.store.find(key_id, session)
        except (KeysUnavailable, TimeoutError) as error:
            self._away, self._retry_at = True, self.clock() + RETRY_S
            raise KeysUnavailable("the store of keys does not answer") from error
        self._away = False
        if age == self._age:
            self._known[key_id, session] = _Known(key, self.clock())
        return key

    def forget(self, key_id: str) -> None:
        """Look this key and its sessions up anew: something about it was changed here."""
        self._age += 1
        for place in [place for place in self._known if place[0] == key_id]:
            del self._known[place]

    def _judged(self, key: StoredKey | None, claim: Claim) -> Holder:
        """The holder, while key and claim are good."""
        if key is None or (claim.digest is not None and not hmac.compare_digest(key.digest, claim.digest)):
            raise Unauthenticated("this key is not known here")
        if key.revoked:
            raise Unauthenticated("this key was revoked")
        if key.ended:
            raise Unauthenticated("this session was ended; sign in again")
        ends_at = min((end for end in (key.expires_at, claim.ends_at) if end is not None), default=None)
        if ends_at is not None and self.wall() >= ends_at:
            raise Unauthenticated("this session is over; sign in again" if claim.session else "this key has expired")
        return Holder(key.caller, key.key_id, claim.session, ends_at)
