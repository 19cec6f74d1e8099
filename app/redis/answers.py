"""Stored answers in Redis, each a string that expires by itself.

There is no index of them: Redis drops what it likes when memory is short, also an index, and then answers of a scope
that was cleared would still be served. So clear and size walk over the keys, in steps between which others are served.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from app.answers.level import Size, Stored
from app.question import Key
from app.redis.client import Client, Command, RedisUnavailable, expected

STEP_KEYS: Final = 500  # Redis looks at so many of its keys in one go, which takes it about 0.4 ms
WALK_S: Final = 30.0

_KIND = "answer"


class RedisAnswers:
    """The level `redis`. timeout_s bounds each command; clear and size take many, and WALK_S at most."""

    name = "redis"

    def __init__(self, client: Client, timeout_s: float = 1.0, wall: Callable[[], float] = time.time) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._wall = wall

    async def get(self, key: Key) -> bytes | None:
        """The encoded answer, unless it has expired."""
        reply = await self._client.call("GET", self._name(key), timeout_s=self._timeout_s)
        return None if reply is None else expected(bytes, reply)

    async def put(self, batch: Sequence[Stored]) -> None:
        """Store these in one round trip; the last that is put under a key replaces what is there."""
        now = self._wall()
        commands: list[Command] = [
            ("SET", self._name(stored.key), stored.encoded, "PX", int((stored.expires_at - now) * 1000))
            for stored in batch
            if stored.expires_at - now >= 0.001
        ]
        if commands:
            await self._client.pipeline(commands, timeout_s=self._timeout_s)

    async def remove(self, key: Key) -> bool:
        """Forget one; whether it was there."""
        return await self._removed([self._name(key)]) > 0

    async def clear(self, scope: str | None) -> int:
        """Forget all of a scope, or all; how many there were. What is put meanwhile may stay."""
        removed = 0
        async for names in self._walk(self._client.key(_KIND, "*" if scope is None else f"{_short(scope)}:*")):
            removed += await self._removed(names)
        return removed

    async def size(self) -> Size:
        """How much there is now: the answers without what Redis needs to hold them."""
        entries, total = 0, 0
        async for names in self._walk(self._client.key(_KIND, "*")):
            lengths = await self._client.pipeline([("STRLEN", name) for name in names], timeout_s=self._timeout_s)
            entries += sum(1 for length in lengths if length)
            total += sum(lengths)
        return Size(entries, total)

    def _name(self, key: Key) -> str:
        return self._client.key(_KIND, _short(key.scope), key.fingerprint)

    async def _removed(self, names: Sequence[str | bytes]) -> int:
        return expected(int, await self._client.call("UNLINK", *names, timeout_s=self._timeout_s))

    async def _walk(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """The names that match, step by step; one that is there all the time comes at least once."""
        loop = asyncio.get_running_loop()
        until = loop.time() + WALK_S
        cursor = b"0"
        while loop.time() < until:
            command = ("SCAN", cursor, "MATCH", pattern, "COUNT", STEP_KEYS)
            cursor, names = expected(list, await self._client.call(*command, timeout_s=self._timeout_s))
            if names:
                yield names
            if cursor == b"0":
                return
        raise RedisUnavailable(f"Redis holds too many keys to walk over them in {WALK_S:g} s")


def _short(scope: str) -> str:
    """A scope may hold any character and any length; the fingerprint is of the scope too, so that none are mixed up."""
    return hashlib.sha256(scope.encode()).hexdigest()[:16]
