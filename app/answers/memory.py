"""The level within this process: the answers used last, bounded by number, bytes and age."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import cachetools

from app.answers.answer import Answer
from app.answers.level import Size
from app.question import Key

LARGEST_SHARE: Final = 0.1  # of the bytes, for one answer: a few large ones would drive out all the others


class Memory:
    """The least recently used answer goes first. max_age_s bounds how long one is held, whatever its own lifetime.

    evictions: how many went, by reason: `entries`, `bytes` (no room left), `expired`, `too_large` (never held).
    """

    def __init__(
        self, max_entries: int, max_bytes: int, max_age_s: float, wall: Callable[[], float] = time.time
    ) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._wall = wall
        self._now = wall()  # stands still during a call
        self.evictions: Counter[str] = Counter(entries=0, bytes=0, expired=0, too_large=0)
        self._held: cachetools.TLRUCache[Key, Answer, float] = cachetools.TLRUCache(
            max_bytes,
            ttu=lambda _, answer, now: min(now + max_age_s, answer.expires_at),
            timer=lambda: self._now,
            getsizeof=lambda answer: answer.size,
        )

    @property
    def off(self) -> bool:
        """Whether it can hold nothing."""
        return not (self._max_entries and self._max_bytes)

    def get(self, key: Key) -> Answer | None:
        """The answer, unless it has expired."""
        self._now = self._wall()
        return self._held.get(key)

    def put(self, answer: Answer) -> None:
        """Hold this, unless it is too large, has expired, or a newer one is held."""
        self._expire()
        key = Key(answer.scope, answer.fingerprint)
        held = self._held.get(key)
        if self.off or answer.expires_at <= self._now or (held is not None and held.created_at > answer.created_at):
            return
        self._held.pop(key, None)
        size = answer.size
        if size > self._max_bytes * LARGEST_SHARE:
            self.evictions["too_large"] += 1
            return
        while len(self._held) >= self._max_entries:
            self._evict("entries")
        while self._held.currsize + size > self._max_bytes:
            self._evict("bytes")
        self._held[key] = answer

    def forget(self, which: Callable[[Key], bool]) -> int:
        """Drop these; how many there were."""
        self._expire()
        keys = [key for key in self._held if which(key)]
        for key in keys:
            del self._held[key]
        return len(keys)

    def size(self) -> Size:
        """How much there is now."""
        self._expire()
        return Size(len(self._held), int(self._held.currsize))

    def _expire(self) -> None:
        self._now = self._wall()
        self.evictions["expired"] += len(self._held.expire(self._now))

    def _evict(self, reason: str) -> None:
        self._held.popitem()
        self.evictions[reason] += 1
