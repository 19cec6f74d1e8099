"""A real HTTP server that speaks OpenAI chat completions, and misbehaves as told, byte by byte.

The model's name says how it behaves, its fields split by `-`, unknown ones ignored:
  20t tokens   10ms gap between them   200ttft to the first   e500 answer that status   cut5 drop the connection after
  5 tokens   stall5 fall silent after 5   open5 end the body cleanly after 5, without the end marker   think3 the first
  3 tokens are thinking   sep one write per chunk
A name in `FakeOpenAI.replies` plays that Reply. `GET /stats` has the counters. Alone: tests/fake_openai.py --port 9000
"""

import argparse
import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

CUT: Literal["cut"] = "cut"
HANG: Literal["hang"] = "hang"

# Some bytes of the body, a pause in seconds, or how the reply is left unfinished.
Step = bytes | float | Literal["cut", "hang"]


@dataclass(frozen=True)
class Reply:
    """What to send. split: at most that many bytes in one write. chunked: else the body ends with the connection."""

    steps: tuple[Step, ...] = ()
    status: int = 200
    content_type: str = "text/event-stream"
    headers: tuple[tuple[str, str], ...] = ()
    split: int | None = None
    chunked: bool = True


@dataclass
class Stats:
    """What the upstream saw. aborted: the client left before the reply was whole."""

    connections: int = 0
    open_connections: int = 0
    requests: int = 0
    active: int = 0
    aborted: int = 0
    done: int = 0


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class FakeOpenAI:
    """The server: its address, what it was asked, what it will reply."""

    port: int = 0
    replies: dict[str, Reply] = field(default_factory=dict)
    stats: Stats = field(default_factory=Stats)
    received: deque[Received] = field(default_factory=lambda: deque(maxlen=1000))
    held: set[asyncio.Transport] = field(default_factory=set)
    players: set[asyncio.Task[None]] = field(default_factory=set)
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def count_active(self, change: int) -> None:
        """Note that a reply began or ended."""
        self.stats.active += change
        if self.stats.active:
            self.idle.clear()
        else:
            self.idle.set()

    @property
    def base_url(self) -> str:
        """What OPENAI_BASE_URL would be."""
        return f"http://127.0.0.1:{self.port}/v1"

    def reply(self, request: Received) -> Reply:
        """What this request gets."""
        if request.path == "/stats":
            return Reply((json.dumps(asdict(self.stats)).encode(),), content_type="application/json")
        if not request.path.startswith("/v1/chat/completions"):
            return error(404)
        model = str(request.body.get("model", ""))
        return self.replies.get(model) or behave(model)

    async def until_idle(self, within_s: float = 0.25) -> None:
        """Return once no request is being answered; TimeoutError when one still is after that long."""
        async with asyncio.timeout(within_s):
            await self.idle.wait()


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """One chunk of an answer as OpenAI sends it."""
    choice = {"index": 0, "delta": delta or {}, "logprobs": None, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "fake-1", "choices": [choice]} | fields


def say(text: str | None) -> dict[str, Any]:
    """A chunk with one token of the answer."""
    return chunk({"content": text})


def event(value: Any) -> bytes:
    """One value as a server-sent event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def usage(prompt: int, completion: int, **details: int) -> dict[str, Any]:
    """Token counts as OpenAI reports them."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": details.get("cached", 0)},
        "completion_tokens_details": {"reasoning_tokens": details.get("reasoning", 0)},
    }


DONE = b"data: [DONE]\n\n"


def error(status: int, message: str | None = None) -> Reply:
    """An HTTP error as OpenAI sends it."""
    body = {"error": {"message": message or f"fake error {status}", "type": "server_error", "code": None}}
    return Reply((json.dumps(body).encode(),), status=status, content_type="application/json")


def behave(model: str) -> Reply:
    """The reply that a model's name describes."""
    want: dict[str, int] = {}
    for part in model.split("-"):
        if found := re.fullmatch(r"(\d+)(t|ms|ttft)|(e|cut|stall|open|think)(\d+)", part):
            want[found[2] or found[3]] = int(found[1] or found[4])
    if "e" in want:
        return error(want["e"])
    return Reply(tuple(_steps(want) if "sep" in model.split("-") else _joined(_steps(want))))


