"""Idempotency keys in Redis: what each was first used for, by whom, for as long as they are kept."""

import hashlib
from typing import Final

from app.question import Caller
from app.reasoning.elsewhere import Used
from app.redis.client import Client, Part, RedisUnavailable, Script, expected

# SET with NX and GET at once, which Redis knows only since 7.0.
_FIRST: Final = Script("""
local before = redis.call('GET', KEYS[1])
if before then return before end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
""")

# KEYS: what a key was used for. ARGV: what was told of it, what is to be told, or nothing, for how long.
_SETTLE: Final = Script("""
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
""")


class RedisKeys:
    """The first use of a key wins, on whichever instance; the same use told again is the same first use."""

    def __init__(self, client: Client, ttl_s: float, timeout_s: float = 0.5) -> None:
        self._client = client
        self._ttl_ms = max(1, int(ttl_s * 1000))
        self._timeout_s = timeout_s

    async def first(self, caller: Caller, key_hash: str, used: Used) -> Used:
        """What that caller first used the key for: this, or what was told before. Raises RedisUnavailable."""
        name = self._name(caller, key_hash)
        reply = await self._client.run(_FIRST, [name], [" ".join(used), self._ttl_ms], timeout_s=self._timeout_s)
        run_id, space, fingerprint = expected(bytes, reply).decode("utf-8", "replace").partition(" ")
        if not (run_id and space and fingerprint):
            raise RedisUnavailable("Redis holds something else under an idempotency key")
        return Used(run_id, fingerprint)

    async def settle(self, caller: Caller, key_hash: str, told: Used, used: Used | None) -> None:
        """Correct what was told first, unless something else is told by now. Raises RedisUnavailable."""
        args: list[Part] = [" ".join(told), " ".join(used or ()), self._ttl_ms]
        await self._client.run(_SETTLE, [self._name(caller, key_hash)], args, timeout_s=self._timeout_s)

    def _name(self, caller: Caller, key_hash: str) -> str:
        return self._client.key("idempotency", hashlib.sha256(caller.id.encode()).hexdigest(), key_hash)
