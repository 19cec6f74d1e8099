"""A second attempt when the first token is late: when there is one, who wins, what is counted, what is left behind."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import pytest
from cells import rows
from clock import jump
from fake_openai import Reply, fake_openai, say
from fake_openai import event as sse
from journals import MemoryJournal
from races import ends, named, nothing_left, order, question, scripted, whole
from servers import eventually

from app.errors import ModelError
from app.events import Usage
from app.llm import openai
from app.llm.hedge import ENOUGH, SAVED, Hedges, Lateness
from app.llm.model import Attempt, Finish, Item, LanguageModel, Pieces, Prompt
from app.llm.options import ProviderOptions
from app.question import LaneName, Message
from app.reasoning.race import Terms
from app.reasoning.runs import Bounds, Runs

PROMPT: Final = Prompt((Message("user", "What is six times seven?"),))
STOP: Final = Finish("stop", "m-1")
FOREVER: Final = 1e6
Step = float | Item | ModelError


@dataclass
class Told:
    """Plays another script each time it is asked, the last one again and again. closed: which have ended."""

    scripts: list[list[Step]]
    name: str = "fake:told"
    asked: int = 0
    closed: list[int] = field(default_factory=list)

    async def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:  # noqa: ARG002  # as LanguageModel has it
        """Play the next script."""
        number = self.asked
        self.asked += 1
        try:
            for step in self.scripts[min(number, len(self.scripts) - 1)]:
                if isinstance(step, ModelError):
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    yield step
        finally:
            self.closed.append(number)

    async def close(self) -> None:
        """Hold nothing."""


def said(text: str) -> Pieces:
    """A piece of the answer."""
    return Pieces("answer", [text])


def played(after_s: float | None = 1.0, after_p: float | None = None, budget: float = 1.0) -> Hedges:
    """Hedges of that patience."""
    return Hedges(Lateness(after_s, after_p, budget), asyncio.get_running_loop().time)


async def collect(model: LanguageModel) -> list[Item]:
    """Everything that one ask yields."""
    async with aclosing(model.ask(PROMPT)) as stream:
        return [item async for item in stream]


def heard(*scripts: list[Step], after_s: float = 1.0) -> tuple[list[Item], Told, float]:
    """What is heard of a model with these scripts, the model, and how long it took."""
    told = Told(list(scripts))

    async def main() -> tuple[list[Item], Told, float]:
        """The test, on a clock that jumps."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        items = await collect(played(after_s).wrap("slow", told))
        return items, told, loop.time() - began

    return jump(main())


def test_in_time() -> None:
    """A first token in time is the only attempt's."""
    items, told, took = heard([0.9, said("a"), 5.0, said("b"), STOP])
    assert items == [said("a"), said("b"), STOP]
    assert told.asked == 1
    assert took == pytest.approx(5.9)


def test_late() -> None:
    """When the first token is late the model is asked again; who speaks first wins, and the other is closed."""
    items, told, took = heard([3.0, said("slow"), STOP], [0.5, said("quick"), 0.1, STOP])
    assert items == [Attempt(2), said("quick"), STOP]
    assert told.asked == 2
    assert took == pytest.approx(1.6)
    assert told.closed[0] == 0


def test_the_first_may_still_win() -> None:
    """The first attempt wins when it speaks before the second one."""
    items, told, took = heard([1.2, said("first"), 1.0, STOP], [0.5, said("second"), STOP])
    assert items == [Attempt(2), said("first"), STOP]
    assert told.closed == [1, 0]
    assert took == pytest.approx(2.2)


def test_thinking_speaks() -> None:
    """Thinking is progress: a model that thinks in time is not asked again."""
    items, told, _ = heard([0.5, Pieces("thinking", ["hm"]), 9.0, said("a"), STOP])
    assert told.asked == 1
    assert len(items) == 3


@rows(
    "poor",
    [[0.1, said(" \n"), 9.0, said("late")], [0.1, STOP], [0.1, ModelError("e", "failed")], [0.1, Usage(1), 9.0, STOP]],
)
def test_who_never_wins(poor: list[Step]) -> None:
    """White space, an empty answer, an error and a count of tokens do not win while the other attempt may speak."""
    items, told, took = heard([2.0, said("whole"), STOP], poor)
    assert [item for item in items if item != Attempt(2)] == [said("whole"), STOP]
    assert told.asked == 2
    assert took == pytest.approx(2.0)


def test_both_fail() -> None:
    """When neither attempt speaks the lane hears the first one's failure."""
    with pytest.raises(ModelError, match="one"):
        heard([2.0, ModelError("e", "one")], [2.0, ModelError("e", "two")])


def test_an_answer_without_text_is_better_than_an_error() -> None:
    """When one attempt ends empty and the other with an error, the lane hears the empty one."""
    assert heard([2.0, ModelError("e", "one")], [2.0, STOP])[0] == [Attempt(2), STOP]


@pytest.mark.parametrize("failure", [ModelError("e", "failed"), STOP])
def test_only_lateness_triggers(failure: Step) -> None:
    """A model that fails or ends before its first token was late is not asked again."""
    told = Told([[0.5, failure], [said("again"), STOP]])

    async def main() -> None:
        """The test, on a clock that jumps."""
        with pytest.raises(ModelError) if isinstance(failure, ModelError) else contextlib.nullcontext():
            assert await collect(played().wrap("slow", told)) == [failure]

    jump(main())
    assert told.asked == 1


