"""What a question may use at most, as far as that can be told before it is asked: tokens, and their price."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol
from weakref import WeakValueDictionary

from cachetools import LRUCache

from app.admission.gate import LaneSpent, Spent
from app.question import LANES, LaneName, Question

CHARS_A_TOKEN: Final = 4
LOOK_S: Final = 0.25  # for the price of a model that was never asked before
NEEDED_S: Final = 5.0  # the same where nobody is let in without; to load all prices takes half a second
LOOKED: Final = 1000  # models that are remembered to have been looked up


class Price(Protocol):
    """What tokens of a model cost, in nano-dollars a token."""

    @property
    def input_nano(self) -> float:
        """A token that goes in."""
        ...

    @property
    def output_nano(self) -> float:
        """A token that comes out."""
        ...


class Amount(NamedTuple):
    """Tokens, and nano-dollars as far as a price is known."""

    tokens: int = 0
    cost_nano: int = 0


class Estimate(NamedTuple):
    """What each lane may use in all, and what the question alone takes that its model reads.

    unpriced: models that must have a price to be paid for, and have none that is known.
    """

    lanes: Mapping[LaneName, Amount]
    read: Mapping[LaneName, Amount]
    unpriced: tuple[str, ...] = ()

    @property
    def total(self) -> Amount:
        """Both lanes together."""
        return Amount(
            sum(each.tokens for each in self.lanes.values()), sum(each.cost_nano for each in self.lanes.values())
        )

    def settled(self, spent: Spent) -> tuple[Amount, Amount]:
        """What a run is charged: what is known of it, and what stands of the estimate where nothing is.

        Of a lane that nothing was heard of the question was read, if its model was asked at all; of a run that left no
        word the whole estimate stands.
        """
        if not spent.lanes:
            known = Amount(spent.tokens or 0, spent.cost_nano or 0)
            tokens, cost = spent.tokens is None, spent.cost_nano is None
            return known, Amount(self.total.tokens * tokens, self.total.cost_nano * cost)
        counted, stands = [0, 0], [0, 0]
        for name, lane in spent.lanes.items():
            for at, (real, supposed) in enumerate(zip(lane[:2], self._supposed(name, lane), strict=True)):
                counted[at] += real or 0
                stands[at] += supposed if real is None else 0
        return Amount(*counted), Amount(*stands)

    def _supposed(self, name: LaneName, lane: LaneSpent) -> Amount:
        if lane.tokens is not None:  # only its price is missing
            return self.lanes[name]
        return self.read[name] if lane.asked else Amount()


def alone(model: str) -> int:  # noqa: ARG001  # how often a model is asked for one answer
    """Once."""
    return 1


def never(model: str) -> bool:  # noqa: ARG001  # whether a model must have a price
    """None must."""
    return False


@dataclass(frozen=True, slots=True)
class Prices:
    """known: a price at once, if it was looked up before; look: looks it up; times: how often a lane asks its model;
    attempts: how often it may begin anew, for want of a first token.

    required: whether a model may cost money only at a price that is known.
    """

    known: Callable[[LaneName, str], Price | None]
    look: Callable[[LaneName, str], Awaitable[Price | None]]
    times: Callable[[str], int] = alone
    attempts: Callable[[str], int] = alone
    required: Callable[[str], bool] = never


class Estimator:
    """Four characters of input are a token; the output is as long as it may be, or default_output_tokens.

    A second attempt reads the question once more; only one of the two is heard.
    """

    def __init__(self, prices: Prices, default_output_tokens: int) -> None:
        self._prices = prices
        self._default = default_output_tokens
        self._looked: LRUCache[tuple[LaneName, str], Price | None] = LRUCache(LOOKED)
        self._doors: WeakValueDictionary[tuple[LaneName, str], asyncio.Lock] = WeakValueDictionary()

    async def of(self, question: Question) -> Estimate:
        """The estimate. The first one for a model takes longer, while its price is looked up."""
        given = math.ceil(sum(len(message.content) for message in question.messages) / CHARS_A_TOKEN)
        lanes, read, unpriced = {}, {}, []
        for name in LANES:
            lane = question.lane(name)
            times, most = self._prices.times(lane.model), lane.max_output_tokens or self._default
            price = self._prices.known(name, lane.model) or await self._look(name, lane.model)
            if price is None and self._prices.required(lane.model):
                unpriced.append(lane.model)
            reading, saying = (0.0, 0.0) if price is None else (price.input_nano, price.output_nano)
            twice = given * self._prices.attempts(lane.model)
            lanes[name] = Amount(times * (twice + most), math.ceil(times * (twice * reading + most * saying)))
            read[name] = Amount(times * given, math.ceil(times * given * reading))
        return Estimate(lanes, read, tuple(dict.fromkeys(unpriced)))

    async def _look(self, lane: LaneName, model: str) -> Price | None:
        """The price of a model that nobody knows yet; looked up once, as far as can be remembered, by one for all."""
        key = (lane, model)
        async with self._doors.setdefault(key, asyncio.Lock()):
            if key not in self._looked:
                price, most_s = None, NEEDED_S if self._prices.required(model) else LOOK_S
                with contextlib.suppress(TimeoutError):  # what is found later is known the next time
                    price = await asyncio.wait_for(self._prices.look(lane, model), most_s)
                self._looked[key] = price
            return self._looked[key]
