"""The dialects of OpenAI-compatible servers: in which bytes they answer, and what we make of them."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import pytest
from cells import rows
from fake_openai import CUT, DONE, HANG, FakeOpenAI, Reply, Step, error, event, fake_openai, say
from openai_dialects import COUNT, COUNTED, DIALECTS, EMPTY_FINISH, HELLO, HI, STOP, Told, told

from app.errors import ModelError
from app.llm.failures import MAX_SEARCHED_CHARS, answered, masked
from app.llm.model import Finish, Item, Prompt
from app.llm.openai import open_model
from app.llm.options import ProviderOptions
from app.llm.sse import MAX_EVENT_BYTES
from app.question import Message

PROMPT = Prompt((Message("user", "Why?"),))
KEY = "sk-proj-0123456789abcdef"


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    """A server that replies as a test tells it to."""
    async with fake_openai() as server:
        yield server


async def ask(fake: FakeOpenAI, reply: Reply, prompt: Prompt = PROMPT) -> tuple[Told, ModelError | None]:
    """Ask a model that gets this reply, and look that nothing is left afterwards."""
    fake.replies["m"] = reply
    model = open_model("m", ProviderOptions(base_url=fake.base_url, api_key=KEY))
    items: list[Item] = []
    failure = None
    try:
        async for item in model.ask(prompt):
            items.append(item)  # noqa: PERF401  # what came before a failure is wanted
    except ModelError as raised:
        failure = raised
    finally:
        await model.close()
    await fake.until_idle()
    return told(items, failure), failure


@rows("name", DIALECTS)
@rows("chunked", [True, False])
async def test_dialect_on_the_wire(fake: FakeOpenAI, name: str, chunked: bool) -> None:
    """A dialect comes to the same answer over a real connection, one byte in a write."""
    body, expected = DIALECTS[name]
    reply = Reply((body,), split=1 if len(body) < 5000 else 5000, chunked=chunked)
    assert (await ask(fake, reply))[0] == expected


BROKEN: dict[str, tuple[tuple[Step, ...], Told]] = {
    "before any event": ((CUT,), Told(reason="upstream_cut", outcome="incomplete")),
    "midway": ((HI, 0.01, CUT), Told(HELLO, reason="upstream_cut", outcome="incomplete")),
    "inside an event": ((HI + STOP[:20], 0.01, CUT), Told(HELLO, reason="upstream_cut", outcome="incomplete")),
    "with the last token": ((HI, CUT), Told(HELLO, reason="upstream_cut", outcome="incomplete")),
    "with an empty finish_reason in every chunk": (
        (EMPTY_FINISH, 0.01, CUT),
        Told(HELLO, reason="upstream_cut", outcome="incomplete"),
    ),
    "after the end marker": ((HI + STOP, 0.01, CUT), Told(HELLO, finish="stop")),
    "after [DONE]": ((HI + STOP + DONE, CUT), Told(HELLO, finish="stop")),
    "silent after [DONE]": ((HI + STOP + DONE, HANG), Told(HELLO, finish="stop")),
}


@rows("name", BROKEN)
async def test_cut(fake: FakeOpenAI, name: str) -> None:
    """A connection that breaks before the model's end marker makes an incomplete answer; after it, a whole one."""
    steps, expected = BROKEN[name]
    answer, failure = await ask(fake, Reply(steps))
    assert answer == expected
    assert failure is None or failure.retryable


STATUSES = {
    301: ("upstream_redirect", False),
    307: ("upstream_redirect", False),
    400: ("upstream_bad_request", False),
    401: ("upstream_unauthorized", False),
    403: ("upstream_unauthorized", False),
    404: ("upstream_not_found", False),
    418: ("upstream_bad_request", False),
    422: ("upstream_bad_request", False),
    429: ("upstream_rate_limited", True),
    500: ("upstream_unavailable", True),
    503: ("upstream_unavailable", True),
}


@rows("status", STATUSES)
async def test_http_error(fake: FakeOpenAI, status: int) -> None:
    """An HTTP error has its own reason and says whether asking again may help."""
    _, failure = await ask(fake, error(status))
    assert failure is not None
    assert (failure.reason, failure.retryable) == STATUSES[status]
    assert f"fake error {status}" in failure.message


SHAPES = [
    {"error": {"message": "no such luck", "code": 400}},
    [{"error": {"code": 400, "message": "no such luck", "status": "INVALID_ARGUMENT"}}],
    {"error": "no such luck"},
    {"object": "error", "message": "no such luck"},
    {"detail": "no such luck"},
]


@rows("body", SHAPES)
async def test_the_shape_of_an_error(fake: FakeOpenAI, body: object) -> None:
    """What upstream says in an error is told, whatever it is wrapped in; Gemini's endpoint puts it into a list."""
    _, failure = await ask(fake, Reply((json.dumps(body).encode(),), status=400, content_type="application/json"))
    assert failure is not None
    assert failure.message == "The model's server refused the request (HTTP 400): no such luck"


