"""Several samples, one answer: what is extracted from each, which one stands, and what cancelling leaves."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from cells import rows
from clock import jump

from app.errors import ModelError
from app.events import Usage
from app.llm import deliberate
from app.llm.consensus import final_answer, majority
from app.llm.model import CHARS_PER_TOKEN, Finish, Item, Pieces, Prompt
from app.llm.options import ProviderOptions
from app.llm.scripted import open_model
from app.question import Message

PROMPT = Prompt((Message("user", "?"),))


class Recital:
    """A model whose asks say one line after the other; an error is raised, None hangs."""

    name = "recital:lines"

    def __init__(self, *lines: str | ModelError | None) -> None:
        self.lines = iter(lines)
        self.live = 0
        self.prompts: list[Prompt] = []

    async def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:
        """Say the next line."""
        self.prompts.append(prompt)
        line = next(self.lines)
        self.live += 1
        try:
            if isinstance(line, ModelError):
                raise line
            if line is None:
                await asyncio.Event().wait()
            yield Pieces("answer", [line or ""])
            yield Usage(3, 2, source="reported")
            yield Finish("stop", "r1")
        finally:
            self.live -= 1

    async def close(self) -> None:
        """Nothing is held."""


async def said(model: Recital, samples: int, prompt: Prompt = PROMPT) -> tuple[list[Item], str, str]:
    """All items, the thinking and the answer."""
    items = [item async for item in deliberate.wrap(str(samples), model).ask(prompt)]
    return items, spoken(items, "thinking"), spoken(items, "answer")


def spoken(items: list[Item], kind: str) -> str:
    """All text of that kind."""
    return "".join("".join(item.texts) for item in items if isinstance(item, Pieces) and item.kind == kind)


@rows(
    ("text", "kind", "key"),
    [
        ("12 * 12 is 144.", "number", "144"),
        ("First 3, then 1,200.50 euros", "number", "1200.5"),
        ("The answer is (B).", "choice", "B"),
        ("C) because of the wind", "choice", "C"),
        ("A", "choice", "A"),
        ("A dog is an animal.", "text", "a dog is an animal"),
        ("Yes, since 1990.", "yes or no", "yes"),
        ("no", "yes or no", "no"),
        ("Nobody knows.", "text", "nobody knows"),
        ("Paris!", "text", "paris"),
    ],
)
def test_final_answer(text: str, kind: str, key: str) -> None:
    """The final answer of a text is its choice, its yes or no, its last number, or its words."""
    answer = final_answer(text)
    assert (answer.kind, answer.key) == (kind, key)


@rows(
    ("texts", "index", "votes"),
    [
        (["It is 4.", "5", "I say 4"], 0, 2),
        (["It is Lyon.", "The capital of France is Paris.", "Paris is the capital of France."], 1, 2),
        (["Yes.", "No.", "No, never."], 1, 2),
        (["1", "2"], 0, 1),
        (["cats sleep", "dogs bark loudly here", "dogs bark at cats there"], 2, 1),
        (["alone"], 0, 1),
    ],
)
def test_majority(texts: list[str], index: int, votes: int) -> None:
    """The largest group of equal answers stands; without one, the text most like the others."""
    assert (majority(texts).index, majority(texts).votes) == (index, votes)


async def test_the_majority_is_kept() -> None:
    """The majority's answer is streamed word by word, its share ends the thinking, and the usage is summed."""
    items, thinking, answer = await said(Recital("It is 4.", "It is 5.", "It is 4."), 3)
    assert answer == "It is 4."
    assert thinking.endswith("\n2 of 3 samples agree.\n")
    assert "Sample 2: It is 5.\n" in thinking
    assert [item for item in items if isinstance(item, Usage)][-1] == Usage(9, 6, source="reported")
    assert items[-1] == Finish("stop", "r1")


async def test_samples_are_warm_and_short() -> None:
    """A sample is asked at a temperature and with a cap of its own, unless the question has them."""
    model = Recital("a", "b", "c", "d")
    await said(model, 2)
    await said(model, 2, Prompt(PROMPT.messages, 7, 0.1))
    assert [(p.temperature, p.max_output_tokens) for p in model.prompts] == [(0.7, 64)] * 2 + [(0.1, 7)] * 2


