"""The spend governor: which share of what was spent in the last hour did slow lanes take? Pure, the clock passed in.

A lane is slow by its place in the run, but for the models that settings name: these count where the settings put them,
so that nobody has the slow model paid for as a fast one.

Of money, as far as prices are known; where nothing has a price, of runs. It looks back on runs that have ended, so that
those which are under way may exceed the share; the hours after make up for it.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

SLOT_S: Final = 60.0
SLOTS: Final = 60


@dataclass(slots=True)
class _Slot:
    """One minute: nano-dollars of fast and slow lanes; runs, and those of them whose slow lane asked its model."""

    number: int
    fast: int = 0
    slow: int = 0
    runs: int = 0
    slow_runs: int = 0


class Governor:
    """share: what slow lanes may take, from 0 (nothing) to 1 (all). Times in seconds on a clock that does not go back.

    It starts with nothing spent: the first slow lane of an hour is always let through, unless share is 0.
    """

    def __init__(self, share: float) -> None:
        self._limit = share
        self._slots: deque[_Slot] = deque()

    def note(self, now: float, fast_nano: int | None, slow_nano: int | None, *, asked_slow: bool) -> None:
        """A run has ended and cost so much; None: that is not known."""
        number = int(now / SLOT_S)
        if not self._slots or self._slots[-1].number < number:
            self._slots.append(_Slot(number))
        slot = self._slots[-1]
        slot.fast += fast_nano or 0
        slot.slow += slow_nano or 0
        slot.runs += 1
        slot.slow_runs += asked_slow

    def share(self, now: float) -> float | None:
        """Of the last hour; None when there was nothing to share."""
        oldest = int(now / SLOT_S) - SLOTS
        while self._slots and self._slots[0].number <= oldest:
            self._slots.popleft()
        slow = sum(slot.slow for slot in self._slots)
        money = slow + sum(slot.fast for slot in self._slots)
        if money:
            return slow / money
        runs = sum(slot.runs for slot in self._slots)
        return sum(slot.slow_runs for slot in self._slots) / runs if runs else None

    def allows(self, now: float) -> bool:
        """Whether a slow lane may ask its model."""
        taken = self.share(now)
        return self._limit > 0 and (taken is None or taken <= self._limit)
