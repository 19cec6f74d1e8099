"""The scripted model: every script does what its name says, and its parameters are checked."""

import asyncio
from contextlib import aclosing

import pytest
from cells import rows

from app.errors import ModelError
from app.events import Usage
from app.llm.model import Finish, Item, LanguageModel, Pieces, Prompt
from app.llm.options import ProviderOptions
from app.llm.scripted import SCRIPTS, open_model
from app.question import Message

PROMPT = Prompt((Message("user", "What is the capital of France?"),))
NOW = "?first=0&gap=0"


def play(name: str) -> LanguageModel:
    """The model of that script."""
    return open_model(name, ProviderOptions())


async def collect(name: str, prompt: Prompt = PROMPT) -> list[Item]:
    """Everything a script says that ends."""
    return [item async for item in play(name).ask(prompt)]


async def collect_into(items: list[Item], name: str) -> None:
    """The same into a list of the caller's, which keeps what came before a failure."""
    async for item in play(name).ask(PROMPT):
        items.append(item)  # noqa: PERF401  # see above


async def drain(model: LanguageModel) -> None:
    """Read to the end."""
    async for _ in model.ask(PROMPT):
        pass


def texts(items: list[Item], kind: str = "answer") -> list[str]:
    """The pieces of one kind."""
    return [text for item in items if isinstance(item, Pieces) and item.kind == kind for text in item.texts]


@pytest.mark.parametrize("name", ["fast", "slow", "think"])
async def test_answer_quotes_the_question(name: str) -> None:
    """A script that answers quotes the last question, so that the console shows something of it."""
    items = await collect(name + NOW)
    assert PROMPT.messages[0].content in "".join(texts(items))
    assert items[-1] == Finish("stop", "scripted-1")


async def test_slow_says_more() -> None:
    """The slow script's answer is longer than the fast one's."""
    assert len(texts(await collect("slow" + NOW))) > len(texts(await collect("fast" + NOW)))


async def test_no_gap_is_one_item() -> None:
    """Pieces without a gap between them come together."""
    items = await collect("fast?first=0&gap=0&tokens=100")
    assert [len(item.texts) for item in items if isinstance(item, Pieces)] == [100]


async def test_gap_is_one_item_a_piece() -> None:
    """Pieces with a gap between them come one by one."""
    items = await collect("fast?first=0&gap=0.001&tokens=5")
    assert [len(item.texts) for item in items if isinstance(item, Pieces)] == [1] * 5


async def test_times() -> None:
    """The first piece comes after `first`, the next ones `gap` apart."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    at = [loop.time() - start async for _ in play("fast?first=0.02&gap=0.01&tokens=2").ask(PROMPT)]
    assert 0.019 <= at[0] < at[1] - 0.009


async def test_usage_before_finish() -> None:
    """The usage comes before the finish and counts words in, pieces out."""
    items = await collect("think" + NOW)
    usage, finish = items[-2:]
    assert isinstance(finish, Finish)
    thought, said = len(texts(items, "thinking")), len(texts(items))
    assert usage == Usage(6, thought + said, thought, None, "reported")


async def test_think_thinks_first() -> None:
    """The thinking comes before the answer."""
    items = await collect("think" + NOW)
    kinds = [item.kind for item in items if isinstance(item, Pieces)]
    assert kinds == sorted(kinds, reverse=True)
    assert set(kinds) == {"thinking", "answer"}


async def test_output_limit() -> None:
    """An answer is cut at the prompt's limit and says so."""
    items = await collect("fast" + NOW, Prompt(PROMPT.messages, max_output_tokens=3))
    assert len(texts(items)) == 3
    assert items[-1] == Finish("length", "scripted-1")


@pytest.mark.parametrize(
    ("name", "outcome", "pieces"), [("error", "failed", 0), ("break", "failed", 3), ("refuse", "refused", 0)]
)
async def test_failures(name: str, outcome: str, pieces: int) -> None:
    """A script that fails says its pieces first, then raises with its outcome."""
    items: list[Item] = []
    with pytest.raises(ModelError) as caught:
        await collect_into(items, name + NOW)
    assert caught.value.outcome == outcome
    assert len(texts(items)) == pieces


