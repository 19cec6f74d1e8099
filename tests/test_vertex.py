"""Gemini on Vertex AI, against a real gRPC server: what is asked, what is understood, what is left when it ends."""

import asyncio
import importlib
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest
import pytest_asyncio
from cells import rows
from raw_upstream import raw_upstream
from servers import eventually
from vertex_models import fake_vertex, fakes, load, open_vertex, tasks

from app.errors import ModelError
from app.events import Usage
from app.llm import vertex
from app.llm.model import Finish, Item, Pieces, Prompt
from app.llm.options import ProviderOptions
from app.llm.vertex_access import Target, VertexAccess
from app.llm.vertex_regions import Region, Regions
from app.question import Message

if TYPE_CHECKING:
    from fake_vertex import FakeVertex

Shared = tuple["FakeVertex", Regions]
PROMPT = Prompt((Message("user", "Why?"),))

# What the service says, and what that is to a lane: reason, outcome, retryable, and how often it was asked. These leave
# the connection whole.
FAILURES = {
    "e16": ("upstream_unauthorized", "failed", False, 1),
    "e7": ("upstream_unauthorized", "failed", False, 1),
    "e5": ("upstream_not_found", "failed", False, 1),
    "e3": ("upstream_bad_request", "failed", False, 1),
    "e9": ("upstream_bad_request", "failed", False, 1),
    "e8": ("upstream_rate_limited", "failed", True, 1),
    "e8-wait10": ("upstream_rate_limited", "failed", True, 3),
    "e8-wait60000": ("upstream_rate_limited", "failed", True, 1),
    "e14-wait1": ("upstream_unavailable", "failed", True, 3),
    "e4": ("upstream_unavailable", "failed", True, 1),
    "e13": ("upstream_unavailable", "failed", True, 1),
    "e1": ("upstream_cut", "failed", True, 1),
    "e2": ("upstream_error", "failed", True, 1),
    "e12": ("upstream_malformed", "failed", False, 1),
    "1t-rst0": ("upstream_cut", "failed", True, 1),
    "9t-cut2": ("upstream_cut", "incomplete", True, 1),
    "9t-rst2": ("upstream_cut", "incomplete", True, 1),
    "9t-odd2": ("upstream_malformed", "failed", False, 1),
    "2t-fin3": ("content_filter", "refused", False, 1),
    "2t-fin4": ("content_filter", "refused", False, 1),
    "2t-fin6": ("content_filter", "refused", False, 1),
    "2t-fin7": ("content_filter", "refused", False, 1),
    "2t-fin8": ("content_filter", "refused", False, 1),
    "2t-fin10": ("content_filter", "refused", False, 1),
    "0t-fin3": ("content_filter", "refused", False, 1),
    "block1": ("content_filter", "refused", False, 1),
    "block6": ("content_filter", "refused", False, 1),
    "2t-fin5": ("stopped_early", "incomplete", True, 1),
    "2t-fin99": ("stopped_early", "incomplete", True, 1),
}
# The same of what ends the connection, but of how often we ask: a connection that is just going away may be asked over,
# for its end is told to a call before it is told to the line, and nobody sees that.
ENDS_OF_A_CONNECTION = {
    "1t-drop0": ("upstream_unavailable", "failed", True, 3),
    "1t-goaway0": ("upstream_unavailable", "failed", True, 3),
    "9t-goaway2": ("upstream_cut", "incomplete", True, 1),
    "9t-drop2": ("upstream_cut", "incomplete", True, 1),
}
THINKING = [
    ("off", "gemini-2.5-flash", 0, None),
    ("off", "gemini-2.5-pro", 128, None),
    ("off", "gemini-3-flash-preview", None, 4),
    ("off", "gemini-3.5-flash-lite", None, 4),
    ("off", "gemini-3.8-flash", None, 1),
    ("off", "gemini-3.1-pro-preview", None, 1),
    ("off", "endpoints/77", None, None),
    ("auto", "gemini-3.8-flash", None, None),
    ("high", "gemini-3.8-flash", None, 3),
    ("512", "gemini-2.5-flash", 512, None),
]


