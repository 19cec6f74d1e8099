"""How late the event loop is, and how much memory the process has: one timer looks at both."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Final

from app.telemetry.process import resident_bytes

LOOK_S: Final = 0.05
MEMORY_LOOKS: Final = 20  # one in so many looks at the memory too: one a second
LASTING: Final = 3  # looks that must agree: one that was late alone says nothing of the next moment
REMEMBERED: Final = 1200  # looks: a minute of them


class Lag:
    """Looks from `begin` until `end`. Belongs to one event loop."""

    def __init__(self, resident: Callable[[], int] = resident_bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._resident = resident
        self._lags: deque[float] = deque(maxlen=REMEMBERED)
        self._lately: deque[float] = deque([0.0] * LASTING, LASTING)
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._looks = 0
        self.memory_bytes = 0
        self.listeners: list[Callable[[float], None]] = []

    def begin(self) -> None:
        """Look, again and again."""
        self.memory_bytes = self._resident()
        self._arm()

    def end(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def now_s(self) -> float:
        """How late the loop was at each of the last looks, at least."""
        return min(self._lately)

    @property
    def p99_s(self) -> float:
        """The 99th percentile of the last minute's looks."""
        lags = sorted(self._lags)
        return lags[math.ceil(0.99 * len(lags)) - 1] if lags else 0.0

    def _arm(self) -> None:
        self._due = self._loop.time() + LOOK_S
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        lag = max(0.0, self._loop.time() - self._due)
        self._lags.append(lag)
        self._lately.append(lag)
        self._looks += 1
        for tell in self.listeners:
            tell(self.now_s)
        if self._looks % MEMORY_LOOKS == 0:
            self.memory_bytes = self._resident()
        self._arm()
