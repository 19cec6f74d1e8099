"""A slower, better answer out of any model: several samples, of which the majority's answer is kept.

`deliberate:5@local:smollm2` asks `local:smollm2` five times. The samples are shown as thinking while they come, one
after the other, each under its own number.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from msgspec import structs

from app.errors import ModelError
from app.events import Usage
from app.llm.consensus import majority
from app.llm.model import Finish, Item, LanguageModel, Pieces, Prompt, Warming, chars_of, estimated

FEWEST: Final = 2
MOST: Final = 15
AT_ONCE: Final = 5
TEMPERATURE: Final = 0.7
MAX_OUTPUT_TOKENS: Final = 64
MAX_SAMPLE_CHARS: Final = 20_000
LEAST_PATIENCE_S: Final = 2.0

_WORD: Final = re.compile(r"\s*\S+")


def wrap(argument: str, model: LanguageModel) -> "Deliberate":
    """That many samples of the model. ValueError when it is not a number from 2 to 15."""
    if not (argument.isascii() and argument.isdigit() and FEWEST <= int(argument) <= MOST):
        raise ValueError(f"deliberate needs a number of samples from {FEWEST} to {MOST}, as in deliberate:5@provider:x")
    return Deliberate(int(argument), model)


@dataclass(slots=True)
class Sample:
    """One answer as it comes. seen: its thinking and its text in the order they came; shown: so many characters of
    that; over: it has ended, well or not, or was given up; closed: its end was shown too.
    """

    text: str = ""
    seen: str = ""
    shown: int = 0
    closed: bool = False
    usage: Usage = field(default_factory=Usage)
    finish: Finish | None = None
    error: ModelError | None = None
    over: bool = False

    @property
    def whole(self) -> bool:
        """Whether it has a vote."""
        return self.finish is not None and bool(self.text.strip())


class Deliberate:
    """Wraps a model that it does not own: whoever opened that model closes it."""

    def __init__(self, samples: int, model: LanguageModel) -> None:
        self.name = f"deliberate:{samples}@{model.name}"
        self._count = samples
        self._model = model

    async def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:
        """Stream the samples as thinking, then the majority's answer. Closing it cancels every sample."""
        samples = [Sample() for _ in range(self._count)]
        async with aclosing(self._thinking(_shaped(prompt), samples)) as thinking:
            async for item in thinking:
                yield item
        whole = [sample for sample in samples if sample.whole]
        for item in _answer(whole, self._count) if whole else _nothing(samples):
            yield item

    async def warm(self) -> None:
        """Let the wrapped model load, if it is one that loads."""
        if isinstance(self._model, Warming):
            await self._model.warm()

    async def close(self) -> None:
        """Nothing is held between asks."""

    async def _thinking(self, prompt: Prompt, samples: list[Sample]) -> AsyncGenerator[Item, None]:
        """What the samples say, in their order, and what they used together; it ends when all of them are over."""
        news = asyncio.Event()
        patience = Patience(samples)
        told, asked = Usage(), chars_of(prompt.messages)
        places = asyncio.Semaphore(AT_ONCE)
        tasks = [asyncio.create_task(self._take(prompt, sample, news, places)) for sample in samples]
        try:
            while news.is_set() or not all(sample.over for sample in samples):
                late = "" if await _heard(news, patience.until()) else _given_up(samples)
                if text := _unshown(samples) + late:
                    yield Pieces("thinking", [text])
                if (total := _total([_used(asked, sample) for sample in samples])) != told:
                    told = total
                    yield total
            for task in tasks:
                if task.done():  # all but those that were given up
                    await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, prompt: Prompt, sample: Sample, news: asyncio.Event, places: asyncio.Semaphore) -> None:
        """Let one sample come in. A failure of the model is kept with it."""
        try:
            async with places, aclosing(self._model.ask(prompt)) as items:
                async for item in items:
                    _note(sample, item)
                    news.set()
                    if len(sample.seen) >= MAX_SAMPLE_CHARS:
                        sample.finish = Finish("length")
                        break
        except ModelError as error:
            sample.error = error
        finally:
            sample.over = True
            news.set()


