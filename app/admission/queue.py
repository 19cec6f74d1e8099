"""Who goes next when not everybody can: bounded, fair between tenants and callers. Pure, the clock is passed in.

In prose: a place that is free goes to the highest priority; among equals to the tenant that holds the fewest places,
then to the caller that holds the fewest, then to who came first. A caller's priority rises by one for every AGE_S that
it was passed over, through its refusals too, so that nobody starves; and it falls back when the caller is served, so
that who asks much does not age by that.

The line is full when more wait than may, or than there will be places for in time: so many are free in a while as
there are, by how long one is held, and no more than have been held for long by then: when many were taken at one
moment, nobody who waits a moment later gets one. When it is full a newcomer is sent away, unless somebody of a lower
priority waits, or, among equals, somebody whose tenant holds more places, or whose caller holds and waits for more than
the newcomer's would: who floods the line crowds out nobody else.

A line that has not been empty for as long as one may wait in it is standing: to wait only makes answers later then,
and not more. Whoever comes now may wait but a moment (STANDING_S), so that whoever is let in came just now and
everybody else is told at once, until nobody had to wait for as long again.
"""

from bisect import bisect_right, insort
from collections import Counter, deque
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from app.question import Caller

AGE_S: Final = 0.5
STANDING_S: Final = 0.01
CALM: Final = 0.1  # of the time that one may wait; a line that was empty for less was not empty
NEWEST: Final = 0.05  # what the last race counts in the mean of how long they take
PRIORITY: Final = 5  # of a caller that was granted none
REMEMBERED: Final = 10_000  # callers that were passed over

T = TypeVar("T")


class Place(Generic[T]):
    """One who waits. ticket: whatever the owner of the line wants back. since: when it asked, in seconds."""

    __slots__ = ("caller", "number", "since", "ticket")

    def __init__(self, caller: Caller, since: float, ticket: T) -> None:
        self.caller = caller
        self.since = since
        self.ticket = ticket
        self.number = 0


class Line(Generic[T]):
    """The line before a number of places that its owner knows. held counts those that were given and not returned."""

    def __init__(self, length: int, timeout_s: float) -> None:
        self._length = length
        self._timeout_s = timeout_s
        self._of: dict[str, deque[Place[T]]] = {}  # by caller, never empty
        self._passed_over: dict[str, float] = {}  # by caller, since when
        self._callers: Counter[str] = Counter()  # places held
        self._tenants: Counter[str] = Counter()
        self._numbers = 0
        self._since: list[float] = []  # the places that are held, the oldest first
        self._lasts_s: float | None = None  # one place is held, on average
        self._filled_at = self._emptied_at = float("-inf")
        self._standing = False
        self.waiting = 0
        self.held = 0

    # -- places

    def take(self, caller: Caller, now: float) -> None:
        """The caller is given a place."""
        self.held += 1
        insort(self._since, now)
        self._callers[caller.id] += 1
        self._tenants[_tenant(caller)] += 1
        self._passed_over.pop(caller.id, None)

    def give_back(self, caller: Caller, since: float, now: float) -> None:
        """One of the caller's places is free, which was held since then."""
        held_s = now - since
        del self._since[max(0, bisect_right(self._since, since) - 1)]
        mean_s = held_s if self._lasts_s is None else self._lasts_s
        self._lasts_s = mean_s + NEWEST * (held_s - mean_s)
        self.held -= 1
        for counts, name in ((self._callers, caller.id), (self._tenants, _tenant(caller))):
            counts[name] -= 1
            if not counts[name]:
                del counts[name]

    # -- waiting

    def enter(self, place: Place[T], now: float) -> Place[T] | None:
        """Wait. Returns who has to leave for that: nobody, somebody who waited, or the newcomer itself."""
        self._pass_over(place.caller.id, now)
        loser = self._loser(place, now) if self.waiting >= self._room(now) else None
        if loser is place:
            return place
        if loser is not None:
            self.leave(loser, now)
        if not self.waiting:
            self._standing = self._standing and now - self._emptied_at < self._timeout_s
            if now - self._emptied_at >= CALM * self._timeout_s:
                self._filled_at = now
        self._numbers += 1
        place.number = self._numbers
        self._of.setdefault(place.caller.id, deque()).append(place)
        self.waiting += 1
        return loser

    def leave(self, place: Place[T], now: float) -> bool:
        """Wait no longer, whoever wanted that; False when the place was not in the line."""
        line = self._of.get(place.caller.id)
        if line is None or place not in line:
            return False
        line.remove(place)
        if not line:
            del self._of[place.caller.id]
        self.patience_s(now)
        self.waiting -= 1
        if not self.waiting:
            self._emptied_at = now
        return True

    def next(self, now: float) -> Place[T] | None:
        """Who waits no longer, and has a place from now on."""
        if not self._of:
            return None
        heads = (line[0] for line in self._of.values())
        place = min(heads, key=lambda place: self._rank(place, now))
        self.leave(place, now)
        self.take(place.caller, now)
        if place.caller.id in self._of:
            self._pass_over(place.caller.id, now)
        return place

    def patience_s(self, now: float) -> float:
        """How long who comes now may wait."""
        if self.waiting and now - self._filled_at >= self._timeout_s:
            self._standing = True
        return min(STANDING_S, self._timeout_s) if self._standing else self._timeout_s

    def __iter__(self) -> Iterator[Place[T]]:
        """Everybody who waits, caller by caller."""
        return (place for line in self._of.values() for place in line)

    def _room(self, now: float) -> int:
        """How many may wait: no more than will have a place in time, as far as that can be told."""
        if not self._lasts_s:
            return self._length
        patience_s, lasts_s = self.patience_s(now), self._lasts_s
        times, rest_s = divmod(patience_s, lasts_s)
        due = times * self.held + bisect_right(self._since, now + rest_s - lasts_s)
        return min(self._length, max(1, int(min(due, patience_s * self.held / lasts_s))))

    # -- order

    def _pass_over(self, caller_id: str, now: float) -> None:
        self._passed_over.setdefault(caller_id, now)
        if len(self._passed_over) > REMEMBERED:
            del self._passed_over[next(iter(self._passed_over))]

    def _level(self, caller: Caller, now: float) -> int:
        given = caller.grant.priority
        passed_over_s = now - self._passed_over.get(caller.id, now)
        return (PRIORITY if given is None else given) + int(passed_over_s / AGE_S)

    def _rank(self, place: Place[T], now: float) -> tuple[int, int, int, int]:
        """The smallest goes first."""
        caller = place.caller
        return -self._level(caller, now), self._tenants[_tenant(caller)], self._callers[caller.id], place.number

    def _loser(self, newcomer: Place[T], now: float) -> Place[T]:
        """Who is the least entitled to wait; the newcomer, unless somebody else clearly is."""
        loser, least = newcomer, self._claims(newcomer.caller, now, 1)
        for line in self._of.values():
            claims = self._claims(line[-1].caller, now)
            if claims > least and line[-1].caller != newcomer.caller:
                loser, least = line[-1], claims
        return loser

    def _claims(self, caller: Caller, now: float, more: int = 0) -> tuple[int, int, int]:
        """The greater, the less is a caller entitled to wait with all that it has waiting, and so many more."""
        waiting = len(self._of.get(caller.id, ()))
        return -self._level(caller, now), self._tenants[_tenant(caller)], self._callers[caller.id] + waiting + more


def _tenant(caller: Caller) -> str:
    """Whom its places count for; a caller without a tenant is one of its own."""
    return f"tenant:{caller.tenant}" if caller.tenant else f"caller:{caller.id}"