def test_budget() -> None:
    """Second attempts are never more than their share of all asks, and quiet times save up for few of them."""
    told = Told([[2.0, said("a"), STOP]])

    async def main() -> list[int]:
        """The test, on a clock that jumps."""
        hedges = played(budget=0.05)
        model, again = hedges.wrap("slow", told), []
        for _ in range(200):
            await collect(model)
            again.append(hedges.tallies["slow", told.name].again)
        return again

    again = jump(main())
    assert all(count <= (asked + 1) * 0.05 + 1e-9 for asked, count in enumerate(again))
    assert again[-1] == 10
    assert SAVED <= 5


def test_percentile() -> None:
    """By percentile, a first token is late when it takes longer than that share of the model's own lately did."""
    usual: list[list[Step]] = [[0.1 * (n % 10 + 1), said("a"), STOP] for n in range(ENOUGH)]
    told = Told([*usual, [9.0, said("z"), STOP]])

    async def main() -> tuple[int, float]:
        """The test, on a clock that jumps."""
        hedges = played(None, 0.9)
        model = hedges.wrap("slow", told)
        for _ in range(ENOUGH):
            await collect(model)
        assert told.asked == ENOUGH
        told.scripts.append([0.5, said("again"), STOP])
        began = asyncio.get_running_loop().time()
        await collect(model)
        return told.asked, asyncio.get_running_loop().time() - began

    asked, took = jump(main())
    assert asked == ENOUGH + 2
    assert took == pytest.approx(1.5)


class Pair:
    """A catalogue with one slow model, hedged."""

    def __init__(self, told: Told) -> None:
        self._hedges = played()
        self._told = told
        self._others = scripted()

    def get(self, lane: LaneName, name: str) -> LanguageModel:
        """The lane's model."""
        return self._others.get(lane, name) if lane == "fast" else self._hedges.wrap(lane, self._told)


QUESTION_TOKENS: Final = 6


# What the second attempt says before the lane ends, and what the lane then used.
@rows(
    ("script", "outcome", "usage"),
    [
        ([said("42"), Usage(9, 1, 0, 4, "reported"), STOP], "completed", Usage(18, 1, 0, 4, "estimated")),
        ([said("42"), STOP], "completed", Usage(2 * QUESTION_TOKENS, 1, 0, None, "estimated")),
        ([said("42")], "incomplete", Usage(2 * QUESTION_TOKENS, 1, 0, None, "estimated")),
        ([FOREVER], "timeout", Usage()),
    ],
)
def test_what_both_used(script: list[Step], outcome: str, usage: Usage) -> None:
    """The record of a lane that was asked twice says so, and counts both attempts as far as they are known."""

    async def main() -> None:
        """The test, on a clock that jumps."""
        told, journal = Told([[FOREVER], script]), MemoryJournal()
        runs = Runs(Pair(told), journal, Terms(), Bounds(disconnect_grace_s=0.5))
        log = await whole(runs.open(order(question(slow="fake:told"))))
        assert ends(log)["slow"]["outcome"] == outcome
        record = journal.closings[-1].lanes["slow"]
        assert (record.attempt, record.end.usage) == (2, usage)
        assert journal.closings[-1].lanes["fast"].attempt == 1
        assert named(log, "done")
        assert sorted(told.closed) == [0, 1]
        await nothing_left(runs)

    jump(main())


class Deaf(Told):
    """The first attempt says nothing, and goes on for long whatever it is told; the others play the script."""

    def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:
        """Play."""
        self.asked += 1
        return self._deaf() if self.asked == 1 else super().ask(prompt)

    async def _deaf(self) -> AsyncGenerator[Item, None]:
        loop = asyncio.get_running_loop()
        until = loop.time() + 100.0
        while loop.time() < until:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(until - loop.time())
        yield STOP


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ([said("42"), STOP], ("completed", None)),
        ([said("42")], ("incomplete", "no_finish")),
        ([said("42"), ModelError("upstream_cut", "cut")], ("failed", "upstream_cut")),
    ],
)
def test_a_loser_that_does_not_stop(script: list[Step], how: tuple[str, str | None]) -> None:
    """A lane ends as its winner did and when it did, though the other attempt swallows its cancellation."""

    async def main() -> None:
        """The test, on a clock that jumps."""
        runs = Runs(Pair(Deaf([script])), MemoryJournal(), Terms(), Bounds())
        end = ends(await whole(runs.open(order(question(slow="fake:told")))))["slow"]
        assert (end["outcome"], end["reason"]) == how
        assert end["latency_ms"] <= 1300  # it was asked again after a second
        await asyncio.sleep(100.0)
        await nothing_left(runs)

    jump(main())


class InTurn(dict[str, Reply]):
    """Replies that come one after another, whatever is asked for."""

    def __init__(self, *replies: Reply) -> None:
        super().__init__()
        self._replies = iter(replies)

    def get(self, *_: object) -> Reply:
        """The next one."""
        return next(self._replies)


async def test_upstream_sees_the_loser_close() -> None:
    """Upstream sees the silent attempt close as soon as the other one speaks, while that one goes on."""
    async with fake_openai() as fake:
        fake.replies = InTurn(Reply(("hang",)), Reply((sse(say("42")), "hang")))
        model = openai.open_model("m", ProviderOptions(base_url=fake.base_url))
        stream = played(0.01).wrap("slow", model).ask(PROMPT)
        assert [await anext(stream), await anext(stream)] == [Attempt(2), said("42")]
        await eventually(lambda: (fake.stats.active, fake.stats.aborted) == (1, 1), 0.25)
        await stream.aclose()
        await fake.until_idle()
        await model.close()