async def test_a_failed_sample_is_left_out() -> None:
    """A sample that fails is left out, and the thinking says how many came through."""
    _, thinking, answer = await said(Recital(ModelError("x", "down"), "4", ModelError("x", "down")), 3)
    assert answer == "4"
    assert thinking.endswith("Only 1 of 3 samples came through.\n1 of 1 samples agree.\n")


async def test_all_samples_fail() -> None:
    """When every sample fails, the last one's error is raised."""
    with pytest.raises(ModelError, match="second"):
        await said(Recital(ModelError("x", "first"), ModelError("y", "second")), 2)


async def test_samples_are_shown_as_they_come() -> None:
    """The first sample is shown while another still hangs; closing then ends every sample and task."""
    before = asyncio.all_tasks()
    model = Recital("early", None, None)
    async with aclosing(deliberate.wrap("3", model).ask(PROMPT)) as items:
        assert await anext(items) == Pieces("thinking", ["Sample 1: early\n"])
        assert model.live == 2
    assert model.live == 0
    assert asyncio.all_tasks() == before


async def test_usage_runs_along() -> None:
    """What finished samples used is told before the others end, as an estimate."""
    async with aclosing(deliberate.wrap("3", Recital("early", None, None)).ask(PROMPT)) as items:
        await anext(items)
        assert await anext(items) == Usage(3, 2, source="estimated")


async def test_a_sample_that_still_speaks_is_counted() -> None:
    """What samples that still speak have read and said counts as well, by an estimate, shown or not."""
    talking = open_model("endless?first=0&gap=0", ProviderOptions())
    items: list[Item] = []
    async with aclosing(deliberate.wrap("3", talking).ask(PROMPT)) as stream:
        while not items or not isinstance(items[-1], Usage):
            items.append(await anext(stream))
    shown = len(spoken(items, "thinking").removeprefix("Sample 1: "))
    assert isinstance(items[-1], Usage)
    assert items[-1] == Usage(3, 3 * -(-shown // CHARS_PER_TOKEN), 0, source="estimated")


def test_a_straggler_is_given_up() -> None:
    """Once a majority is whole, a sample that hangs is waited for two seconds, then given up, which is said."""

    async def run() -> None:
        """Two answers and one that never comes."""
        start = asyncio.get_running_loop().time()
        _, thinking, answer = await said(Recital("4", None, "4"), 3)
        assert asyncio.get_running_loop().time() - start == pytest.approx(deliberate.LEAST_PATIENCE_S)
        assert "Gave up waiting for 1 of 3 samples." in thinking
        assert answer == "4"

    jump(run())


async def test_a_sample_is_bounded() -> None:
    """A sample that goes on and on is cut, and says that its length ended it."""
    items, _, answer = await said(Recital("x" * 50_000, "x" * 50_000), 2)
    assert len(answer) == deliberate.MAX_SAMPLE_CHARS
    assert items[-1] == Finish("length")


async def test_thinking_is_passed_on() -> None:
    """What the wrapped model thinks is shown as thinking and has no vote."""
    model = open_model("think?first=0&gap=0&tokens=3", ProviderOptions())
    items = [item async for item in deliberate.wrap("2", model).ask(Prompt(PROMPT.messages, 64))]
    assert "Let me see" in spoken(items, "thinking")
    assert "Let me see" not in spoken(items, "answer")


async def test_cancelling_ends_every_sample() -> None:
    """A cancelled ask leaves no sample and no task."""
    before = asyncio.all_tasks()
    model = Recital(*[None] * 7)
    asking = asyncio.create_task(said(model, 7))
    await asyncio.sleep(0.01)
    assert model.live == deliberate.AT_ONCE
    asking.cancel()
    await asyncio.wait({asking}, timeout=1)
    assert asking.cancelled()
    assert model.live == 0
    assert asyncio.all_tasks() == before


@rows("argument", ["", "1", "16", "five", "-3", "²"])
def test_the_number_of_samples_is_bounded(argument: str) -> None:
    """A number of samples outside 2 to 15 is refused."""
    with pytest.raises(ValueError, match="from 2 to 15"):
        deliberate.wrap(argument, Recital())
