"""How often instances speak with each other through Redis, and how long they believe what they have heard."""

import random
from dataclasses import dataclass
from typing import Final

FIRST_PAUSE_S: Final = 0.02
MOST_PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Times in seconds.

    tick_s and idle_s: between two sends of a run that is read elsewhere, and of any other. lease_s: an instance that
    was not heard of for so long has died, if it stays silent for patience_s more while Redis answers and takes writes;
    it may be that Redis was away. hold_s: how long a run is taken to be read elsewhere without being told again.
    kept_s: how long an ended run may be read; overdue_s: how long after its deadline it must have ended. linger_s and
    lingers_after_s: how long a mirror without readers stays, while its run lives and after that. unfit_s: when a stream
    that held something else is read again. command_s bounds a command, arrival_s the wait for what a reader has seen
    already, answer_s the wait for another instance.
    """

    tick_s: float = 0.02
    idle_s: float = 0.2
    lease_s: float = 8.0
    patience_s: float = 4.0
    hold_s: float = 6.0
    kept_s: float = 60.0
    overdue_s: float = 30.0
    linger_s: float = 1.0
    lingers_after_s: float = 10.0
    unfit_s: float = 0.5
    command_s: float = 0.25
    arrival_s: float = 1.0
    answer_s: float = 2.0


class Pauses:
    """Between attempts to reach Redis: longer from one to the next, never quite as long as somebody else's.

    Always much shorter than the patience with a lease that has run out, lest an instance be given up that lives.
    """

    def __init__(self, pace: Pace) -> None:
        self._most = min(MOST_PAUSE_S, pace.patience_s / 4)
        self._next = FIRST_PAUSE_S

    def after_failure(self) -> float:
        """How long to wait now."""
        pause, self._next = self._next, min(self._next * 2, self._most)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311  # no secret

    def well(self) -> None:
        """It was reached."""
        self._next = FIRST_PAUSE_S


def milliseconds(seconds: float) -> int:
    """As Redis wants a time to live, which must not be 0."""
    return max(1, int(seconds * 1000))
