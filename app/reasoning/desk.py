"""Who answers a question: a live run that is shared, an answer that is stored, or a race of its own.

In prose: an idempotency key that was used before leads to its run. Else, unless the caller wants otherwise, a live run
of the same question is joined, here or on another instance; else a stored answer is told again; else a race begins,
which whoever asks the same joins from then on. Askers of one question wait for each other before they look beyond this
process, so that of any number who come at once one looks and one asks the models.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple
from weakref import WeakValueDictionary

from msgspec.structs import replace

from app.admission.gate import OPEN, Gate, Spent
from app.answers.answer import Answer
from app.answers.cache import Cache
from app.question import Caller, Key, Question
from app.reasoning.elsewhere import Elsewhere, Flight
from app.reasoning.idempotency import IdempotencyKeys
from app.reasoning.log import Log
from app.reasoning.order import Order
from app.reasoning.run import Run
from app.reasoning.runs import Runs


class Asked(NamedTuple):
    """The log that answers a question, and how it came by it. guest: another request opened the run."""

    log: Log
    source: Literal["live", "attached", "cache"]
    guest: bool = False


class Again(NamedTuple):
    """The question was asked before under the same idempotency key: this is its run."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Rules:
    """How questions are treated. keyer: what an answer is found by; gate: asked right before the models are; waits_s:
    how long it may take to let a question in.
    """

    keyer: Callable[[Question, Caller], Key]
    gate: Gate = OPEN
    waits_s: float = 0.0


class Desk:
    """Takes questions. Belongs to one event loop."""

    def __init__(
        self,
        runs: Runs,
        rules: Rules,
        keys: IdempotencyKeys,
        elsewhere: Elsewhere,
        cache: Cache | None = None,
    ) -> None:
        self._runs = runs
        self._key = rules.keyer
        self._gate = rules.gate
        self._waits_s = rules.waits_s
        self._keys = keys
        self._elsewhere = elsewhere
        self._cache = cache
        self._doors: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    async def ask(self, question: Question, caller: Caller, idempotency_key: str | None = None) -> Asked | Again:
        """The log to read. Raises what Runs.open raises, and IdempotencyKeyReused; then nothing was begun."""
        order = self._order(question, caller, idempotency_key)
        if order.idempotency_key is None:
            return await self._answer(order)
        async with self._keys.use(order) as use:
            if use.before is not None:
                return Again(use.before)
            asked = await self._answer(order)
            use.after = asked.log.run_id
            return asked

    async def ask_anew(self, question: Question, caller: Caller, idempotency_key: str, lost: str) -> Asked | Again:
        """As ask, after the run that the key stood for turned out to be none: its server died before it was opened."""
        await self._keys.forget(self._order(question, caller, idempotency_key), lost)
        return await self.ask(question, caller, idempotency_key)

    def _order(self, question: Question, caller: Caller, idempotency_key: str | None) -> Order:
        hashed = None if idempotency_key is None else hashlib.sha256(idempotency_key.encode()).hexdigest()
        return Order(question, caller, self._key(question, caller), hashed)

    async def _answer(self, order: Order) -> Asked:
        if order.question.cache != "use" or self._cache is None:
            return await self._race(order)
        return self._at_hand(order) or await self._look(order)

    def _at_hand(self, order: Order) -> Asked | None:
        """What this process has, without waiting."""
        run = self._runs.flight(order.key)
        if run is not None and _suits(_flight(run), order):
            return self._join(run, order)
        answer = cache.at_hand(order.key) if (cache := self._stored(order)) is not None else None
        return None if answer is None else self._replay(order, answer)

    def _stored(self, order: Order) -> Cache | None:
        """The stored answers, unless none may be kept for this class of questions."""
        cache = self._cache
        return None if cache is None or cache.until(order.question.labels.prompt_class) is None else cache

    async def _look(self, order: Order) -> Asked:
        """Look beyond this process, one asker of a question at a time; in the end, race."""
        door = self._doors.setdefault(order.key, asyncio.Lock())
        async with door:
            asked = self._at_hand(order)
            if asked is not None:
                return asked
            answer = await cache.find(order.key) if (cache := self._stored(order)) is not None else None
            if answer is not None:
                return self._replay(order, answer)
            return await self._join_elsewhere(order)

    async def _join_elsewhere(self, order: Order) -> Asked:
        """A run of another instance, if one answers this and suits; else it is ours to answer."""
        if not order.may_be_shown:
            return await self._race(order)
        latest = time.time() + self._waits_s + order.question.deadline_s  # a deadline begins when the line is passed
        wanted = Flight(order.run_id, latest, *_terms(order.question))
        flying = await self._elsewhere.claim(order.key, wanted)
        if flying is None:
            try:
                return await self._race(order)
            except (Exception, asyncio.CancelledError):  # refused, left, or a fault of ours: nobody is to wait for it
                await self._elsewhere.unclaim(order.key, wanted)
                raise
        if not _suits(flying, order, self._waits_s):
            return await self._race(order)
        finish = order.question.on_disconnect == "finish"
        log = await self._elsewhere.tail(flying.run_id, order.caller, guest=True, finish=finish)
        return await self._race(order) if log is None or not _goes_on(log) else self._join(log, order)

    def _join(self, log: Log, order: Order) -> Asked:
        """Read a run that is there."""
        self._runs.share(log, order)
        return Asked(log, "attached", guest=True)

    def _replay(self, order: Order, answer: Answer) -> Asked:
        assert self._cache is not None, "an answer came from it"
        run = self._runs.replay(order, answer)
        self._cache.credit(answer)
        if order.question.replay == "paced" and order.may_be_shown:
            self._elsewhere.publish(run)
        return Asked(run, "cache")

    async def _race(self, order: Order) -> Asked:
        """A race of its own, once it is let in; one that could not be opened takes no place from others."""
        self._runs.check(order.question)
        admitted = await self._gate.enter(order.caller, order.question)
        try:
            run = self._runs.open(replace(order, admitted=admitted))
        except Exception:  # whatever kept it from opening, its place and its money are the next one's
            admitted.settle(Spent(0, 0))
            raise
        if order.may_be_shown:
            self._elsewhere.publish(run)
        return Asked(run, "live")


def _terms(question: Question) -> tuple[str | None, str | None, tuple[float, ...]]:
    """What two requests must have in common to share a run, and how long they give its lanes."""
    limits = [(ask.timeout_s, ask.first_token_timeout_s, ask.idle_timeout_s) for ask in (question.fast, question.slow)]
    return question.labels.experiment, question.labels.variant, tuple(chain(*limits))


def _flight(run: Run) -> Flight:
    remaining_s = run.deadline - run.loop.time()
    return Flight(run.run_id, time.time() + remaining_s, *_terms(run.question))


def _goes_on(log: Log) -> bool:
    """Whether it may still bring an answer: what has been claimed stays so for a moment longer."""
    return log.joinable if isinstance(log, Run) else not log.closed


def _suits(flight: Flight, order: Order, waits_s: float = 0.0) -> bool:
    """Whether a request may share the run: it ends no later than the request would, gives its lanes no less time, and
    both count for one variant. waits_s: how long the request, too, might wait to be let in.
    """
    experiment, variant, limits = _terms(order.question)
    if (flight.experiment, flight.variant) != (experiment, variant) or len(flight.limits) != len(limits):
        return False
    patient = all(given >= wanted for given, wanted in zip(flight.limits, limits, strict=True))
    return patient and flight.deadline_at <= time.time() + waits_s + order.question.deadline_s
