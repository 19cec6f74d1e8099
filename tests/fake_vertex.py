"""A real gRPC server that speaks Vertex AI's PredictionService, and misbehaves as told.

The model's name says how it behaves, its fields split by `-`, unknown ones ignored, as in fake_openai.py:
  20t tokens   10ms gap between them   200ttft to the first   e14 end with that gRPC status, e14x2 on the first two
  calls only   wait1500 say in RetryInfo to wait so many ms   cut5 e14 after 5 tokens   stall5 fall silent after 5
  open5 end cleanly after 5, without the end marker   odd5 bytes that are no message after 5   think3 the first 3 tokens
  are thinking   fin3 the finish reason   block1 the prompt is blocked for that reason   rst4, goaway4, drop4 after 4
  tokens: RST_STREAM, GOAWAY, or a dead connection
A name in `FakeVertex.scripts` plays that script. Clients come through a relay, which counts and harms connections.
"""

import asyncio
import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import grpc
from google.auth.credentials import Credentials
from google.auth.exceptions import RefreshError
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from app.llm import vertex_sdk

HANG: Literal["hang"] = "hang"
VERSION = "gemini-fake-001"
NO_MESSAGE = b"\x0a\x03no"
SECRET = "ya29.secret-token-of-somebody-in-an-error"

_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True)
class Fail:
    """The call ends with that status; wait_ms goes into a RetryInfo; the message is padded with so many letters."""

    code: int
    wait_ms: int | None = None
    padding: int = 0


@dataclass(frozen=True)
class Harm:
    """Something happens to the client's connection or, for rst, to the stream."""

    how: Literal["rst", "goaway", "drop"]


# A message or its bytes, a pause in seconds, an event to wait for, an end.
Step = Any


@dataclass
class FakeVertex:
    """The server: where it is, what it was asked, what it saw. active: calls that it answers now."""

    port: int = 0
    scripts: dict[str, tuple[Step, ...]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    received: deque[Any] = field(default_factory=lambda: deque(maxlen=1000))
    metadata: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=1000))
    active: int = 0
    most: int = 0
    cancelled: int = 0
    links: set["_Link"] = field(default_factory=set)
    connections: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def endpoint(self) -> str:
        """What VERTEX_ENDPOINT would be."""
        return f"http://127.0.0.1:{self.port}"

    async def until_idle(self, within_s: float = 0.25) -> None:
        """Return once no call is being answered; TimeoutError when one still is after that long."""
        async with asyncio.timeout(within_s):
            await self.idle.wait()

    async def answer(self, raw: bytes, context: Any) -> AsyncIterator[bytes]:
        """Play one call."""
        request = vertex_sdk.GenerateContentRequest.FromString(raw)
        self.received.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        name = request.model.rpartition("/")[2]
        self.calls[name] += 1
        self.active += 1
        self.most = max(self.most, self.active)
        self.idle.clear()
        try:
            for step in self.scripts.get(name) or behave(name, self.calls[name]):
                if isinstance(step, bytes):
                    yield step
                elif isinstance(step, float | str | asyncio.Event | Fail | Harm):
                    await self._do(step, context)
                else:
                    yield step.SerializeToString()
        except (asyncio.CancelledError, GeneratorExit):  # while it pauses, or while it sends
            self.cancelled += 1
            raise
        finally:
            self.active -= 1
            if not self.active:
                self.idle.set()

    async def _do(self, step: "float | str | asyncio.Event | Fail | Harm", context: Any) -> None:
        if isinstance(step, float):
            await asyncio.sleep(step)
        elif isinstance(step, asyncio.Event):
            await step.wait()
        elif isinstance(step, Fail):
            await self._fail(step, context)
        elif isinstance(step, Harm):
            with suppress(grpc.aio.UsageError):  # it has been sent; before it nobody knows the stream's number
                await context.send_initial_metadata(())
            await self._harm(step.how)
        else:
            await asyncio.Event().wait()

    async def _fail(self, fail: Fail, context: Any) -> None:
        code = _CODES[fail.code]
        message = f"fake {code.name} with Bearer {SECRET}" + "x" * fail.padding
        if fail.wait_ms is not None:
            status = Status(code=fail.code, message=message)
            delay = Duration(seconds=fail.wait_ms // 1000, nanos=fail.wait_ms % 1000 * 1_000_000)
            status.details.add().Pack(RetryInfo(retry_delay=delay))
            context.set_trailing_metadata(((vertex_sdk.STATUS_DETAILS, status.SerializeToString()),))
        await context.abort(code, message)

    async def _harm(self, how: str) -> None:
        await asyncio.sleep(0.02)  # in which what was said before has passed the relay
        for link in set(self.links):
            link.harm(how)
        await asyncio.Event().wait()


class Tokens(Credentials):  # type: ignore[misc]  # the library has no types
    """Credentials that get a token that many times, each old at once."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times

    def refresh(self, request: Any) -> None:  # noqa: ARG002  # as the library calls it
        """Get one, from nobody."""
        self._times -= 1
        if self._times < 0:
            raise RefreshError("secret words of the token service")
        self.token, self.expiry = "a-token", datetime(2000, 1, 1)  # noqa: DTZ001  # as the library wants it


class _Link(asyncio.Protocol):
    """A client's connection and ours to the server behind it; what the server says passes frame by frame."""

    def __init__(self, fake: FakeVertex, behind: int) -> None:
        self._fake = fake
        self._behind = behind
        self._early = b""
        self._partial = b""
        self._stream = 0
        self._server: asyncio.Transport | None = None
        self._client: asyncio.Transport
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self._client = transport
        self._fake.links.add(self)
        self._fake.connections += 1
        self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: _Back(self), "127.0.0.1", self._behind)
        self._server = transport
        transport.write(self._early)

    def data_received(self, data: bytes) -> None:
        if self._server is None:
            self._early += data
        else:
            self._server.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._fake.links.discard(self)
        if self._opening is not None:
            self._opening.cancel()
        if self._server is not None:
            self._server.abort()

    def said(self, data: bytes) -> None:
        """Pass on what the server said, in whole frames, so that one of ours may stand between two of its."""
        data = self._partial + data
        whole = 0
        while len(data) >= whole + 9:
            end = whole + 9 + int.from_bytes(data[whole : whole + 3], "big")
            if len(data) < end:
                break
            self._stream = int.from_bytes(data[whole + 5 : whole + 9], "big") or self._stream
            whole = end
        self._partial = data[whole:]
        if not self._client.is_closing():
            self._client.write(data[:whole])

    def harm(self, how: str) -> None:
        """RST_STREAM (INTERNAL_ERROR) on the stream that spoke last, GOAWAY and the end, or only the end."""
        if how == "rst":
            self._client.write(_frame(3, self._stream, (2).to_bytes(4, "big")))
        elif how == "goaway":
            self._client.write(_frame(7, 0, (0).to_bytes(4, "big") + (0).to_bytes(4, "big")))
            self._client.close()
        else:
            self._client.abort()


