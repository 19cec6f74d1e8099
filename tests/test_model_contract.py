"""What every language model does, whoever provides it. A new provider joins by an entry in MODELS."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from fake_openai import fake_openai
from local_models import open_local, until_idle
from servers import eventually
from vertex_models import fake_vertex, open_vertex
from vertex_models import tasks as vertex_tasks

from app.errors import ModelError
from app.events import Usage
from app.llm import deliberate, openai, scripted
from app.llm.hedge import Hedges, Lateness
from app.llm.model import Finish, Item, LanguageModel, Pieces, Prompt
from app.llm.options import ProviderOptions
from app.question import Message

PROMPT = Prompt((Message("user", "What is the capital of France?"),), max_output_tokens=40, temperature=0.0)
CLOSE_S = 0.25
LOCAL = ProviderOptions()  # one child of the local model serves every test of this file, in one event loop
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Rig:
    """A model in one situation. quiet returns once upstream answers nobody, and raises if it still does after 250 ms;
    connections counts what is open to it; tasks are those of the loop, without the upstream's own.
    """

    model: LanguageModel
    quiet: Callable[[], Awaitable[None]]
    connections: Callable[[], int]
    tasks: Callable[[], set[asyncio.Task[Any]]] = asyncio.all_tasks


SCRIPTED = {
    "answers": "fast?first=0&gap=0",
    "trickles": "fast?first=0&gap=0.005&tokens=60",
    "fails first": "error?first=0",
    "fails midway": "break?first=0&gap=0",
    "cut": "cut?first=0&gap=0",
    "empty": "empty?first=0",
    "silent": "hang?first=0",
    "stalls": "stall?first=0&gap=0",
}
OPENAI = {
    "answers": "fast-5t-0ms",
    "trickles": "slow-20t-5ms",
    "fails first": "e500",
    "fails midway": "broken-20t-cut3",
    "cut": "open-20t-open3",
    "empty": "empty-0t",
    "silent": "silent-20t-60000ttft",
    "stalls": "stalls-20t-stall3",
}
VERTEX = {
    "answers": "5t",
    "trickles": "20t-5ms",
    "fails first": "e13",
    "fails midway": "20t-cut3",
    "cut": "20t-open3",
    "empty": "0t",
    "silent": "20t-60000ttft",
    "stalls": "20t-stall3",
}


async def nothing() -> None:
    """A model without an upstream is always quiet."""


@asynccontextmanager
async def scripted_rig(situation: str) -> AsyncIterator[Rig]:
    """A script of the same behaviour."""
    model = scripted.open_model(SCRIPTED[situation], ProviderOptions())
    try:
        yield Rig(model, nothing, lambda: 0)
    finally:
        await model.close()


@asynccontextmanager
async def openai_rig(situation: str) -> AsyncIterator[Rig]:
    """A real HTTP upstream of that behaviour."""
    async with fake_openai() as fake:
        model = openai.open_model(OPENAI[situation], ProviderOptions(base_url=fake.base_url, api_key="k"))
        try:
            yield Rig(model, fake.until_idle, lambda: fake.stats.open_connections)
        finally:
            await model.close()


@asynccontextmanager
async def vertex_rig(situation: str) -> AsyncIterator[Rig]:
    """A real gRPC upstream of that behaviour; what is open to it is its calls, for the connection is kept."""
    async with fake_vertex() as fake:
        model = await open_vertex(VERTEX[situation], fake)
        try:
            yield Rig(model, fake.until_idle, lambda: fake.active, vertex_tasks)
        finally:
            await model.close()


@asynccontextmanager
async def local_rig(situation: str) -> AsyncIterator[Rig]:
    """The real SmolLM2, which only ever answers."""
    if situation not in {"answers", "trickles"}:
        pytest.skip("a real model cannot be told to misbehave")
    model = open_local(LOCAL)
    await model.warm()
    yield Rig(model, lambda: until_idle(model), lambda: 0)
    await model.close()


@asynccontextmanager
async def deliberate_rig(situation: str) -> AsyncIterator[Rig]:
    """Three samples of a script of the same behaviour."""
    if situation in {"fails midway", "cut"}:
        pytest.skip("deliberate says nothing as its answer before a sample is whole")
    async with scripted_rig(situation) as rig:
        yield Rig(deliberate.wrap("3", rig.model), rig.quiet, rig.connections)


@asynccontextmanager
async def hedged_rig(situation: str) -> AsyncIterator[Rig]:
    """A script of the same behaviour, played a second time when it is silent for 10 ms."""
    async with scripted_rig(situation) as rig:
        hedges = Hedges(Lateness(0.01, None, budget=1.0), asyncio.get_running_loop().time)
        yield Rig(hedges.wrap("slow", rig.model), rig.quiet, rig.connections)


# A rig for a model that cannot be brought into a situation calls pytest.skip and says why.
MODELS: dict[str, Callable[[str], AbstractAsyncContextManager[Rig]]] = {
    "scripted": scripted_rig,
    "openai": openai_rig,
    "vertex": vertex_rig,
    "local": local_rig,
    "deliberate": deliberate_rig,
    "hedged": hedged_rig,
}

Build = Callable[[str], AbstractAsyncContextManager[Rig]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loaded() -> AsyncIterator[None]:
    """The child of the local model stays up between two tests: somebody holds it."""
    holder = open_local(LOCAL)
    await holder.warm()
    yield
    await holder.close()


@pytest.fixture(params=MODELS)
def build(request: pytest.FixtureRequest) -> Build:
    """One provider after the other."""
    if request.param == "local":
        request.getfixturevalue("loaded")
    return MODELS[request.param]


async def collect(model: LanguageModel, begun: asyncio.Event | None = None) -> tuple[list[Item], ModelError | None]:
    """Everything one ask yields, and how it failed; begun is set by its first item."""
    items: list[Item] = []
    try:
        async for item in model.ask(PROMPT):
            items.append(item)
            if begun is not None:
                begun.set()
    except ModelError as error:
        return items, error
    return items, None


async def left_alone(rig: Rig, before: set[asyncio.Task[Any]]) -> None:
    """Return once there is no connection and no task that was not there before: their ends may be on their way."""
    await eventually(lambda: rig.tasks() <= before and not rig.connections())


def text(items: list[Item]) -> str:
    """The answer's pieces, joined."""
    return "".join("".join(item.texts) for item in items if isinstance(item, Pieces) and item.kind == "answer")


