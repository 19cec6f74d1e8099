"""Stored answers in Redis, each a string that expires by itself.

There is no index of them: Redis drops what it likes when memory is short, also an index, and then answers of a scope
that was cleared would still be served. So clear and size walk over the keys, in steps between which others are served.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from app.answers.level import Size, Stored
from app.question import Key
from app.redis.client import Client, Part, RedisUnavailable, Script, expected, short

STEP_KEYS: Final = 500  # Redis looks at so many of its keys in one go, which takes it about 0.4 ms
WALK_S: Final = 30.0

_KIND = "answer"

# KEYS: names. ARGV: for each a value, which is a run's id, a line end and the answer; and for how long.
_PUT: Final = Script("""
for i, key in ipairs(KEYS) do
  local value = ARGV[2 * i - 1]
  local held = redis.pcall('GETRANGE', key, 0, 63)
  local before = type(held) == 'string' and string.match(held, '^([^\\n]*)\\n')
  if not before or before <= string.match(value, '^[^\\n]*') then redis.call('SET', key, value, 'PX', ARGV[2 * i]) end
end
""")


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
        return None if reply is None else expected(bytes, reply).partition(b"\n")[2]

    async def put(self, batch: Sequence[Stored]) -> None:
        """Store these in one round trip; of those to one key the one of the newest run stays."""
        now = self._wall()
        lasting = [stored for stored in batch if stored.expires_at - now >= 0.001]
        args: list[Part] = []
        for stored in lasting:
            args += (stored.run_id.encode() + b"\n" + stored.encoded, int((stored.expires_at - now) * 1000))
        if lasting:
            names = [self._name(stored.key) for stored in lasting]
            await self._client.run(_PUT, names, args, timeout_s=self._timeout_s)

    async def remove(self, key: Key) -> bool:
        """Forget one; whether it was there."""
        return await self._removed([self._name(key)]) > 0

    async def clear(self, scope: str | None) -> int:
        """Forget all of a scope, or all; how many there were. What is put meanwhile may stay."""
        removed = 0
        async for names in self._walk(self._client.key(_KIND, "*" if scope is None else f"{short(scope)}:*")):
            removed += await self._removed(names)
        return removed

    async def size(self) -> Size:
        """How much there is now: the answers with the ids of their runs, without what Redis needs to hold them."""
        entries, total = 0, 0
        async for names in self._walk(self._client.key(_KIND, "*")):
            lengths = await self._client.pipeline([("STRLEN", name) for name in names], timeout_s=self._timeout_s)
            entries += sum(1 for length in lengths if length)
            total += sum(lengths)
        return Size(entries, total)

    def _name(self, key: Key) -> str:
        return self._client.key(_KIND, short(key.scope), key.fingerprint)

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
