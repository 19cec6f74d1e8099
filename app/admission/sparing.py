"""Counters that all instances share, asked while they answer; while they do not, each instance counts for itself."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from app.breaker import Breaker
from app.errors import TandemError

logger = logging.getLogger(__name__)

PAUSE_S: Final = 0.05  # after a failure, lest one request waits for it twice

T = TypeVar("T")


class CountersUnavailable(TandemError):
    """The shared counters did not answer in time, or are spared because they did not lately."""

    code = "counters_unavailable"


class Sparing:
    """One breaker before everything that is counted in one place. clock: seconds that do not go back."""

    def __init__(self, breaker: Breaker, clock: Callable[[], float]) -> None:
        self.breaker = breaker
        self._clock = clock
        self._again_at = 0.0

    @property
    def state(self) -> str:
        """`ok`, or `away` while every instance counts for itself."""
        return "ok" if self.breaker.state == "closed" else "away"

    async def ask(self, call: Callable[..., Awaitable[T]], *args: Any) -> T:  # noqa: ANN401  # whatever the call takes
        """What the call returns; it bounds itself. Raises CountersUnavailable."""
        if self._clock() < self._again_at or not self.breaker.ask(self._clock()):
            raise CountersUnavailable("spared")
        before = self.breaker.state
        try:
            found = await call(*args)
        except CountersUnavailable as error:
            self._again_at = self._clock() + PAUSE_S
            self.breaker.failed(self._clock())
            if before == "closed" and self.breaker.state == "open":
                logger.warning("shared limits are away, each instance goes on with its own: %s", error)
            raise
        self.breaker.succeeded()
        if before != "closed":
            logger.info("shared limits are back")
        return found