def finishes(items: list[Item]) -> list[Finish]:
    """The end markers; there should be one at most."""
    return [item for item in items if isinstance(item, Finish)]


async def test_answer(build: Build) -> None:
    """A model that answers yields text and one end marker, after which at most a usage comes."""
    async with build("answers") as rig:
        items, error = await collect(rig.model)
    assert error is None
    assert text(items).strip()
    assert len(finishes(items)) == 1
    after = items[items.index(finishes(items)[0]) + 1 :]
    assert all(isinstance(item, Usage) for item in after)


async def test_no_empty_piece(build: Build) -> None:
    """There is no item without a piece and no piece without a text."""
    async with build("trickles") as rig:
        items, _ = await collect(rig.model)
    assert all(item.texts and all(item.texts) for item in items if isinstance(item, Pieces))


async def test_usage(build: Build) -> None:
    """A model that answers reports what it used."""
    async with build("answers") as rig:
        items, _ = await collect(rig.model)
    usage = [item for item in items if isinstance(item, Usage)][-1]
    assert usage.source == "reported"
    assert usage.input_tokens
    assert usage.output_tokens


async def test_failure_first(build: Build) -> None:
    """A model that fails before it says anything raises with a reason and yields nothing."""
    async with build("fails first") as rig:
        items, error = await collect(rig.model)
    assert items == []
    assert error is not None
    assert error.reason
    assert error.message
    assert error.retryable


async def test_failure_midway(build: Build) -> None:
    """A model that fails midway hands out what it said and raises without an end marker."""
    async with build("fails midway") as rig:
        items, error = await collect(rig.model)
    assert text(items)
    assert finishes(items) == []
    assert error is not None


async def test_no_marker(build: Build) -> None:
    """A stream that ends without the model's own end marker yields none."""
    async with build("cut") as rig:
        items, error = await collect(rig.model)
    assert text(items)
    assert finishes(items) == []
    assert error is None or error.outcome == "incomplete"


async def test_empty(build: Build) -> None:
    """A model that says nothing yields no pieces, only its end marker."""
    async with build("empty") as rig:
        items, error = await collect(rig.model)
    assert error is None
    assert text(items) == ""
    assert len(finishes(items)) == 1


@pytest.mark.parametrize("situation", ["silent", "trickles", "stalls"])
async def test_cancel(build: Build, situation: str) -> None:
    """A cancelled ask ends within 250 ms, upstream sees the close, and no task is left."""
    async with build(situation) as rig:
        before = rig.tasks()
        begun = asyncio.Event()
        asking = asyncio.create_task(collect(rig.model, begun))
        with suppress(TimeoutError):
            await asyncio.wait_for(begun.wait(), 0.03 if situation == "silent" else 10)
        asking.cancel()
        done, _ = await asyncio.wait({asking}, timeout=CLOSE_S)
        assert done
        assert asking.cancelled()
        await rig.quiet()
        await left_alone(rig, before)


async def test_close_early(build: Build) -> None:
    """An ask that is closed after its first item leaves no task, and upstream sees the close."""
    async with build("stalls") as rig:
        before = rig.tasks()
        async with aclosing(rig.model.ask(PROMPT)) as stream:
            assert isinstance(await anext(stream), Pieces)
        await rig.quiet()
        await left_alone(rig, before)


async def test_never_started(build: Build) -> None:
    """An ask that nobody iterates costs nothing and leaves nothing."""
    async with build("answers") as rig:
        before = rig.tasks()
        await rig.model.ask(PROMPT).aclose()
        await left_alone(rig, before)


async def test_two_asks(build: Build) -> None:
    """Two asks at once each get a whole answer with one end marker; what a real model says may differ in a batch."""
    async with build("trickles") as rig:
        alone, _ = await collect(rig.model)
        both = await asyncio.gather(collect(rig.model), collect(rig.model))
    assert all(text(items) and len(finishes(items)) == 1 for items, _ in both)
    if not rig.model.name.startswith("local:"):
        assert [text(items) for items, _ in both] == [text(alone)] * 2


async def test_cancel_one_of_two(build: Build) -> None:
    """Cancelling one ask does not touch another of the same model."""
    async with build("trickles") as rig:
        stays, goes = asyncio.create_task(collect(rig.model)), asyncio.create_task(collect(rig.model))
        await asyncio.sleep(0.03)
        goes.cancel()
        items, error = await stays
    assert error is None
    assert len(finishes(items)) == 1


async def test_close(build: Build) -> None:
    """A closed model holds no connection and no task."""
    async with build("answers") as rig:
        before = rig.tasks()
        await collect(rig.model)
        await rig.model.close()
        await rig.quiet()
        await left_alone(rig, before)
