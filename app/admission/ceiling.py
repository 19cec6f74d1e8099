"""How many races there may be when the event loop is the bound: fewer while it is late, more again while it is not.

Pure. What one process can do depends on its models, its machine and its neighbours, so that no number that is set
beforehand can be right: races that are too many for the loop make each of its turns long, and everybody waits a turn,
those too who could be told at once that there is no room.
"""

from typing import Final

LATE_S: Final = 0.03  # of the loop, lasting: what it does in one turn is felt by everybody
FEWER: Final = 0.8  # of what there are, at each look that finds it late
MORE: Final = 0.03  # of the bound, at each look that does not
LEAST: Final = 64  # a loop with no more is late by what else its machine does


class Ceiling:
    """races: the bound at this moment; most: what it may be at all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._least = min(most, LEAST)
        self.races = most

    @property
    def binding(self) -> bool:
        """Whether the loop, and not what is set, bounds the races."""
        return self.races < self._most

    def look(self, late_s: float, racing: int) -> None:
        """The loop is so late, with so many races."""
        if late_s > LATE_S:
            self.races = max(self._least, int(FEWER * min(self.races, racing)))
        else:
            self.races = min(self._most, self.races + max(1, int(MORE * self.races)))