async def test_cut_has_no_finish() -> None:
    """The script `cut` ends without a marker and without a usage."""
    items = await collect("cut" + NOW)
    assert len(items) == 1
    assert len(texts(items)) == 3


async def test_empty_and_blank() -> None:
    """The script `empty` says nothing and `blank` only whitespace, and both end regularly."""
    empty, blank = await collect("empty" + NOW), await collect("blank" + NOW)
    assert texts(empty) == []
    assert texts(blank)
    assert "".join(texts(blank)).strip() == ""
    assert isinstance(empty[-1], Finish)
    assert isinstance(blank[-1], Finish)


async def test_garbage() -> None:
    """The script `garbage` holds what breaks encoders, and an emoji in two halves."""
    said = texts(await collect("garbage" + NOW))
    assert all(bad in "".join(said) for bad in "\x00\ud800\u2028\u2029\x85")
    halves = [piece for piece in said if piece.endswith("\ud83d")]
    assert said[said.index(halves[0]) + 1].startswith("\ude00")


@pytest.mark.parametrize("query", [NOW, "?first=0&gap=0.0001"])
async def test_endless(query: str) -> None:
    """The script `endless` goes on, lets others run between its pieces, and stops when it is closed."""
    turns = 0
    async with aclosing(play("endless" + query).ask(PROMPT)) as stream:
        async for item in stream:
            assert isinstance(item, Pieces)
            await asyncio.sleep(0)
            turns += 1
            if turns == 200:
                break
    assert turns == 200


async def test_long() -> None:
    """The script `long` says thousands of pieces."""
    assert len(texts(await collect("long?first=0"))) == 5000


@pytest.mark.parametrize("name", ["stubborn", "block"])
async def test_ignores_cancellation(name: str) -> None:
    """The scripts `stubborn` and `block` go on when cancelled, again and again, until they are let go."""
    model = play(f"{name}?first=0&gap=0&hold={0.5 if name == 'stubborn' else 60}")
    asking = asyncio.create_task(drain(model))
    await asyncio.sleep(0.005)
    for _ in range(3):
        asking.cancel()
        done, _ = await asyncio.wait({asking}, timeout=0.005)
        assert not done
    await model.close()
    await asyncio.wait({asking}, timeout=2)
    assert asking.cancelled()


async def test_close_frees_blocked_threads() -> None:
    """Closing the model lets its blocked threads go long before their time."""
    model = play("block?first=0&gap=0&hold=60")
    asking = asyncio.create_task(drain(model))
    await asyncio.sleep(0.005)
    asking.cancel()
    await asyncio.sleep(0.005)
    assert not asking.done()
    await model.close()
    await asyncio.wait({asking}, timeout=1)
    assert asking.cancelled()


async def test_silent_scripts_say_what_they_should() -> None:
    """The script `hang` says nothing, `stall` three pieces, and then both are silent until cancelled."""
    for name, lists in (("hang", 0), ("stall", 1)):
        items: list[Item] = []
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(collect_into(items, name + NOW), 0.02)
        assert len(items) == lists


@rows(
    ("name", "named"),
    [
        ("nonsense", "fast"),
        ("", "fast"),
        ("fast?speed=1", "first, gap, tokens, hold"),
        ("fast?gap=x", "gap .* from 0 to 3600"),
        ("fast?first=-1", "first"),
        ("fast?first=nan", "first"),
        ("fast?gap=inf", "gap"),
        ("fast?tokens=1.5", "tokens"),
        ("fast?tokens=1000000", "100000"),
        ("fast?gap=", "gap"),
        ("stubborn?hold=61", "hold"),
    ],
)
def test_bad_spec(name: str, named: str) -> None:
    """An unknown script or parameter, or a value out of bounds, is refused with what would be right."""
    with pytest.raises(ValueError, match=named):
        play(name)


def test_every_script_opens() -> None:
    """Every script has a name that keeps its parameters."""
    assert [play(f"{name}?gap=1").name for name in SCRIPTS] == [f"scripted:{name}?gap=1" for name in SCRIPTS]