async def collect(model: Any, prompt: Prompt = PROMPT) -> tuple[list[Item], ModelError | None]:
    """Everything one ask yields, and how it failed."""
    items: list[Item] = []
    try:
        async for item in model.ask(prompt):
            items.append(item)  # noqa: PERF401  # what came before an error counts
    except ModelError as error:
        return items, error
    return items, None


def said(items: list[Item]) -> list[tuple[str, str]]:
    """All pieces by kind, in order."""
    return [(item.kind, text) for item in items if isinstance(item, Pieces) for text in item.texts]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Shared]:
    """One server, and one region that stays open, for tests that ask a model once."""
    regions = Regions(load)
    async with fake_vertex() as fake:
        holder = await open_vertex("1t", fake, regions)
        yield fake, regions
        await holder.close()


@pytest.mark.asyncio(loop_scope="module")
@rows("name", FAILURES)
async def test_failures(name: str, shared: Shared) -> None:
    """A failure has a stable reason, is tried again only where that is safe and useful, and shows no secret."""
    reason, outcome, retryable, asked = FAILURES[name]
    fake, regions = shared
    before = fake.calls[name]
    model = await open_vertex(name, fake, regions)
    items, error = await collect(model)
    await model.close()
    assert error is not None
    seen = fake.calls[name] - before
    assert (error.reason, error.outcome, error.retryable, seen) == (reason, outcome, retryable, asked)
    assert "ya29" not in error.message
    assert not any(isinstance(item, Finish) for item in items)
    assert len(said(items)) == (2 if name[0] in "29" else 0)


@rows("name", ENDS_OF_A_CONNECTION)
async def test_a_connection_that_ends(name: str) -> None:
    """A connection that ends is a failure like another: before the answer it is asked again, within it it is told."""
    reason, outcome, retryable, asked = ENDS_OF_A_CONNECTION[name]
    async with fake_vertex() as fake:
        model = await open_vertex(name, fake)
        line = model.region.line()
        line.begin = AsyncMock(wraps=line.begin)
        items, error = await collect(model)
        await model.close()
    assert error is not None
    assert (error.reason, error.outcome, error.retryable, line.begin.await_count) == (reason, outcome, retryable, asked)
    assert len(said(items)) == (2 if name[0] == "9" else 0)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ["e14x1-3t", "e8x2-wait10-3t"])
async def test_asked_again(name: str, shared: Shared) -> None:
    """A failure that passes before the first message costs nothing but the wait."""
    model = await open_vertex(name, *shared)
    items, error = await collect(model)
    await model.close()
    assert (error, len(said(items))) == (None, 3)


async def test_whole_after_the_end_marker() -> None:
    """A failure after the model's end marker changes nothing, and neither does a second marker."""
    play = fakes()
    async with fake_vertex(late=(play.say("all", finish=1), play.say(finish=3), play.Fail(13))) as fake:
        model = await open_vertex("late", fake)
        items, error = await collect(model)
        await model.close()
    assert (items, error) == ([Pieces("answer", ["all"]), Finish("stop", play.VERSION)], None)


async def test_what_is_too_large() -> None:
    """A question, a message and a failure that are larger than gRPC takes are told apart, and are no limit of ours."""
    play = fakes()
    scripts = {"message": (play.say("x" * (17 << 20)),), "failure": (play.Fail(13, padding=20_000),)}
    long = Prompt((Message("user", "x" * (5 << 20)),))
    async with fake_vertex(**scripts) as fake:
        model, message, failure = [await open_vertex(name, fake) for name in ("1t", "message", "failure")]
        errors = [(await collect(model, long))[1], (await collect(message))[1], (await collect(failure))[1]]
        for opened in (model, message, failure):
            await opened.close()
    reasons = [error and error.reason for error in errors]
    assert reasons == ["upstream_bad_request", "upstream_malformed", "upstream_malformed"]
    assert not any(error and error.retryable for error in errors)


