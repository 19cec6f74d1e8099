"""How many requests came in a sliding window, counted by the library `limits`, whose names stop at this file.

A window is two counters, of this span and of the one before, the latter weighted by how much of it is still inside.
"""

import time
from collections.abc import Sequence
from math import floor
from typing import Final

from limits.aio.storage import MemoryStorage
from limits.aio.storage.redis.bridge import RedisBridge

from app.admission.doorman import Asked, Window

SWEEP_S: Final = 60.0

# KEYS: for each window the counter of the span before and of this one. ARGV: 1 to take one of each, else 0; then for
# each the most and the span in seconds. Returns for each whether it was taken and both counters with their times; after
# one that was not, no more.
TAKE: Final = f"""
local function acquire(KEYS, ARGV) {RedisBridge.SCRIPT_ACQUIRE_SLIDING_WINDOW.decode()}
end
local function window(KEYS, ARGV) {RedisBridge.SCRIPT_SLIDING_WINDOW.decode()}
end
local wanted, found = ARGV[1] == '1', {{}}
for i = 1, #KEYS / 2 do
  local names, most, span = {{KEYS[2 * i - 1], KEYS[2 * i]}}, ARGV[2 * i], ARGV[2 * i + 1]
  local taken = wanted and acquire(names, {{most, span, 1}})
  local seen = window(names, {{span}})
  found[i] = {{taken and 1 or 0, seen[1], seen[2], seen[3], seen[4]}}
  if wanted and not taken then break end
end
return found
"""


class MemoryWindows:
    """The requests of this process."""

    def __init__(self) -> None:
        self._counters = _Counters()

    async def take(self, asked: Sequence[Asked], *, count: bool = True) -> list[Window]:
        """As Windows has it; it never waits."""
        found: list[Window] = []
        for each in asked:
            taken = count and await self._counters.acquire_sliding_window_entry(each.key, each.most, each.span_s)
            found.append(self._counters.seen(each, taken=taken))
            if count and not taken:
                break
        return found


class _Counters(MemoryStorage):
    """The library's counters without its sweep, a task at every hit that looks at each counter there is.

    With 10,000 callers that task takes 8 ms; here the counters are looked through once in SWEEP_S.
    """

    def __init__(self) -> None:
        super().__init__()
        self._swept_at = time.time()

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count up."""
        now = time.time()
        if now - self._swept_at > SWEEP_S:
            self._swept_at = now
            for over in [name for name, ends_at in self.expirations.items() if ends_at <= now]:
                del self.expirations[over]
                self.storage.pop(over, None)
        if self.expirations.get(key, 0.0) <= now:
            self.storage[key] = 0
            self.expirations[key] = now + expiry
        self.storage[key] += amount
        return self.storage[key]

    def seen(self, asked: Asked, *, taken: bool) -> Window:
        """What is left of a window."""
        span_s, now = asked.span_s, time.time()
        before, current = self.sliding_window_keys(asked.key, span_s, now)
        left_s = span_s - now % span_s
        return window_of(
            asked, taken, (self.storage.get(before, 0), left_s), (self.storage.get(current, 0), left_s + span_s)
        )


def window_of(asked: Asked, taken: bool, before: tuple[int, float], current: tuple[int, float]) -> Window:
    """What the script told of a window; each counter with the seconds it has left, this span's with one span more."""
    (count_before, left_before_s), (count, left_s) = before, current
    used = floor(count_before * max(left_before_s, 0.0) / asked.span_s) + count
    resets = [left_before_s % (asked.span_s / count_before)] if count_before and left_before_s > 0 else []
    resets += [max(0.0, left_s - asked.span_s)] if count else []
    return Window(taken, max(0, asked.most - used), min(resets, default=0.0))
