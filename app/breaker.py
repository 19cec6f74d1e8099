"""A circuit breaker: is something that failed lately worth asking again? Pure, the clock passed in.

`Breaker` counts failures in a row, for a store that answers at once or not at all:

| state     | may be asked                              | it answered | it failed                                  |
|-----------|-------------------------------------------|-------------|--------------------------------------------|
| closed    | yes                                       | closed      | closed; open after `threshold` in a row    |
| open      | not before its time; then once: half-open | closed      | open                                       |
| half-open | no; once more if nothing is heard in time | closed      | open, for twice as long as before          |

`Windowed` looks at a share of failures too, and knows which answers are old news, for models, whose answers take long:

| state     | may be asked                               | it answered | it failed                   | broken off      |
|-----------|--------------------------------------------|-------------|-----------------------------|-----------------|
| closed    | yes                                        | closed      | closed; open when too often | closed          |
| open      | not for `recovery_s`; then once: half-open | closed      | open                        | open            |
| half-open | no; once more after `lost_s` of silence    | closed      | open, for `recovery_s`      | half-open; once |

Both may be held open or closed by hand; what they hear meanwhile still moves their own state.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

State = Literal["closed", "open", "half_open"]
Hold = Literal["open", "closed"]

PASS: Final = 0
_SLOTS: Final = 10  # of a window


class Held:
    """The state of a breaker, which may be held by hand. told: called with the state before and after each change."""

    def __init__(self) -> None:
        self.held: Hold | None = None
        self.told: Callable[[State, State], object] | None = None
        self._own: State = "closed"

    @property
    def state(self) -> State:
        """What it does now."""
        return self.held or self._own

    def hold(self, state: Hold | None) -> None:
        """Hold it, or None: let it go on by itself."""
        before, self.held = self.state, state
        self._tell(before)

    def _become(self, state: State) -> None:
        before, self._own = self.state, state
        self._tell(before)

    def _tell(self, before: State) -> None:
        if self.told is not None and self.state != before:
            self.told(before, self.state)


class Breaker(Held):
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
        super().__init__()
        self._threshold = threshold
        self._first_s = first_s
        self._most_s = most_s
        self._chance = chance
        self._failures = 0  # in a row, while closed
        self._open_s = first_s
        self._until = 0.0

    def ready(self, now: float) -> bool:
        """Whether `ask` would say yes; changes nothing."""
        if self.held is not None:
            return self.held == "closed"
        return self._own == "closed" or now >= self._until

    def ask(self, now: float) -> bool:
        """Whether to ask now; who is told yes says afterwards how it went."""
        if not self.ready(now):
            return False
        if self.state != "closed":
            self._become("half_open")
            self._until = now + self._open_s
        return True

    def succeeded(self) -> None:
        """It answered, so it is well, whenever it was asked."""
        self._failures = 0
        self._open_s = self._first_s
        self._become("closed")

    def failed(self, now: float) -> None:
        """It failed, or was late."""
        self._failures += 1
        if self._own == "half_open":
            self._open_s = min(self._open_s * 2, self._most_s)
        elif self._own == "open" or self._failures < self._threshold:
            return
        self._until = now + self._open_s * (1 - self._chance() / 4)
        self._become("open")


@dataclass(frozen=True, slots=True)
class Limits:
    """When to open: after `threshold` failures in a row, or when of at least `minimum` answers that ended in the last
    window_s seconds a share of `rate` failed. lost_s: a probe of which nothing was heard for so long is given up.
    """

    threshold: int = 5
    window_s: float = 30.0
    rate: float = 0.5
    minimum: int = 20
    recovery_s: float = 10.0
    lost_s: float = 60.0


class Windowed(Held):
    """One per model. Times in seconds on any one clock that does not go back.

    Whatever began before it opened last is old news when it ends, and changes nothing.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits
        self._recent = _Recent(limits.window_s)
        self._failures = 0  # in a row
        self._since = float("-inf")  # when it opened last
        self._due = 0.0  # when it may be probed
        self._probe = PASS

    def ask(self, now: float) -> int | None:
        """None: do not ask. PASS: ask. Another number is that of a probe: give it `back` if it is broken off."""
        if self.held is not None:
            return PASS if self.held == "closed" else None
        if self._own == "closed":
            return PASS
        if now < self._due:
            return None
        self._become("half_open")
        self._due = now + self._limits.lost_s
        self._probe += 1
        return self._probe

    def back(self, probe: int, now: float) -> None:
        """This probe was broken off and says nothing; the next one may follow at once."""
        if self._own == "half_open" and probe == self._probe:
            self._due = now

    def undecided(self, began: float, now: float) -> None:
        """What began then has ended by no fault and no merit of its own; a probe was in vain."""
        if began >= self._since:
            self.back(self._probe, now)

    def wait_s(self, now: float) -> float:
        """About how long it will not be asked."""
        return max(0.0, self._due - now) if self._own == "open" else self._limits.recovery_s

    def succeeded(self, began: float, now: float) -> None:
        """What began then has answered."""
        if began < self._since:
            return
        self._failures = 0
        if self._own == "closed":
            self._recent.add(now, failed=False)
        else:
            self._become("closed")

    def failed(self, began: float, now: float) -> None:
        """What began then has failed, or was late."""
        if began < self._since or self._own == "open":
            return
        self._failures += 1
        self._recent.add(now, failed=True)
        if self._own == "half_open" or self._too_often(now):
            self._open(now)

    def _too_often(self, now: float) -> bool:
        answered, failed = self._recent.counts(now)
        limits = self._limits
        return self._failures >= limits.threshold or (answered >= limits.minimum and failed >= limits.rate * answered)

    def _open(self, now: float) -> None:
        self._recent = _Recent(self._limits.window_s)
        self._failures = 0
        self._since = now
        self._due = now + self._limits.recovery_s
        self._become("open")


class _Recent:
    """How many answers there were lately and how many of them failed, by tenths of a window."""

    def __init__(self, window_s: float) -> None:
        self._slot_s = window_s / _SLOTS
        self._slots: deque[list[int]] = deque()  # number, answers, failures

    def add(self, now: float, *, failed: bool) -> None:
        """One more."""
        number = int(now / self._slot_s)
        if not self._slots or self._slots[-1][0] < number:
            self._slots.append([number, 0, 0])
        self._slots[-1][1] += 1
        self._slots[-1][2] += failed
        self._forget(number)

    def counts(self, now: float) -> tuple[int, int]:
        """Answers, and failures among them."""
        self._forget(int(now / self._slot_s))
        return sum(slot[1] for slot in self._slots), sum(slot[2] for slot in self._slots)

    def _forget(self, number: int) -> None:
        while self._slots and self._slots[0][0] <= number - _SLOTS:
            self._slots.popleft()
