"""A model that is asked a second time when its first token is late: the first of the two that speaks is listened to.

Nothing but the first token triggers it: an error, or a slow middle, never does. White space is no token, and neither an
error nor an empty answer wins while the other attempt may still speak. How many second attempts there are is bounded by
a share of all asks.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Final

from cachetools import LRUCache

from app.llm.model import Attempt, Item, LanguageModel, Pieces, Prompt
from app.question import LaneName

logger = logging.getLogger(__name__)

LOSER_S: Final = 0.25  # for the attempt that lost to stop, when the other one has ended
SAVED: Final = 5.0  # second attempts that quiet times save up for a bad one
REMEMBERED: Final = 256
MODELS: Final = 512  # of which something is known, the last ones that were wanted
ENOUGH: Final = 50  # first tokens from which a percentile says something
AGAIN_EVERY: Final = 16  # first tokens, between two looks at the percentile


@dataclass(frozen=True, slots=True)
class Lateness:
    """When a first token is late: after_s seconds, or beyond the percentile after_p (0 to 1) of the model's own; given
    both, when it is both. budget: second attempts as a share of all asks.
    """

    after_s: float | None
    after_p: float | None
    budget: float


@dataclass(slots=True)
class Tally:
    """How often one lane's model was asked: by lanes, a second time, and how often the second attempt spoke first."""

    asked: int = 0
    again: int = 0
    won: int = 0


@dataclass(slots=True)
class _History:
    """What is known of one lane's model. saved: second attempts that may be made now."""

    tally: Tally = field(default_factory=Tally)
    saved: float = 0.0
    firsts: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    late_s: float | None = None

    def note(self, seconds: float, share: float) -> None:
        """A first token took so long."""
        self.firsts.append(seconds)
        if len(self.firsts) >= ENOUGH and (self.late_s is None or self.tally.asked % AGAIN_EVERY == 0):
            self.late_s = sorted(self.firsts)[min(int(share * len(self.firsts)), len(self.firsts) - 1)]

    def earn(self, budget: float) -> None:
        """It is asked once more."""
        self.tally.asked += 1
        self.saved = min(self.saved + budget, SAVED)

    def spend(self) -> bool:
        """Whether a second attempt may be made; it counts as made."""
        if self.saved < 1 - 1e-9:
            return False
        self.saved -= 1
        self.tally.again += 1
        return True


class Hedges:
    """Makes models ask twice, and knows how each lane's models did. clock: that of the loop."""

    def __init__(self, lateness: Lateness, clock: Callable[[], float]) -> None:
        self._lateness = lateness
        self._clock = clock
        self._known: LRUCache[tuple[LaneName, str], _History] = LRUCache(MODELS)

    def wrap(self, lane: LaneName, model: LanguageModel) -> LanguageModel:
        """The model as that lane asks it."""
        return Hedged(model, self._known.setdefault((lane, model.name), _History()), self._lateness, self._clock)

    @property
    def tallies(self) -> dict[tuple[LaneName, str], Tally]:
        """By lane and model."""
        return {name: history.tally for name, history in self._known.items()}


class Hedged:
    """One lane's model. It holds nothing; whoever opened the model closes it."""

    def __init__(self, model: LanguageModel, history: _History, lateness: Lateness, clock: Callable[[], float]) -> None:
        self.name = model.name
        self._model = model
        self._history = history
        self._lateness = lateness
        self._clock = clock

    async def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:
        """The stream of the attempt that speaks first; the other one is closed at once, and both are in the end."""
        history, began = self._history, self._clock()
        history.earn(self._lateness.budget)
        attempts = [_Attempt(self._model.ask(prompt))]
        waits_s: float | None = None  # who is cancelled waits for both: a lane that hangs is seen by its race
        try:
            await asyncio.wait({attempts[0].task}, timeout=self._late_s())
            if not attempts[0].task.done() and history.spend():
                attempts.append(_Attempt(self._model.ask(prompt)))
                yield Attempt(2)
            chosen = await _first(attempts)
            for other in attempts:
                if other is not chosen:
                    other.drop()
            if chosen.spoke:
                self._note(self._clock() - began, second=chosen is not attempts[0])
            for item in chosen.heard:
                yield item
            chosen.task.result()
            async for item in chosen.stream:
                yield item
            waits_s = LOSER_S
        except Exception:  # a failure, and no cancellation: what lost is given its time to end, then it goes on
            waits_s = LOSER_S
            raise
        finally:
            await _ended(attempts, waits_s)

    def _note(self, seconds: float, *, second: bool) -> None:
        self._history.tally.won += second
        if self._lateness.after_p is not None:
            self._history.note(seconds, self._lateness.after_p)

    async def close(self) -> None:
        """Hold nothing."""

    def _late_s(self) -> float | None:
        """How long to wait for a first token; None: for ever."""
        after_s, late_s = self._lateness.after_s, self._history.late_s
        if self._lateness.after_p is None:
            return after_s
        return None if late_s is None else max(late_s, after_s or 0.0)


class _Attempt:
    """One ask, heard by a task of its own until its first token; after that whoever owns it reads the stream itself."""

    def __init__(self, stream: AsyncGenerator[Item, None]) -> None:
        self.stream = stream
        self.heard: list[Item] = []
        self.spoke = False
        self._closing: asyncio.Task[None] | None = None
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for item in self.stream:
            self.heard.append(item)
            if isinstance(item, Pieces) and not all(map(str.isspace, item.texts)):
                self.spoke = True
                return

    @property
    def failed(self) -> bool:
        """Whether it has ended with an error."""
        return not self.task.cancelled() and self.task.exception() is not None

    def drop(self) -> asyncio.Task[None]:
        """Begin to stop it, once; upstream sees that."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        return self._closing

    async def _close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)  # an error that nobody wants to hear
        await self.stream.aclose()


async def _ended(attempts: list[_Attempt], waits_s: float | None) -> None:
    """Stop them all, and wait for that so long, None: for ever."""
    if len(attempts) == 1 and attempts[0].task.done():  # the usual case needs no task
        await attempts[0].stream.aclose()
        return
    _, left = await asyncio.wait({attempt.drop() for attempt in attempts}, timeout=waits_s)
    if left:
        logger.warning("an attempt that lost did not stop when it was cancelled")


async def _first(attempts: list[_Attempt]) -> _Attempt:
    """The one that speaks first; if none does, one that ended without an error, or else the first."""
    while True:
        spoken = [attempt for attempt in attempts if attempt.spoke]
        if spoken:
            return spoken[0]
        pending = {attempt.task for attempt in attempts if not attempt.task.done()}
        if not pending:
            return min(attempts, key=lambda attempt: attempt.failed)
        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