@rows("body", [[], {}, [[]], [7], {"error": []}, 7, "", None])
def test_an_error_without_a_word(body: object) -> None:
    """An error that says nothing in any shape we know is told without its words."""
    failure = answered(400, json.dumps(body).encode(), None)
    assert failure.message == "The model's server refused the request (HTTP 400)."


async def test_redirect_keeps_the_key(fake: FakeOpenAI) -> None:
    """A redirect is not followed, so that the key goes nowhere else."""
    await ask(fake, Reply(status=307, headers=(("Location", f"{fake.base_url}/elsewhere"),)))
    assert [request.path for request in fake.received] == ["/v1/chat/completions"]


@rows(
    "text",
    [f"Incorrect API key provided: {KEY}.", "sk-other-key-12345 is wrong", "Bearer abc.def", "at https://me:pw@host/"],
)
async def test_no_secret_in_an_error(fake: FakeOpenAI, text: str) -> None:
    """What upstream says in an error is repeated without anything that looks like a key."""
    for reply in (error(401, text), Reply((event({"error": {"message": text}}),))):
        _, failure = await ask(fake, reply)
        assert failure is not None
        assert "***" in failure.message
        assert not any(secret in failure.message for secret in (KEY, "sk-other", "abc.def", "me:pw"))


@pytest.mark.parametrize("secret", ["Bearer sk-" + "x" * 80, "https://me:" + "p" * 60 + "@host/", "sk-" + "x" * 9000])
def test_a_secret_where_a_long_error_is_cut(secret: str) -> None:
    """A secret that reaches over the place where a very long error is cut is not shown, whatever part is left."""
    for left in range(1, 70):
        assert masked(" " * (MAX_SEARCHED_CHARS - left) + secret, None) in {"", "…", "***", "Bearer"}


async def test_long_error(fake: FakeOpenAI) -> None:
    """A long error is trimmed to one line, and its body is not read to the end."""
    _, failure = await ask(fake, Reply((b"no such luck\n" * 1000, HANG), status=500, content_type="text/plain"))
    assert failure is not None
    assert len(failure.message) < 400
    assert "\n" not in failure.message


WHOLE = {
    "choices": [{"message": {"content": "Hi", "reasoning_content": "Hm"}, "finish_reason": "stop"}],
    "usage": COUNT,
}
JSON: dict[str, tuple[Any, Told]] = {
    "a whole answer": (WHOLE, Told("Hi", "Hm", COUNTED, "stop")),
    "an error": ({"error": {"message": "no"}}, Told(reason="upstream_error", outcome="failed")),
    "something else": ([], Told(reason="upstream_malformed", outcome="failed")),
    "too much": ("x" * MAX_EVENT_BYTES, Told(reason="upstream_malformed", outcome="failed")),
}


@rows("name", JSON)
async def test_not_streamed(fake: FakeOpenAI, name: str) -> None:
    """A server that does not stream is understood: its whole answer is one piece, its error an error."""
    value, expected = JSON[name]
    answer, _ = await ask(fake, Reply((json.dumps(value).encode(),), content_type="application/json; charset=utf-8"))
    assert answer == expected


async def test_a_web_page(fake: FakeOpenAI) -> None:
    """A page that stands where the model should be, as behind a wrong address or a portal, is no empty answer."""
    page = b"<!doctype html>\n<title>Sign in</title>\n"
    answer, failure = await ask(fake, Reply((page,), content_type="text/html; charset=utf-8"))
    assert answer == Told(reason="upstream_malformed", outcome="failed")
    assert failure is not None
    assert failure.message == "The model's server sent a web page."


async def test_too_large_an_event(fake: FakeOpenAI) -> None:
    """An event of more than 1 MiB ends the answer and the connection."""
    answer, _ = await ask(fake, Reply((HI, *[b"x" * 65536] * 20, HANG)))
    assert answer == Told(HELLO, reason="upstream_malformed", outcome="failed")


async def test_not_http(fake: FakeOpenAI) -> None:
    """A server that does not speak HTTP is an error like another."""
    answer, _ = await ask(fake, Reply((), headers=(("Content-Length", "many"),)))
    assert answer.reason == "upstream_cut"


async def test_refused_connection() -> None:
    """A port where nobody listens is a failed connection, and asking again may help."""
    model = open_model("m", ProviderOptions(base_url="http://127.0.0.1:1/v1", api_key=KEY))
    with pytest.raises(ModelError) as caught:
        await anext(model.ask(PROMPT))
    await model.close()
    assert (caught.value.reason, caught.value.retryable) == ("connect_failed", True)
    assert "127.0.0.1" not in caught.value.message


