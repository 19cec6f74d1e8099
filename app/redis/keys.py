"""Idempotency keys in Redis: what each was first used for, by whom, for as long as they are kept."""

import hashlib
from typing import Final

from app.question import Caller
from app.reasoning.elsewhere import Used
from app.redis.client import Client, RedisUnavailable, Script, expected

# SET with NX and GET at once, which Redis knows only since 7.0.
_FIRST: Final = Script("""
local before = redis.call('GET', KEYS[1])
if before then return before end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
""")


class RedisKeys:
    """The first use of a key wins, on whichever instance; the same use told again is the same first use."""

    def __init__(self, client: Client, ttl_s: float, timeout_s: float = 0.5) -> None:
        self._client = client
        self._ttl_ms = max(1, int(ttl_s * 1000))
        self._timeout_s = timeout_s

    async def first(self, caller: Caller, key_hash: str, used: Used) -> Used:
        """What that caller first used the key for: this, or what was told before. Raises RedisUnavailable."""
        name = self._client.key("idempotency", hashlib.sha256(caller.id.encode()).hexdigest(), key_hash)
        told = f"{used.run_id} {used.fingerprint}"
        reply = await self._client.run(_FIRST, [name], [told, self._ttl_ms], timeout_s=self._timeout_s)
        run_id, space, fingerprint = expected(bytes, reply).decode("utf-8", "replace").partition(" ")
        if not (run_id and space and fingerprint):
            raise RedisUnavailable("Redis holds something else under an idempotency key")
        return Used(run_id, fingerprint)
