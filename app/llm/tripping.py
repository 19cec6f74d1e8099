"""Models behind their circuit breakers: while one is open its lane ends at once, and the other lane carries on.

`Guards` stands before the catalogue: it hands out models that look at their breaker when they are asked, and hears how
every lane ended. Nothing is added to what a model says.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from app.breaker import Limits, Windowed
from app.errors import ModelError
from app.events import LaneEnd, Usage
from app.llm.model import Item, LanguageModel, Prompt
from app.question import LANES, LaneAsk, LaneName

# These say nothing of a model's health: they are the question's doing, or the operator's.
_NOT_ITS_FAULT: Final = frozenset(
    {"upstream_bad_request", "upstream_unauthorized", "credentials_missing", "context_exceeded", "output_limit"}
)
_NEVER_ASKED: Final = frozenset({"breaker_open", "budget_share"})
_ROUNDED_MS: Final = 1.0
MOST: Final = 256  # breakers of models that no setting names


class Models(Protocol):
    """Where models come from."""

    def get(self, lane: LaneName, name: str) -> LanguageModel:
        """The model of that name for that lane; raises UnknownModel."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """What the server itself grants each lane, and a whole run: a caller who is less patient proves nothing."""

    lanes: dict[LaneName, LaneAsk]
    deadline_s: float

    def is_fault(self, lane: LaneName, ask: LaneAsk, end: LaneEnd) -> bool | None:
        """Whether the end of a lane that was not cancelled speaks against its model; None: it says nothing."""
        if end.outcome == "completed":
            return False
        if end.outcome == "refused" or end.reason in _NOT_ITS_FAULT:
            return None
        if end.outcome == "empty" and _smaller(ask.max_output_tokens, self.lanes[lane].max_output_tokens):
            return None
        if end.outcome == "timeout" and (_spoke(end) or not self._was_patient(self.lanes[lane], ask, end)):
            return None
        return True

    def _was_patient(self, own: LaneAsk, ask: LaneAsk, end: LaneEnd) -> bool:
        """Whether the lane waited as long as the server would have let it."""
        if end.latency_ms + _ROUNDED_MS >= 1000 * min(own.timeout_s, self.deadline_s):
            return True
        if end.reason == "first_token_timeout":
            return ask.first_token_timeout_s >= own.first_token_timeout_s
        if end.reason == "idle_timeout":
            return ask.idle_timeout_s >= own.idle_timeout_s
        return end.reason not in ("lane_timeout", "deadline")


def _spoke(end: LaneEnd) -> bool:
    """Whether the lane's time was over in the midst of its answer, as whoever asks for long ones can have it."""
    return end.ttft_ms is not None and end.reason in ("lane_timeout", "deadline")


def _smaller(cap: int | None, own: int | None) -> bool:
    """Whether a cap is below the server's own."""
    return (math.inf if cap is None else cap) < (math.inf if own is None else own)


def within_budget(lane: LaneName) -> bool:  # noqa: ARG001  # the shape of a governor
    """Every lane is."""
    return True


def unheard(key: str) -> None:
    """Nobody is told."""


def once(lane: LaneName, model: LanguageModel) -> LanguageModel:  # noqa: ARG001  # the shape of a hedge
    """Ask once."""
    return model


@dataclass(frozen=True, slots=True)
class Rules:
    """How models are guarded. key: the breaker that a lane's model belongs to; made: told of every new breaker;
    gone: of one that was given up, as its model was not wanted for long.

    affordable: whether a lane may spend now; hedge: the model as a lane asks it while it is well.
    """

    limits: Limits
    patience: Patience
    key: Callable[[LaneName, str], str]
    made: Callable[[str, Windowed], None]
    affordable: Callable[[LaneName], bool] = within_budget
    hedge: Callable[[LaneName, LanguageModel], LanguageModel] = once
    gone: Callable[[str], None] = unheard