class Patience:
    """How long to wait for the last samples: once a majority is whole, as long again as that took."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._began = asyncio.get_running_loop().time()
        self._until: float | None = None

    def until(self) -> float | None:
        """When to give up, by the loop's clock; None while there is no majority."""
        if self._until is None and sum(sample.whole for sample in self._samples) * 2 > len(self._samples):
            now = asyncio.get_running_loop().time()
            self._until = now + max(now - self._began, LEAST_PATIENCE_S)
        return self._until


async def _heard(news: asyncio.Event, until: float | None) -> bool:
    """Wait for news; False when that time of the loop's clock came first, or is past however many news there are."""
    if until is not None and asyncio.get_running_loop().time() >= until:
        news.clear()
        return False
    try:
        async with asyncio.timeout_at(until):
            await news.wait()
    except TimeoutError:
        return False
    news.clear()
    return True


def _given_up(samples: Sequence[Sample]) -> str:
    """Wait no longer for the samples that still run, if any, and say so."""
    running = [sample for sample in samples if not sample.over]
    if not running:
        return ""
    for sample in running:
        sample.over = True
    return f"Gave up waiting for {len(running)} of {len(samples)} samples.\n"


def _shaped(prompt: Prompt) -> Prompt:
    return structs.replace(
        prompt,
        temperature=TEMPERATURE if prompt.temperature is None else prompt.temperature,
        max_output_tokens=MAX_OUTPUT_TOKENS if prompt.max_output_tokens is None else prompt.max_output_tokens,
    )


def _note(sample: Sample, item: Item) -> None:
    if isinstance(item, Usage):
        sample.usage = item
    elif isinstance(item, Finish):
        sample.finish = item
    elif isinstance(item, Pieces):
        room = "".join(item.texts)[: MAX_SAMPLE_CHARS - len(sample.seen)]
        sample.seen += room
        sample.text += room if item.kind == "answer" else ""


def _unshown(samples: Sequence[Sample]) -> str:
    """What may be shown now: each sample after the one before it is over."""
    parts: list[str] = []
    for number, sample in enumerate(samples, 1):
        if sample.closed:
            continue
        if text := sample.seen[sample.shown :]:
            parts.append(text if sample.shown else f"Sample {number}: {text}")
            sample.shown = len(sample.seen)
        if not sample.over:
            break
        parts.append("\n" if sample.seen else "")
        sample.closed = True
    return "".join(parts)


def _answer(whole: Sequence[Sample], asked: int) -> Iterator[Item]:
    """The share of the answer that stands, the answer word by word, and the end marker it had."""
    kept = majority([sample.text for sample in whole])
    few = f"Only {len(whole)} of {asked} samples came through.\n" if len(whole) < asked else ""
    yield Pieces("thinking", [f"{few}{kept.votes} of {len(whole)} samples agree.\n"])
    winner = whole[kept.index]
    for word in _WORD.findall(winner.text.strip()):
        yield Pieces("answer", [word])
    if winner.finish is not None:
        yield winner.finish


def _nothing(samples: Sequence[Sample]) -> Iterator[Item]:
    """Why there is no answer: the last failure, or the end marker of an empty one; neither when all were cut off."""
    for sample in reversed(samples):
        if sample.error is not None:
            raise sample.error
    for sample in samples:
        if sample.finish is not None:
            yield sample.finish
            return


def _used(asked: int, sample: Sample) -> Usage:
    """What a sample reported; else an estimate, once it was heard: the lane may be cut at any moment."""
    if sample.usage.source != "unknown" or not sample.seen:
        return sample.usage
    return estimated(asked, len(sample.text), len(sample.seen) - len(sample.text))


def _total(usages: Sequence[Usage]) -> Usage:
    """The sum of what is known of the samples; it is an estimate unless every one has reported."""
    known = [usage for usage in usages if usage.source != "unknown"]
    if not known:
        return Usage()
    reported = len(known) == len(usages) and all(usage.source == "reported" for usage in known)
    names = ("input_tokens", "output_tokens", "thinking_tokens", "cached_tokens")
    total = {name: _sum([getattr(usage, name) for usage in known]) for name in names}
    return Usage(**total, source="reported" if reported else "estimated")


def _sum(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
