"""The gate that protects the server: a bound on races, a short line before it, and nobody new while it is strained."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

import msgspec

from app.admission.ceiling import Ceiling
from app.admission.gate import Pass, Spent
from app.admission.queue import Line, Place
from app.errors import Overloaded, QueueFull, QueueTimeout, Refusal, ShuttingDown
from app.question import Caller, Question

Strain = Callable[[], str | None]  # why no new race may begin now
Waiting = Place[asyncio.Future[None]]


class Visit(msgspec.Struct, frozen=True):
    """The request behind a question: since when it is here, by the loop's clock, and what is done when it has left.

    Behind the gate's back, because a question may wait elsewhere first: for whoever asks the same before it.
    """

    since: float
    gone: asyncio.Future[None] | None = None


VISIT: Final[ContextVar[Visit | None]] = ContextVar("visit", default=None)


def unstrained() -> None:
    """All is well."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many races there may be at a time, how many questions wait for one, and for how long, in seconds.

    late_s: how late the event loop may be, before there may be fewer races.
    """

    races: int
    length: int
    timeout_s: float
    late_s: float = math.inf


class Admitted:
    """A place among the races."""

    __slots__ = ("_caller", "_load", "_since", "queued_ms")

    def __init__(self, load: "Load", caller: Caller, since: float, queued_ms: int = 0) -> None:
        self._load = load
        self._caller = caller
        self._since = since
        self.queued_ms = queued_ms

    def settle(self, spent: Spent) -> None:  # noqa: ARG002  # as Pass has it
        """Whoever is next takes the place."""
        self._load.release(self._caller, self._since)


class Load:
    """Lets in as many as there are places, the others after a short wait, if at all. Belongs to one event loop.

    refused: how many were sent away, by code.
    """

    def __init__(self, capacity: Capacity, strain: Strain = unstrained) -> None:
        self._ceiling = Ceiling(capacity.races, capacity.late_s)
        self._strain = strain
        self._line: Line[asyncio.Future[None]] = Line(capacity.length, capacity.timeout_s)
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._let_by = self._room = 0  # since the last look, while the loop is the bound
        self.refused: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._line.waiting

    @property
    def racing(self) -> int:
        """How many places are taken."""
        return self._line.held

    def turns_away(self) -> bool:
        """Whether who comes now has no hope and need not be heard, because the loop is the bound.

        As long as it is, no more are let by than there are places, to be refused inside for other reasons, or to need
        none.
        """
        if self._closed or not self._ceiling.binding:
            return False
        if self._let_by < self._room:
            self._let_by += 1
            return False
        self.refused[Overloaded.code] += 1
        return True

    async def enter(self, caller: Caller, question: Question) -> Pass:
        """A place. Raises ShuttingDown, Overloaded, QueueFull, QueueTimeout, also for a client that left."""
        if self._closed:
            raise self._counted(_shutting_down())
        strain = self._strain()
        if strain is not None:
            raise self._counted(Overloaded(f"{strain}; runs that are live go on, try again in a moment"))
        if self._line.held < self._ceiling.races:
            now = self._loop.time()
            self._line.take(caller, now)
            return Admitted(self, caller, now)
        visit = VISIT.get() or Visit(self._loop.time())
        await self._wait(Place(caller, visit.since, self._loop.create_future()), visit, question.deadline_s)
        now = self._loop.time()
        return Admitted(self, caller, now, round((now - visit.since) * 1000))

    def release(self, caller: Caller, since: float) -> None:
        """A place that this caller has had since then is free."""
        now = self._loop.time()
        self._line.give_back(caller, since, now)
        self._room += self._line.held < self._ceiling.races
        self._fill(now)

    def look(self, late_s: float) -> None:
        """The loop is so late: there may be fewer races now, or more again."""
        self._ceiling.look(late_s, self._line.held)
        self._let_by, self._room = 0, max(0, self._ceiling.races - self._line.held)
        self._fill(self._loop.time())

    def _fill(self, now: float) -> None:
        """Give away what is free."""
        while self._line.held < self._ceiling.races and (place := self._line.next(now)) is not None:
            if place.ticket.done():  # its wait is cancelled, and has not left the line yet
                self._line.give_back(place.caller, now, now)
            else:
                place.ticket.set_result(None)

    def close(self) -> None:
        """Let nobody in any more, and tell all who wait."""
        self._closed = True
        for place in list(self._line):
            self._send_away(place, _shutting_down())

    async def _wait(self, place: Waiting, visit: Visit, most_s: float) -> None:
        """Return with a place. A wait that is cancelled leaves the line, and gives back what it was given just now."""
        timer = self._line_up(place, most_s)

        def gone(_: object) -> None:
            self._send_away(place, QueueTimeout("the client left before it was its turn"))

        if visit.gone is not None:
            visit.gone.add_done_callback(gone)
        try:
            await place.ticket
        except asyncio.CancelledError:
            waited = self._line.leave(place, self._loop.time())
            if not waited and not place.ticket.cancelled() and place.ticket.exception() is None:
                self.release(place.caller, self._loop.time())
            raise
        finally:
            timer.cancel()
            if visit.gone is not None:
                visit.gone.remove_done_callback(gone)

    def _line_up(self, place: Waiting, most_s: float) -> asyncio.TimerHandle:
        """Enter the line, and set the time at which to leave it."""
        now = self._loop.time()
        loser = self._line.enter(place, now)
        if loser is not None:
            self._send_away(loser, QueueFull("more questions wait than can be answered in time; try again later"))
        patience_s = min(self._line.patience_s(now), most_s)
        return self._loop.call_at(max(now, place.since + patience_s), self._expire, place)

    def _expire(self, place: Waiting) -> None:
        self._send_away(place, QueueTimeout("no run became free in time (QUEUE_TIMEOUT_S); try again in a moment"))

    def _send_away(self, place: Waiting, why: Refusal) -> None:
        """Refuse one who waits, or was about to; nothing for one who has been told already."""
        self._line.leave(place, self._loop.time())
        if not place.ticket.done():
            place.ticket.set_exception(self._counted(why))

    def _counted(self, why: Refusal) -> Refusal:
        self.refused[why.code] += 1
        return why


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("this server is shutting down; ask another one, or again in a moment")
