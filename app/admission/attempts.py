"""Failed attempts to be somebody, counted by address: who fails too often in a minute has to wait for its end."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cachetools import LRUCache

from app.errors import TooManyAttempts

log = logging.getLogger(__name__)

WINDOW_S: Final = 60.0
PLACES: Final = 10_000


@dataclass(slots=True)
class _Window:
    ends_at: float
    failures: int = 0


@dataclass(slots=True)
class Attempts:
    """At most so many failures an address and a minute; the addresses that failed lately are kept, up to a bound."""

    most: int
    clock: Callable[[], float] = time.monotonic
    _windows: LRUCache[str, _Window] = field(default_factory=lambda: LRUCache(PLACES))

    def check(self, address: str) -> None:
        """Raise TooManyAttempts while this address has to wait."""
        window = self._windows.get(address)
        if window is None or window.failures < self.most:
            return
        left_s = window.ends_at - self.clock()
        if left_s > 0:
            raise TooManyAttempts(
                "too many keys were refused that came from this address; wait a moment", retry_after_s=math.ceil(left_s)
            )

    def failed(self, address: str) -> None:
        """Another one."""
        window, now = self._windows.get(address), self.clock()
        if window is None or now >= window.ends_at:
            window = self._windows[address] = _Window(now + WINDOW_S)
        window.failures += 1
        if window.failures == self.most:
            log.warning("%d keys that came from %s were refused: it has to wait for a minute", self.most, address)
