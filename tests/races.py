"""Parts for tests of runs: questions, scripted models, a registry, readers, and what a log says."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from journals import MemoryJournal
from msgspec.structs import replace

from app.events import parse
from app.llm.allowed import Allowed
from app.llm.catalogue import Catalogue
from app.llm.model import Item, LanguageModel, Prompt
from app.llm.options import ProviderOptions
from app.llm.scripted import open_model
from app.question import Caller, LaneAsk, LaneName, Message, Question, scope_of
from app.reasoning.log import Reader, split
from app.reasoning.order import Order
from app.reasoning.race import Terms
from app.reasoning.run import Run
from app.reasoning.runs import Bounds, Keep, Models, Runs, forget
from app.record.entry import Journal

ALICE = Caller("alice")
ANSWER, LATER = "scripted:fast?tokens=3", "scripted:slow?tokens=3"
Event = tuple[str, int, dict[str, Any]]


def question(fast: str = ANSWER, slow: str = LATER, deadline_s: float = 7.0, **more: Any) -> Question:
    """A question to two models, with limits that differ in everything."""
    return Question(
        messages=(Message("user", "What is six times seven?"),),
        fast=LaneAsk(fast, timeout_s=4.0, first_token_timeout_s=1.03, idle_timeout_s=0.71),
        slow=LaneAsk(slow, timeout_s=8.0, first_token_timeout_s=2.05, idle_timeout_s=0.93),
        deadline_s=deadline_s,
        **more,
    )


def order(asked: Question, caller: Caller = ALICE) -> Order:
    """The question as that caller asks it."""
    return Order(asked, caller, asked.key(scope_of(caller, "caller"), {}))


def ask(limits: Question, name: LaneName, **limit: Any) -> Question:
    """The question with other limits for one lane."""
    lane = replace(limits.lane(name), **limit)
    return replace(limits, fast=lane) if name == "fast" else replace(limits, slow=lane)


def scripted() -> Catalogue:
    """A catalogue of scripted models."""
    options: dict[LaneName, ProviderOptions] = {"fast": ProviderOptions(), "slow": ProviderOptions()}
    return Catalogue({"scripted": lambda: open_model}, {}, options, Allowed(frozenset()))


Talk = Callable[[Prompt], AsyncGenerator[Item, None]]


@dataclass
class Fake:
    """A model that is a plain function."""

    talk: Talk
    name: str = "fake:model"

    def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:
        """Call the function."""
        return self.talk(prompt)

    async def close(self) -> None:
        """Hold nothing."""


class Pair:
    """Two models, whatever they are called."""

    def __init__(self, fast: Talk, slow: Talk) -> None:
        self._models: dict[LaneName, LanguageModel] = {"fast": Fake(fast), "slow": Fake(slow)}

    def get(self, lane: LaneName, name: str) -> LanguageModel:  # noqa: ARG002  # the shape of a catalogue
        """The lane's model."""
        return self._models[lane]


def registry(journal: Journal | None = None, models: Models | None = None, keep: Keep = forget, **bounds: Any) -> Runs:
    """Runs over scripted models and a journal that is well; half a second of grace for readers who left."""
    bounds = {"disconnect_grace_s": 0.5, **bounds}
    return Runs(models or scripted(), journal or MemoryJournal(), Terms(), Bounds(**bounds), keep)


async def read(reader: Reader) -> bytes:
    """Everything up to and including `done`."""
    parts = [reader.take()]
    async with asyncio.timeout(3600):
        while not reader.ended:
            await reader.wait()
            parts.append(reader.take())
    reader.close()
    return b"".join(parts)


async def whole(run: Run) -> list[Event]:
    """Every event of a run, once it has ended."""
    return events(await read(run.attach()))


def events(log: bytes) -> list[Event]:
    """A log as (name, seq, data)."""
    return [parse(block) for block in split(log)]


def named(log: list[Event], name: str) -> list[dict[str, Any]]:
    """The data of every event of that name."""
    return [data for kind, _, data in log if kind == name]


def ends(log: list[Event]) -> dict[str, dict[str, Any]]:
    """Each lane's end."""
    return {data["lane"]: data for data in named(log, "lane_end")}


def said(log: list[Event], lane: str, kind: str = "answer") -> str:
    """What the deltas of a lane add up to."""
    return "".join(data["text"] for data in named(log, "delta") if (data["lane"], data["kind"]) == (lane, kind))


async def nothing_left(runs: Runs) -> None:
    """Nothing of any run is alive: no run, no stray, no task but this one, no timer."""
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    timers = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    left = (runs.live, runs.strays, tasks, timers)
    assert left == (0, set(), set(), []), f"left behind: {left}"