class Guards:
    """Satisfies Models, and judges. clock: that of the loop.

    What nobody wanted for longest gives its breaker up to a newcomer, unless a setting names it or a hand holds it.
    """

    def __init__(self, models: Models, rules: Rules, clock: Callable[[], float]) -> None:
        self._models = models
        self._rules = rules
        self._clock = clock
        self._key = lru_cache(2 * MOST)(rules.key)
        self.place = lru_cache(4 * MOST)(self._place)  # the lane that has a model, wherever a caller puts it
        self._breakers: OrderedDict[str, Windowed] = OrderedDict()
        self._kept: set[str] = set()

    def get(self, lane: LaneName, name: str) -> LanguageModel:
        """The model, behind its breaker; one that refuses when the lane's share of the money is spent."""
        model = self._models.get(lane, name)
        if not self._rules.affordable(self.place(lane, name)):
            return Unaffordable(model.name)
        return Tripping(model, self._rules.hedge(lane, model), self._breaker(lane, name), self._clock)

    def know(self, lane: LaneName, name: str) -> None:
        """Have a breaker for that model before anybody asks for it, and for ever."""
        self._kept.add(self._key(lane, name))
        self._breaker(lane, name)

    def judge(self, lane: LaneName, ask: LaneAsk, end: LaneEnd) -> None:
        """A lane has just ended so."""
        if end.outcome == "cancelled" or end.reason in _NEVER_ASKED:
            return
        fault = self._rules.patience.is_fault(self.place(lane, ask.model), ask, end)
        breaker, now = self._breaker(lane, ask.model), self._clock()
        began = now - end.latency_ms / 1000
        if fault is None:
            breaker.undecided(began, now)
        elif fault:
            breaker.failed(began, now)
        else:
            breaker.succeeded(began, now)

    def _place(self, lane: LaneName, name: str) -> LaneName:
        """A model's time and money are those of the lane that has it."""
        key, own = self._key, self._rules.patience.lanes
        given = [each for each in LANES if key(each, own[each].model) == key(lane, name)]
        return given[0] if given and lane not in given else lane

    def _breaker(self, lane: LaneName, name: str) -> Windowed:
        key = self._key(lane, name)
        found = self._breakers.get(key)
        if found is None:
            self._make_room()
            found = self._breakers[key] = Windowed(self._rules.limits)
            self._rules.made(key, found)
        self._breakers.move_to_end(key)
        return found

    def _make_room(self) -> None:
        """Give up the breaker of the model that was wanted longest ago, if there are too many."""
        if len(self._breakers) - len(self._kept) >= MOST:
            free = (key for key, of in self._breakers.items() if key not in self._kept and of.held is None)
            key = next(free, None)
            if key is not None:
                del self._breakers[key]
                self._rules.gone(key)


class Tripping:
    """One lane's model. A probe asks the plain model, once; whoever opened the model closes it."""

    def __init__(
        self, model: LanguageModel, hedged: LanguageModel, breaker: Windowed, clock: Callable[[], float]
    ) -> None:
        self.name = model.name
        self._model = model
        self._hedged = hedged
        self._breaker = breaker
        self._clock = clock

    def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:
        """The model's own stream, unless its breaker is open."""
        now = self._clock()
        probe = self._breaker.ask(now)
        if probe is None:
            return _refusal(_resting(self._breaker.wait_s(now)))
        return self._probing(prompt, probe) if probe else self._hedged.ask(prompt)

    async def _probing(self, prompt: Prompt, probe: int) -> AsyncGenerator[Item, None]:
        """The model's stream; broken off it lets the next probe follow, for nothing was learnt."""
        stream = self._model.ask(prompt)
        try:
            async for item in stream:
                yield item
        except (asyncio.CancelledError, GeneratorExit):
            self._breaker.back(probe, self._clock())
            raise
        finally:
            await stream.aclose()

    async def close(self) -> None:
        """Hold nothing."""


class Unaffordable:
    """A model that nobody may pay for now."""

    def __init__(self, name: str) -> None:
        self.name = name

    def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:  # noqa: ARG002  # as LanguageModel has it
        """Refuse."""
        message = "Slow lanes have had their share of the money for now (SLOW_LANE_BUDGET_SHARE)."
        return _refusal(ModelError("budget_share", message, retryable=True, outcome="refused"))

    async def close(self) -> None:
        """Hold nothing."""


def _resting(wait_s: float) -> ModelError:
    message = f"The model failed too often lately and is left alone for about {math.ceil(wait_s)} s."
    return ModelError("breaker_open", message, retryable=True, outcome="refused")


async def _refusal(error: ModelError) -> AsyncGenerator[Item, None]:
    """A stream that ends before it began."""
    raise error
    yield Usage()  # what makes it a stream