async def test_connect_timeout() -> None:
    """A server that does not accept within the connect timeout is a timeout of its own."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        model = open_model("m", ProviderOptions(base_url=url, connect_timeout_s=0.03))
        with pytest.raises(ModelError) as caught:
            await anext(model.ask(PROMPT))
        await model.close()
    assert caught.value.retryable
    if sys.platform == "linux":  # elsewhere a full queue refuses
        assert (caught.value.reason, caught.value.outcome) == ("connect_timeout", "timeout")


async def test_request(fake: FakeOpenAI) -> None:
    """The request asks for a stream with usage, carries the key in its header and unsafe text cleaned."""
    prompt = Prompt((Message("system", "Be brief."), Message("user", "a\ud800b")), 64, 0.5)
    await ask(fake, Reply((STOP,)), prompt)
    request = fake.received[-1]
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a\ufffdb"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 64,
        "temperature": 0.5,
    }


async def test_no_key(fake: FakeOpenAI) -> None:
    """Without a key no Authorization header is sent, and what the prompt leaves open is left out."""
    fake.replies["m"] = Reply((STOP,))
    model = open_model("m", ProviderOptions(base_url=f"{fake.base_url}/?api-version=1"))
    assert [item async for item in model.ask(PROMPT)] == [Finish("stop", "fake-1")]
    await model.close()
    assert "authorization" not in fake.received[-1].headers
    assert fake.received[-1].path == "/v1/chat/completions?api-version=1"
    assert not {"max_tokens", "temperature"} & set(fake.received[-1].body)


async def test_a_user_in_the_base_url(fake: FakeOpenAI) -> None:
    """The user part of a base URL is sent as one, unless there is a key, which replaces it."""
    fake.replies["m"] = Reply((STOP,))
    for key, sent in ((None, "Basic bWU6cHc="), (KEY, f"Bearer {KEY}")):
        url = fake.base_url.replace("//", "//me:pw@")
        model = open_model("m", ProviderOptions(base_url=url, api_key=key))
        assert [item async for item in model.ask(PROMPT)] == [Finish("stop", "fake-1")]
        await model.close()
        assert fake.received[-1].headers["authorization"] == sent


@pytest.mark.parametrize("key", ["sk-1\nX-Evil: 1", "sk-1\r", "sk-\x00"])
def test_a_key_that_fits_no_header(key: str) -> None:
    """A key with a control character is refused when the model is opened, and not shown."""
    with pytest.raises(ValueError, match="API key") as caught:
        open_model("m", ProviderOptions(api_key=key))
    assert "sk-" not in str(caught.value)


async def test_compressed(fake: FakeOpenAI) -> None:
    """An answer that is compressed, though none was asked for, is not taken for text."""
    answer, _ = await ask(fake, Reply((HI,), headers=(("Content-Encoding", "gzip"),)))
    assert answer == Told(reason="upstream_malformed", outcome="failed")


async def test_reuse(fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer read to its end gives its connection to the next ask, even if the body ends a moment after it."""
    monkeypatch.setattr("app.llm.openai.END_OF_BODY_S", 5.0)  # a moment is longer on a busy machine
    fake.replies["m"] = Reply((HI + STOP + DONE, 0.005))
    model = open_model("m", ProviderOptions(base_url=fake.base_url))
    for _ in range(5):
        assert told([item async for item in model.ask(PROMPT)]) == Told(HELLO, finish="stop")
    assert fake.stats.connections == 1
    await model.close()


async def test_connection_limit(fake: FakeOpenAI) -> None:
    """A model never opens more connections than it may; further asks wait for one."""
    model = open_model("m-5t-2ms", ProviderOptions(base_url=fake.base_url, max_connections=2))

    async def one() -> Told:
        """One ask among six."""
        return told([item async for item in model.ask(PROMPT)])

    answers = await asyncio.gather(*[one() for _ in range(6)])
    assert {answer.said for answer in answers} == {" w0 w1 w2 w3 w4"}
    assert fake.stats.connections == 2
    await model.close()


async def test_a_reader_that_is_behind(fake: FakeOpenAI) -> None:
    """What arrived before the connection broke is handed out, even to a reader that comes for it later."""
    fake.replies["m"] = Reply((event(say("a")), 0.005, event(say("b")) + STOP, CUT))
    model = open_model("m", ProviderOptions(base_url=fake.base_url))
    items: list[Item] = []
    async for item in model.ask(PROMPT):
        items.append(item)
        await asyncio.sleep(0.03)
    await model.close()
    assert told(items) == Told("ab", finish="stop")


@rows("url", ["", "localhost:8000", "ftp://host/v1", "http://", "http://[::1"])
def test_bad_base_url(url: str) -> None:
    """A base URL that is none is refused when the model is opened."""
    with pytest.raises(ValueError, match="base URL"):
        open_model("m", ProviderOptions(base_url=url))


def test_no_key_in_a_repr() -> None:
    """The options and the model show no key."""
    options = ProviderOptions(api_key=KEY)
    assert KEY not in f"{options!r}{open_model('m', options)!r}"