def _steps(want: dict[str, int]) -> Iterator[Step]:
    """The chunks of a described answer, the pauses between them, and its end."""
    count = want.get("t", 20)
    yield event(chunk({"role": "assistant", "content": ""}))
    if "ttft" in want:
        yield want["ttft"] / 1000
    for index in range(count + 1):
        for name, last in (("cut", CUT), ("stall", HANG), ("open", None)):
            if want.get(name) == index:
                if last is not None:
                    yield last
                return
        if index < count:
            if index and want.get("ms"):
                yield want["ms"] / 1000
            yield event(chunk({"reasoning_content" if index < want.get("think", 0) else "content": f" w{index}"}))
    yield event(chunk(finish="stop"))
    yield event(chunk(choices=[], usage=usage(7, count, reasoning=want.get("think", 0))))
    yield DONE


def _joined(steps: Iterator[Step]) -> Iterator[Step]:
    """The same with neighbouring bytes joined to one write."""
    ready = b""
    for step in steps:
        if isinstance(step, bytes):
            ready += step
            continue
        if ready:
            yield ready
        ready = b""
        yield step
    yield ready


class _Connection(asyncio.Protocol):
    """One connection: requests one after another, each answered by a task that dies with the connection."""

    def __init__(self, fake: FakeOpenAI) -> None:
        self._fake = fake
        self._received = b""
        self._player: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._fake.held.add(transport)
        self._fake.stats.connections += 1
        self._fake.stats.open_connections += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._fake.held.discard(self._transport)
        self._fake.stats.open_connections -= 1
        if self._player is not None:
            self._player.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._next()

    def _next(self) -> None:
        """Answer the next request that is here as a whole."""
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if self._player is not None or not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._received = rest[length:]
        request = Received(first.split(" ")[1], headers, json.loads(rest[:length] or b"{}"))
        self._fake.received.append(request)
        self._player = asyncio.get_running_loop().create_task(self._answer(request))
        self._fake.players.add(self._player)
        self._player.add_done_callback(self._fake.players.discard)

    async def _answer(self, request: Received) -> None:
        stats = self._fake.stats
        counted = request.path != "/stats"
        stats.requests += counted
        self._fake.count_active(counted)
        try:
            whole = await self._play(self._fake.reply(request))
        except asyncio.CancelledError:
            stats.aborted += counted
            raise
        finally:
            self._player = None
            self._fake.count_active(-counted)
        if whole:
            stats.done += counted
            self._next()

    async def _play(self, reply: Reply) -> bool:
        """Send a reply; False when it was left unfinished."""
        framing = ("Transfer-Encoding", "chunked") if reply.chunked else ("Connection", "close")
        headers = [("Content-Type", reply.content_type), framing, *reply.headers]
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self._transport.write(f"HTTP/1.1 {reply.status} Fake\r\n{head}\r\n".encode())
        for step in reply.steps:
            if isinstance(step, bytes):
                await self._send(step, reply)
            elif isinstance(step, float):
                await asyncio.sleep(step)
            elif step == HANG:
                await asyncio.Event().wait()
            else:
                self._transport.close()
                return False
        if reply.chunked:
            self._transport.write(b"0\r\n\r\n")
        else:
            self._transport.close()
        return True

    async def _send(self, data: bytes, reply: Reply) -> None:
        size = reply.split or len(data)
        for start in range(0, len(data), size):
            part = data[start : start + size]
            self._transport.write(b"%x\r\n%b\r\n" % (len(part), part) if reply.chunked else part)
            await asyncio.sleep(0)


@asynccontextmanager
async def fake_openai(port: int = 0, **replies: Reply) -> AsyncIterator[FakeOpenAI]:
    """The server on loopback, in the running loop, until the block ends."""
    fake = FakeOpenAI(replies=replies)
    fake.idle.set()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(fake), "127.0.0.1", port)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        for transport in fake.held:
            transport.abort()
        for player in fake.players:
            player.cancel()
        await asyncio.gather(*fake.players, return_exceptions=True)
        await server.wait_closed()


async def _serve(port: int) -> None:
    async with fake_openai(port) as fake:
        print(fake.base_url, flush=True)  # noqa: T201  # tells the parent process the port
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(_serve(parser.parse_args().port))
