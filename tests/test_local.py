"""The owned child that runs llama.cpp, with the real SmolLM2."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from time import monotonic

import aiohttp
import pytest
import pytest_asyncio
from local_models import busy_slots, open_local, until_idle

from app.errors import ModelError
from app.events import Usage
from app.llm import deliberate, local, local_child
from app.llm.model import Finish, Item, LanguageModel, Pieces, Prompt
from app.llm.options import ProviderOptions
from app.llm.precedence import Precedence
from app.question import Message

# One child and its event loop serve every test of this file.
pytestmark = pytest.mark.asyncio(loop_scope="module")

PARENT = """
import asyncio
from app.llm import local
from app.llm.options import ProviderOptions
async def main():
    model = local.open_model("smollm2", ProviderOptions())
    await model.warm()
    print((await model.server.ready()).process.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[local.LocalModel]:
    """SmolLM2, loaded."""
    opened = open_local()
    await opened.warm()
    yield opened
    await opened.close()


def asked(text: str, cap: int | None = 8, *, urgent: bool = True) -> Prompt:
    """A short prompt for a short answer."""
    return Prompt((Message("user", text),), cap, 0.0, urgent)


async def collect(model: LanguageModel, prompt: Prompt) -> list[Item]:
    """Everything one ask yields."""
    return [item async for item in model.ask(prompt)]


def text(items: list[Item], kind: str = "answer") -> str:
    """The pieces of one kind, joined."""
    return "".join("".join(item.texts) for item in items if isinstance(item, Pieces) and item.kind == kind)


def ps(column: str, pid: int) -> str:
    """What the system says of a process; nothing when it is gone."""
    command = ["ps", "-ww", "-o", f"{column}=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def environment_of(pid: int) -> bytes:
    """What a process was started with, as Linux tells it."""
    return Path(f"/proc/{pid}/environ").read_bytes()


async def exits(pid: int, within_s: float) -> bool:
    """Whether the process is gone in time; a zombie that nobody reaped is gone."""
    until = monotonic() + within_s
    while monotonic() < until:
        if ps("stat", pid)[:1] in {"", "Z"}:
            return True
        await asyncio.sleep(0.02)
    return False


def children() -> set[str]:
    """The processes of local models that this process has."""
    listed = subprocess.run(["ps", "-A", "-o", "ppid=,pid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return {pid for parent, pid, *args in rows if parent == str(os.getpid()) and local_child.MODULE in " ".join(args)}


def parent_of_a_child() -> tuple[subprocess.Popen[str], int]:
    """A process that has opened the local model, and the id of its child."""
    root = Path(local.__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=root, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


async def test_an_answer(model: local.LocalModel) -> None:
    """The real model answers a simple question in the short default form, with its usage and its own name."""
    items = await collect(model, asked("What is the capital of France?", None))
    assert "Paris" in text(items)
    assert [item.source for item in items if isinstance(item, Usage)] == ["reported"]
    assert [item.model_version for item in items if isinstance(item, Finish)] == ["smollm2"]


async def test_answers_one_after_the_other(model: local.LocalModel) -> None:
    """Asks in quick succession each get an answer: no connection is used twice."""
    for _ in range(5):
        assert text(await collect(model, asked("Say hello.", 2)))


@pytest.mark.long
async def test_deliberate_over_the_real_model(model: local.LocalModel) -> None:
    """Five samples of the real model make one answer, with their share and the sum of their usage."""
    items = await collect(deliberate.wrap("5", model), asked("What is the capital of France?", 12, urgent=False))
    assert text(items)
    assert text(items, "thinking").endswith("of 5 samples agree.\n")
    assert [item.source for item in items if isinstance(item, Usage)][-1] == "reported"


async def test_the_key_is_required(model: local.LocalModel) -> None:
    """A request without the key is refused, and the key is in no argument of the child."""
    child = await model.server.ready()
    url = f"{child.address}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json={"messages": []}) as response:
        assert response.status == 401
    arguments = ps("args", child.process.pid)
    assert "app.llm.local_server" in arguments
    assert child.key not in arguments + repr(child)


async def test_cancelling_stops_the_decoding(model: local.LocalModel) -> None:
    """When an ask is closed, llama.cpp stops decoding within a second."""
    async with aclosing(model.ask(asked("Count from 1 to 1000.", 1500))) as items:
        await anext(items)
        assert await busy_slots(model) == 1
    await until_idle(model)


async def test_a_prompt_that_is_too_long(model: local.LocalModel) -> None:
    """A prompt beyond the context ends at once with a reason of its own."""
    with pytest.raises(ModelError) as caught:
        await collect(model, asked("word " * 4000))
    assert caught.value.reason == "context_exceeded"


async def test_urgent_first(model: local.LocalModel) -> None:
    """A patient ask that starts together with an urgent one begins after it has ended."""
    order: list[str] = []

    async def ask(name: str, *, urgent: bool) -> None:
        """Note the order of the answers."""
        asking = model.ask(asked("Tell a story.", 6, urgent=urgent))
        order.extend([name async for item in asking if isinstance(item, Pieces)])

    await asyncio.gather(ask("slow", urgent=False), ask("fast", urgent=True))
    assert order == sorted(order)
    assert set(order) == {"fast", "slow"}


async def test_a_crash_is_noticed(model: local.LocalModel) -> None:
    """A child that dies takes its asks down with a reason; the next ask gets a new child with a new key."""
    before = await model.server.ready()
    async with aclosing(model.ask(asked("Count from 1 to 1000.", 1500))) as items:
        await anext(items)
        before.process.kill()
        with pytest.raises(ModelError) as caught:
            await collect_rest(items)
    assert (caught.value.reason, caught.value.retryable) == ("local_crashed", True)
    assert text(await collect(model, asked("Say hello.", 2)))
    assert (await model.server.ready()).key != before.key


async def collect_rest(items: AsyncIterator[Item]) -> None:
    """Read on to the end."""
    async for _ in items:
        pass


async def test_nothing_outlives_a_killed_parent(model: local.LocalModel) -> None:
    """The child exits when its parent dies by kill -9."""
    parent, pid = await asyncio.to_thread(parent_of_a_child)
    with parent:
        os.kill(parent.pid, signal.SIGKILL)
    assert await exits(pid, 2.0)


async def test_one_child_for_all_its_holders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models share a child, which gets none of the secrets in our environment and ends with the last of them."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-parent")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:pw@host/db")
    assert {"OPENAI_API_KEY", "DATABASE_URL"} & local_child._environment().keys() == set()
    one = open_local()
    other = local.open_model("smollm2", one._options)
    assert other.server is one.server
    child = await one.server.ready()
    if sys.platform == "linux":
        seen = environment_of(child.process.pid)
        assert b"PATH=" in seen
        assert b"sk-of-the-parent" not in seen
        assert b"DATABASE_URL" not in seen
    await other.close()
    assert child.alive
    await one.close()
    assert await exits(child.process.pid, 2.0)


async def test_weights_that_do_not_load(tmp_path: Path) -> None:
    """A file that is no model ends the ask with a reason, and leaves no process; the next ask does not try at once."""
    before = children()
    (tmp_path / "bad.gguf").write_bytes(b"not a model")
    broken = local.open_model(str(tmp_path / "bad.gguf"), ProviderOptions(home=tmp_path))
    with pytest.raises(ModelError) as caught:
        await collect(broken, asked("Hello?"))
    assert caught.value.reason == "local_unavailable"
    first = broken.server._starting
    with pytest.raises(ModelError, match="cannot load"):
        await collect(broken, asked("Hello?"))
    assert broken.server._starting is first
    await broken.close()
    assert children() == before


@pytest.mark.parametrize(("name", "says"), [("/no/such.gguf", "FAST_MODEL"), ("/etc/hosts", "gguf"), ("", "smollm2")])
async def test_weights_that_are_not_there(name: str, says: str) -> None:
    """A name without weights is refused when the model is opened, and the message says what to do."""
    with pytest.raises(ValueError, match=says):
        local.open_model(name, ProviderOptions())


async def test_precedence_survives_cancelling() -> None:
    """A cancelled waiter gives its place back, and a patient one starts when the last urgent one has left."""
    precedence = Precedence(urgent=1, patient=1)
    started = asyncio.Event()

    async def hold(*, urgent: bool) -> None:
        """Take a turn and keep it for a moment."""
        async with precedence.turn(urgent=urgent):
            started.set()
            await asyncio.Event().wait()

    first, second = (asyncio.create_task(hold(urgent=True)) for _ in range(2))
    patient = asyncio.create_task(hold(urgent=False))
    await asyncio.sleep(0.01)
    for task in (second, first):
        started.clear()
        task.cancel()
        await asyncio.wait({task})
    async with asyncio.timeout(1):
        await started.wait()
    patient.cancel()
    await asyncio.wait({patient})
