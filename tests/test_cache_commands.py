"""`tandem cache ...` as an operator types it, against real servers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from browsers import page_elsewhere
from processes import environment
from servers import Server, eventually, serving
from typer.testing import CliRunner, Result

from app.cli import app

Tandem = Callable[..., Awaitable[Result]]
QUICK = "scripted:fast?first=0.005&gap=0&tokens=5"
BROKEN = "scripted:error?first=0.005&gap=0"


@pytest.fixture
def tandem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tandem:
    """The program beside a server, in a thread of its own."""
    for name, value in environment(tmp_path, {"COLUMNS": "120", "CACHE": "true"}).items():
        monkeypatch.setenv(name, value)

    async def run(
        *arguments: str, dsn: str = "postgresql://u@127.0.0.1:1/x", url: str = "http://127.0.0.1:1"
    ) -> Result:
        """The command, as if typed."""
        monkeypatch.setenv("DATABASE_URL", dsn)
        monkeypatch.setenv("TANDEM_URL", url)
        return await asyncio.to_thread(CliRunner().invoke, app, ["cache", *arguments])

    return run


@pytest.fixture
async def server(dsn: str) -> AsyncIterator[Server]:
    """A server with quick models and a record."""
    async with serving(dsn, cache=True, fast_model=QUICK, slow_model=QUICK) as running:
        yield running


async def ask(server: Server, question: str, **more: Any) -> str:
    """Where the answer came from, once the run is over."""
    answer = await server.client.post("/v1/reason", json={"input": question, **more})
    assert answer.json() if more.get("stream") is False else b"event: done" in answer.content
    return answer.headers["x-run-source"]


async def recorded(server: Server) -> None:
    """Until PostgreSQL has every run."""
    await eventually(lambda: not server.parts.readiness.ledger()["spooled"], 5)
    await eventually(lambda: not server.parts.readiness.ledger()["in_flight"], 5)


@pytest.mark.parametrize("name", ["stats", "clear", "warm"])
async def test_without_a_server_it_is_told_what_to_do(tandem: Tandem, name: str) -> None:
    """Where no server answers, or none of ours, one line names the address; the exit code is 2."""
    told = await tandem(name)
    assert (told.exit_code, told.output.count("\n")) == (2, 1)
    assert "no server answers at http://127.0.0.1:1: start one" in told.output
    assert "TANDEM_URL" in told.output
    assert "no server answers" in (await tandem(name, url="http://[")).output
    async with page_elsewhere() as port:
        url = f"http://127.0.0.1:{port}"
        assert f"what answers at {url} is no Tandem" in (await tandem(name, url=url)).output


async def test_what_is_stored_is_shown_and_forgotten(tandem: Tandem, server: Server) -> None:
    """`stats` shows levels, hits and savings; `clear` forgets one or all and says how many; an unknown one is told."""
    sources = [await ask(server, question) for question in ("a?", "b?", "a?", "c?")]
    assert sources == ["live", "live", "cache", "live"]
    told = await tandem("stats", url=server.url)
    assert told.exit_code == 0, told.output
    words = ("memory", "postgres", "25.0% of 4", "1 replays", "saved ", " s, 12 tokens")
    assert all(word in told.output for word in words), told.output
    await recorded(server)
    record = (await server.client.get("/api/experiments?limit=1")).json()["experiments"][0]
    one = [await tandem("clear", record["fingerprint"], url=server.url) for _ in range(2)]
    assert [told.exit_code for told in one] == [0, 2]
    assert ("1 answer forgotten" in one[0].output, "no answer to a question" in one[1].output) == (True, True)
    assert "2 answers forgotten" in (await tandem("clear", url=server.url)).output
    assert await ask(server, "a?") == "live"


@pytest.mark.parametrize("word", ["", ".", "..", "?", "a" * 63])
async def test_what_is_no_fingerprint_forgets_nothing(tandem: Tandem, server: Server, word: str) -> None:
    """`clear` with anything but a fingerprint is refused: a slip must not become the address that forgets all."""
    await ask(server, "a?")
    told = await tandem("clear", word, url=server.url)
    assert (told.exit_code, "fingerprint" in told.output) == (2, True)
    assert await ask(server, "a?") == "cache"


async def test_the_most_asked_questions_are_asked_in_advance(tandem: Tandem, server: Server, dsn: str) -> None:
    """After a warm-up they come from the cache, each with its own parameters; what is there is not asked again."""
    wishes: dict[str, Any] = {"fast": {"max_output_tokens": 4, "temperature": 1}, "prompt_class": "faq", "tags": ["t"]}
    for question, more in (("a?", wishes), ("a?", wishes), ("b?", {})):
        await ask(server, question, **more)
    await recorded(server)
    await server.client.delete("/api/cache")
    first = await tandem("warm", "--top", "1", dsn=dsn, url=server.url)
    assert (first.exit_code, first.output.split()[-4:-1]) == (0, ["│", "0", "│"]), first.output
    assert await ask(server, "a?", **wishes) == "cache"
    second, third = [await tandem("warm", *more, dsn=dsn, url=server.url) for more in ((), ("--refresh",))]
    assert [told.exit_code for told in (second, third)] == [0, 0]
    assert ("1             │ 1        │ 0" in second.output, "0             │ 2        │ 0" in third.output) == (
        True,
        True,
    )
    found = (await server.client.get("/api/experiments?tag=t")).json()["experiments"]
    assert len(found) == 3


async def test_a_question_that_is_not_answered_is_told(tandem: Tandem, server: Server, dsn: str) -> None:
    """A question whose answer is not verified has failed, which is told; an empty record has nothing that could."""
    empty = await tandem("warm", dsn=dsn, url=server.url)
    assert (empty.exit_code, "no question to ask" in empty.output) == (0, True)
    await ask(server, "a?", slow={"model": BROKEN})
    await ask(server, "b?")
    await recorded(server)
    told = await tandem("warm", dsn=dsn, url=server.url)
    assert told.exit_code == 1
    assert "1             │ 0        │ 1" in told.output
    assert "partial" in told.output


async def test_a_server_without_a_cache_is_told(tandem: Tandem, dsn: str) -> None:
    """With CACHE=false the statistics say so, and a warm-up is refused before anything is asked."""
    async with serving(dsn, cache=False) as server:
        told, refused = [await tandem(name, dsn=dsn, url=server.url) for name in ("stats", "warm")]
    assert (told.exit_code, refused.exit_code) == (0, 2)
    assert "CACHE=false" in told.output
    assert "CACHE=false" in refused.output


@pytest.mark.parametrize(
    ("name", "option"), [("", "warm"), ("stats", "--url"), ("clear", "fingerprint"), ("warm", "--refresh")]
)
async def test_every_command_explains_itself(tandem: Tandem, name: str, option: str) -> None:
    """`--help` says what a command does and what each of its options means."""
    told = await tandem(*name.split(), "--help")
    assert (told.exit_code, option in told.output) == (0, True)