class _Back(asyncio.Protocol):
    """The other end of a link."""

    def __init__(self, link: _Link) -> None:
        self._link = link

    def data_received(self, data: bytes) -> None:
        self._link.said(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._link._client.abort()


def _frame(kind: int, stream: int, payload: bytes) -> bytes:
    """One frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + stream.to_bytes(4, "big") + payload


def say(*texts: str, thought: bool = False, finish: int = 0, version: str = VERSION) -> Any:
    """One message of an answer."""
    message = vertex_sdk.GenerateContentResponse(model_version=version, response_id="fake")
    candidate = message.candidates.add(finish_reason=finish)
    candidate.content.role = "model"
    for text in texts:
        candidate.content.parts.add(text=text, thought=thought)
    return message


def counted(message: Any, prompt: int, answer: int, thoughts: int = 0, cached: int = 0) -> Any:
    """The same message with token counts."""
    usage = message.usage_metadata
    usage.prompt_token_count, usage.candidates_token_count = prompt, answer
    usage.thoughts_token_count, usage.cached_content_token_count = thoughts, cached
    usage.total_token_count = prompt + answer + thoughts
    return message


def blocked(reason: int) -> Any:
    """What comes in place of an answer when the prompt was blocked."""
    message = vertex_sdk.GenerateContentResponse(model_version=VERSION)
    message.prompt_feedback.block_reason = reason
    return counted(message, 7, 0)


def behave(model: str, call: int = 1) -> Iterator[Step]:
    """The script that a model's name describes, for the nth call of it."""
    want: dict[str, int] = {}
    for part in model.split("-"):
        if found := re.fullmatch(r"(\d+)(t|ms|ttft)|(e\d+x|[a-z]+)(\d+)", part):
            want[found[2] or found[3]] = int(found[1] or found[4])
    if "ttft" in want:
        yield want["ttft"] / 1000
    for name, value in want.items():
        once = re.fullmatch(r"e(\d+)x", name)
        if (name == "e") or (once and call <= value):
            yield Fail(int(once[1]) if once else value, want.get("wait"))
    if "block" in want:
        yield blocked(want["block"])
    else:
        yield from _tokens(want)


def _tokens(want: dict[str, int]) -> Iterator[Step]:
    count, thinking = want.get("t", 0), want.get("think", 0)
    ends: dict[str, tuple[Step, ...]] = {"cut": (Fail(14),), "stall": (HANG,), "open": (), "odd": (NO_MESSAGE,)}
    ends |= {how: (Harm(how),) for how in ("rst", "goaway", "drop")}
    for index in range(count + 1):
        for name, last in ends.items():
            if want.get(name) == index:
                yield from last
                return
        if index < count:
            if index and want.get("ms"):
                yield want["ms"] / 1000
            yield say(f" w{index}", thought=index < thinking)
    yield counted(say(finish=want.get("fin", 1)), 7, count - thinking, thinking, cached=2)


async def _serve(fake: FakeVertex, credentials: Any) -> tuple[Any, int]:
    """The server and its port; with credentials it speaks TLS."""
    server = grpc.aio.server()
    handler = grpc.unary_stream_rpc_method_handler(fake.answer)
    _, service, method = vertex_sdk.METHOD.split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    secure = credentials is not None
    port = server.add_secure_port("127.0.0.1:0", credentials) if secure else server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


@asynccontextmanager
async def fake_vertex_over_tls(key: bytes, certificate: bytes) -> AsyncIterator[FakeVertex]:
    """The server on loopback, without the relay, which could not read what passes."""
    fake = FakeVertex()
    server, fake.port = await _serve(fake, grpc.ssl_server_credentials([(key, certificate)]))
    try:
        yield fake
    finally:
        await server.stop(None)


@asynccontextmanager
async def fake_vertex(**scripts: tuple[Step, ...]) -> AsyncIterator[FakeVertex]:
    """The server on loopback, in the running loop, until the block ends."""
    fake = FakeVertex(scripts=scripts)
    fake.idle.set()
    server, behind = await _serve(fake, None)
    relay = await asyncio.get_running_loop().create_server(lambda: _Link(fake, behind), "127.0.0.1", 0)
    fake.port = relay.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        relay.close()
        for link in set(fake.links):
            link.harm("drop")
        await relay.wait_closed()
        await server.stop(None)
        with suppress(TimeoutError):
            await fake.until_idle()