async def test_usage_and_thoughts() -> None:
    """Thoughts come as thinking and count into the output, cached tokens into the input, and the version is told."""
    async with fake_vertex() as fake:
        model = await open_vertex("5t-think2-fin2", fake)
        items, _ = await collect(model)
        await model.close()
    assert [kind for kind, _ in said(items)] == ["thinking"] * 2 + ["answer"] * 3
    assert items[-2:] == [Usage(7, 5, 2, 2, source="reported"), Finish("length", "gemini-fake-001")]


async def test_text_of_any_kind() -> None:
    """A text may hold any character, many parts come together, and a message without text says nothing."""
    play = fakes()
    odd = "NUL \0 lines \u2028\u2029\x85 \U0001f600 é"
    async with fake_vertex(odd=(play.say(), b"", play.say(odd, "", "x"), play.say(finish=1))) as fake:
        model = await open_vertex("odd", fake)
        items, error = await collect(model, Prompt((Message("system", "\udfff"), Message("user", "a \ud800 b"))))
        await model.close()
    assert error is None
    assert items[0] == Pieces("answer", [odd, "x"])
    assert fake.received[0].contents[0].parts[0].text == "a \ufffd b"
    assert fake.received[0].system_instruction.parts[0].text == "\ufffd"


async def test_what_is_asked() -> None:
    """A prompt goes out with its system instruction, its roles, its bounds and the operator's safety settings."""
    messages = [Message("system", "Be brief."), Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
    async with fake_vertex() as fake:
        model = await open_vertex(
            "1t", fake, safety="high,sexual=off", location="eu", slow_thinking="64", slow_thoughts=True
        )
        await collect(model, Prompt(tuple(messages), max_output_tokens=9, temperature=0.0, urgent=False))
        await model.close()
    asked, metadata = fake.received[0], fake.metadata[0]
    assert asked.model == "projects/p/locations/eu/publishers/google/models/1t"
    assert metadata["x-goog-request-params"] == f"model={asked.model}"
    assert [part.text for part in asked.system_instruction.parts] == ["Be brief."]
    assert [(turn.role, turn.parts[0].text) for turn in asked.contents] == [
        ("user", "a"),
        ("model", "b"),
        ("user", "c"),
    ]
    config = asked.generation_config
    assert (config.max_output_tokens, config.HasField("temperature"), config.temperature) == (9, True, 0.0)
    assert (config.thinking_config.thinking_budget, config.thinking_config.include_thoughts) == (64, True)
    assert {(s.category, s.threshold) for s in asked.safety_settings} == {(1, 3), (2, 3), (3, 3), (4, 5)}


async def test_nothing_is_asked_that_nobody_set() -> None:
    """Without settings a request leaves everything to the model."""
    async with fake_vertex() as fake:
        model = await open_vertex("1t", fake)
        await collect(model)
        await model.close()
    assert not fake.received[0].HasField("generation_config")
    assert not fake.received[0].safety_settings


@rows(("word", "model", "budget", "level"), THINKING)
def test_thinking(word: str, model: str, budget: int | None, level: int | None) -> None:
    """`off` is the least that a model can do; other words are sent as they are."""
    access = VertexAccess("p", fast_thinking=word, slow_thinking="7", slow_thoughts=True)
    assert access.thinking_of(model, urgent=True) == (budget, level, False)
    assert access.thinking_of(model, urgent=False) == (7, None, True)


@rows(
    ("chosen", "target"),
    [
        ({"location": "global"}, ("aiplatform.googleapis.com:443", True)),
        ({"location": "europe-west4"}, ("europe-west4-aiplatform.googleapis.com:443", True)),
        ({"location": "eu"}, ("aiplatform.eu.rep.googleapis.com:443", True)),
        ({"endpoint": "psc.internal"}, ("psc.internal:443", True)),
        ({"endpoint": "http://127.0.0.1:9"}, ("127.0.0.1:9", False)),
    ],
)
def test_endpoints(chosen: dict[str, str], target: tuple[str, bool]) -> None:
    """A location has its address, an endpoint that is set comes before it, and only an emulator's is without TLS."""
    assert VertexAccess("p", **chosen).target == target  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "project", "say"),
    [("gemini-3.8-flash", None, "VERTEX_PROJECT"), ("a/b", "p", "vertex:gemini"), ("", "p", "vertex:gemini")],
)
def test_what_cannot_be_opened(name: str, project: str | None, say: str) -> None:
    """A name that is none, and a project that is missing, are told before anything is loaded."""
    fakes()
    with pytest.raises(ValueError, match=say):
        vertex.open_model(name, ProviderOptions(vertex=VertexAccess(project)))


