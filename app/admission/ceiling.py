"""How many races there may be when the event loop is the bound: fewer while it is late, more again while it is not.

Pure. What one process can do depends on its models, its machine and its neighbours, so that no number that is set
beforehand can be right: races that are too many for the loop make each of its turns long, and everybody waits a turn,
those too who could be told at once that there is no room.
"""

from typing import Final

LATE: Final = 0.1  # of the lateness at which no race begins at all
LASTING: Final = 20  # late looks in a row before any race is taken away: a burst is over by then
FEWER: Final = 0.8  # of what there are, at each look that finds it late
MORE: Final = 0.03  # of the bound, at each look that does not
LEAST: Final = 64  # a loop with no more is late by what else its machine does


class Ceiling:
    """races: the bound at this moment; most: what it may be at all; late_s: what is too late for the loop, in s."""

    def __init__(self, most: int, late_s: float) -> None:
        self._most = most
        self._late_s = late_s
        self._late = 0  # looks in a row
        self._least = min(most, LEAST)
        self.races = most

    @property
    def binding(self) -> bool:
        """Whether the loop, and not what is set, bounds the races."""
        return self.races < self._most

    def look(self, late_s: float, racing: int) -> None:
        """The loop is so late, with so many races."""
        self._late = self._late + 1 if late_s > self._late_s else 0
        if self._late and (self.binding or self._late > LASTING):
            self.races = max(self._least, int(FEWER * min(self.races, racing)))
        elif not self._late:
            self.races = min(self._most, self.races + max(1, int(MORE * self.races)))
