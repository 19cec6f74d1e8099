"""A circuit breaker: is something that failed several times in a row worth asking again? Pure, the clock passed in.

| state     | may be asked                              | it answered | it failed                                  |
|-----------|-------------------------------------------|-------------|--------------------------------------------|
| closed    | yes                                       | closed      | closed; open after `threshold` in a row    |
| open      | not before its time; then once: half-open | closed      | open                                       |
| half-open | no; once more if nothing is heard in time | closed      | open, for twice as long as before          |
"""

import random
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half_open"]


class Breaker:
    """One per thing that may be sick. Times in seconds on any one clock that does not go back.

    It is open for first_s, then twice as long after each probe that fails, up to most_s; each time shortened by up to a
    quarter, lest many of them probe in step. A probe that is never reported is taken for lost after as long.
    """

    def __init__(
        self,
        threshold: int = 3,
        first_s: float = 0.5,
        most_s: float = 10.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.state: State = "closed"
        self._threshold = threshold
        self._first_s = first_s
        self._most_s = most_s
        self._chance = chance
        self._failures = 0  # in a row, while closed
        self._open_s = first_s
        self._until = 0.0

    def ready(self, now: float) -> bool:
        """Whether `ask` would say yes; changes nothing."""
        return self.state == "closed" or now >= self._until

    def ask(self, now: float) -> bool:
        """Whether to ask now; who is told yes says afterwards how it went."""
        if not self.ready(now):
            return False
        if self.state != "closed":
            self.state = "half_open"
            self._until = now + self._open_s
        return True

    def succeeded(self) -> None:
        """It answered, so it is well, whenever it was asked."""
        self.state = "closed"
        self._failures = 0
        self._open_s = self._first_s

    def failed(self, now: float) -> None:
        """It failed, or was late."""
        self._failures += 1
        if self.state == "half_open":
            self._open_s = min(self._open_s * 2, self._most_s)
        elif self.state == "open" or self._failures < self._threshold:
            return
        self.state = "open"
        self._until = now + self._open_s * (1 - self._chance() / 4)