async def test_a_burst_is_heard_to_its_end() -> None:
    """What the service said before it failed is handed out, however fast it came."""
    async with fake_vertex() as fake:
        model = await open_vertex("2000t-cut2000", fake)
        items, error = await collect(model)
        await model.close()
    assert error is not None
    assert [text for _, text in said(items)] == [f" w{index}" for index in range(2000)]


async def test_many_streams_on_one_line() -> None:
    """Five hundred answers come at once over one connection, each whole."""
    play = fakes()
    together = asyncio.Event()
    script = (play.say("a"), together, play.say("b"), play.say(finish=1))
    async with fake_vertex(many=script) as fake:
        model = await open_vertex("many", fake)
        model.region.streams_per_line = 500
        asking = [asyncio.create_task(collect(model)) for _ in range(500)]
        async with asyncio.timeout(30):
            while fake.active < 500:  # noqa: ASYNC110  # what is waited for is told by nobody
                await asyncio.sleep(0.005)
        together.set()
        answers = await asyncio.gather(*asking)
        assert fake.connections == 1
        await model.close()
    assert all(error is None and "".join(text for _, text in said(items)) == "ab" for items, error in answers)


async def test_a_full_line_gets_a_sister() -> None:
    """More answers than one connection may carry open another; afterwards the emptier one is used."""
    async with fake_vertex() as fake:
        model = await open_vertex("3t-stall1", fake)
        model.region.streams_per_line = 2
        streams = [model.ask(PROMPT) for _ in range(5)]
        for stream in streams:
            await anext(stream)
        assert (fake.connections, [line.active for line in model.region.lines]) == (3, [2, 2, 1])
        for stream in streams:
            await stream.aclose()
        assert [line.active for line in model.region.lines] == [0, 0, 0]
        await model.close()


async def test_models_share_a_region() -> None:
    """Models and lanes of one address share its connection, which is closed with the last of them."""
    regions = Regions(load)
    async with fake_vertex() as fake:
        fast, slow = await open_vertex("1t", fake, regions), await open_vertex("2t", fake, regions, safety="high")
        await collect(fast)
        await fast.close()
        await fast.close()
        assert (await collect(slow))[1] is None
        assert fake.connections == 1
        await slow.close()
        await eventually(lambda: not fake.links)


async def test_a_line_comes_back() -> None:
    """After a lost connection the next ask gets a new one by itself."""
    async with fake_vertex() as fake:
        model = await open_vertex("2t-drop1", fake)
        assert (await collect(model))[1] is not None
        again = await open_vertex("2t", fake, model._regions)
        assert (await collect(again))[1] is None
        assert again.region is model.region
        await model.close()
        await again.close()


async def test_nobody_there() -> None:
    """An address that refuses connections fails at once."""
    fakes()
    async with raw_upstream() as upstream:
        pass
    access = VertexAccess("p", endpoint=f"http://127.0.0.1:{upstream.port}")
    model = vertex.open_model("x", ProviderOptions(vertex=access, regions=Regions(load)))
    _, error = await collect(model)
    await model.close()
    assert error is not None
    assert (error.reason, error.retryable) == ("connect_failed", True)


async def test_nobody_answers() -> None:
    """A server that takes the connection and says nothing is given up after the time for connecting."""
    fakes()
    async with raw_upstream((30.0,)) as upstream:
        access = VertexAccess("p", endpoint=f"http://127.0.0.1:{upstream.port}")
        model = vertex.open_model("x", ProviderOptions(vertex=access, regions=Regions(load), connect_timeout_s=0.1))
        _, error = await collect(model)
        await model.close()
    assert error is not None
    assert (error.reason, error.outcome) == ("connect_timeout", "timeout")


async def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials the error says what to run."""
    fakes()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    model = vertex.open_model("x", ProviderOptions(vertex=VertexAccess("p"), regions=Regions(load)))
    assert isinstance(model, vertex.VertexModel)
    with pytest.raises(ModelError, match="gcloud auth application-default login") as caught:
        await model.warm()
    assert caught.value.reason == "credentials_missing"
    await model.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key and a certificate of localhost; gRPC reads the one for all that this process trusts once."""
    folder = tmp_path_factory.mktemp("tls")
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*words.split(), "-keyout", folder / "key", "-out", folder / "crt"], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(("times", "reason"), [(2, None), (1, "credentials_missing")])
async def test_a_token_goes_along(
    times: int, reason: str | None, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over TLS every call has a token, which is fetched anew when it is old; without one nothing is asked."""
    play, sdk = fakes(), load()
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(certificate / "crt"))
    monkeypatch.setattr(sdk.google.auth, "default", lambda **_: (play.Tokens(times), "p"))
    key, crt = ((certificate / name).read_bytes() for name in ("key", "crt"))
    async with play.fake_vertex_over_tls(key, crt) as fake:
        access = VertexAccess("p", endpoint=f"localhost:{fake.port}")
        model = vertex.open_model("1t", ProviderOptions(vertex=access, regions=Regions(load)))
        _, error = await collect(model)
        await model.close()
    assert (error and error.reason) == reason
    assert error is None or "secret" not in error.message
    assert [asked["authorization"] for asked in fake.metadata] == ["Bearer a-token"] * (reason is None)


async def test_cancelled_while_it_connects() -> None:
    """An ask that is cancelled while there is no connection yet leaves no task."""
    fakes()
    async with raw_upstream((30.0,)) as upstream:
        access = VertexAccess("p", endpoint=f"http://127.0.0.1:{upstream.port}")
        model = vertex.open_model("x", ProviderOptions(vertex=access, regions=Regions(load)))
        asking = asyncio.create_task(collect(model))
        while not upstream.accepted:  # noqa: ASYNC110  # what is waited for is told by nobody
            await asyncio.sleep(0.002)
        before = tasks() - {asking}
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        assert tasks() <= before  # what accepts the connection may have ended meanwhile
        await model.close()


async def test_who_gives_up_leaves_one_thread() -> None:
    """However many questions give up while a token does not come, one thread waits for it, and the next ask uses it."""
    blocked, loads = threading.Event(), []

    def slow() -> Any:
        """Load, once it may."""
        loads.append(blocked.wait(10))
        return sys

    region = Region(Target("127.0.0.1:1", secure=False), slow)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(region.ready(), 0.01)
    waiting = asyncio.create_task(region.ready())
    await asyncio.sleep(0)
    blocked.set()
    assert (await waiting, loads) == (sys, [True])


async def test_closed_between_attempts() -> None:
    """An ask that is closed while it waits to be asked again asks no more."""
    async with fake_vertex() as fake:
        model = await open_vertex("e8-wait40", fake)
        asking = asyncio.create_task(collect(model))
        while not fake.calls:  # noqa: ASYNC110  # what is waited for is told by nobody
            await asyncio.sleep(0.002)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        await asyncio.sleep(0.05)
        assert fake.calls["e8-wait40"] == 1
        async with aclosing(model.ask(PROMPT)):
            pass
        await model.close()


def test_only_what_is_needed_is_imported() -> None:
    """Of Google's library the prediction service alone is imported, and the rest is there for who asks for it."""
    fakes()
    services = {name.split(".")[4] for name in sys.modules if name.startswith("google.cloud.aiplatform_v1.services.")}
    assert services == {"prediction_service"}
    package = importlib.import_module("google.cloud.aiplatform_v1")
    assert package.types.content.Content.__name__ == "Content"
    with pytest.raises(AttributeError):
        _ = package.__nothing__


def test_a_test_machine_has_the_library() -> None:
    """Where CI is set these tests are not skipped."""
    assert not os.environ.get("CI") or vertex._installed()
