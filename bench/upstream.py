"""A fast fake of an OpenAI-compatible server: `python -m bench.upstream PORT`. The model's name is its behaviour.

One timer serves all streams: streams that are due in the same millisecond share a slot of a wheel. Everything but a
token's number and its time is encoded once per model.
"""

import asyncio
import functools
import gc
import heapq
import json
import sys
import time
from typing import Final, cast

import httptools
import uvloop

from bench.plan import STAMP_DIGITS, Answer, read_answer

_NO_STAMP: Final = b"@" + b"0" * STAMP_DIGITS
_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def _event(model: str, choices: str, usage: str = "null") -> bytes:
    chunk = (
        f'{{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1790000000,"model":"{model}",'
        f'"service_tier":"default","system_fingerprint":"fp_bench","choices":[{choices}],"usage":{usage}}}'
    )
    return f"data: {chunk}\n\n".encode()


def _choice(delta: str, finish: str = "null") -> str:
    return f'{{"index":0,"delta":{{{delta}}},"logprobs":null,"finish_reason":{finish}}}'


def _chunked(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


class Script:
    """One model's answer as bytes; token takes a number and a time."""

    def __init__(self, answer: Answer) -> None:
        model, count = answer.model, answer.tokens
        self.answer = answer
        token = _event(model, _choice('"content":" w%05d@%013d"'))
        self.token = b"%x\r\n%b\r\n" % (len(token % (0, 0)), token)
        self.head = _HEAD + _chunked(_event(model, _choice('"role":"assistant","content":""')))
        usage = f'{{"prompt_tokens":9,"completion_tokens":{count},"total_tokens":{count + 9}}}'
        ending = (_event(model, _choice("", '"stop"')), _event(model, "", usage), b"data: [DONE]\n\n")
        self.tail = b"".join(map(_chunked, ending)) + b"0\r\n\r\n"
        self.whole = (
            b"" if answer.gap_ms else self.head + b"".join(self.token % (k, 0) for k in range(count)) + self.tail
        )


@functools.cache
def _script(model: str) -> Script:
    return Script(read_answer(model))


class Wheel:
    """Streams by the millisecond in which they are due, and one timer for the earliest."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, list[Stream]] = {}
        self._due: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._turning = False
        self.late = 0
        self.latest_ms = 0

    def now_ms(self) -> int:
        """The loop's clock."""
        return round(self._loop.time() * 1000)

    def put(self, due_ms: int, stream: "Stream") -> None:
        """Have the stream advance then."""
        slot = self._slots.get(due_ms)
        if slot is not None:
            slot.append(stream)
            return
        self._slots[due_ms] = [stream]
        heapq.heappush(self._due, due_ms)
        if self._due[0] == due_ms and not self._turning:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._due[0] / 1000, self._turn) if self._due else None

    def _turn(self) -> None:
        self._turning = True
        now_ms = self.now_ms()
        while self._due and self._due[0] <= now_ms:
            due_ms = heapq.heappop(self._due)
            slot = self._slots.pop(due_ms)
            if now_ms - due_ms > 5:
                self.late += len(slot)
                self.latest_ms = max(self.latest_ms, now_ms - due_ms)
            for stream in slot:
                stream.advance(due_ms)
        self._turning = False
        self._arm()


class Counters:
    """What upstream has seen since its start."""

    def __init__(self) -> None:
        self.requests = self.done = self.aborted = self.active = self.peak = 0


class Stream(asyncio.Protocol):
    """One connection, which serves one answer after another."""

    def __init__(self, wheel: Wheel, counters: Counters) -> None:
        self._wheel = wheel
        self._counters = counters
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.WriteTransport | None = None
        self._path = b""
        self._body = b""
        self._script: Script | None = None
        self._next = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Read a request, or a part of one."""
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio gives it
        """Forget the answer that was under way."""
        self._transport = None
        if self._script is not None:
            self._counters.aborted += 1
            self._counters.active -= 1

    def on_url(self, url: bytes) -> None:
        """Note the path."""
        self._path, self._body = url, b""

    def on_body(self, body: bytes) -> None:
        """Note the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer, now or when the first token is due."""
        if not self._path.endswith(b"/chat/completions"):
            self._tell(
                json.dumps({**vars(self._counters), "late": self._wheel.late, "latest_ms": self._wheel.latest_ms})
            )
            return
        self._script, self._next = _script(json.loads(self._body)["model"]), 0
        counters = self._counters
        counters.requests += 1
        counters.active += 1
        counters.peak = max(counters.peak, counters.active)
        if self._script.answer.first_ms:
            self._wheel.put(self._wheel.now_ms() + self._script.answer.first_ms, self)
        else:
            self.advance(self._wheel.now_ms())

    def _tell(self, text: str) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        self._write((head + text).encode())

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def advance(self, due_ms: int) -> None:
        """Write what is due: the next token, or the whole answer when there are no gaps."""
        script = self._script
        if script is None or self._transport is None:
            return
        now_us = time.monotonic_ns() // 1000
        if script.whole:
            self._finish()
            self._write(script.whole.replace(_NO_STAMP, b"@%013d" % now_us))
            return
        data = script.token % (self._next, now_us)
        if self._next == 0:
            data = script.head + data
        self._next += 1
        if self._next == script.answer.tokens:
            self._finish()
            data += script.tail
        else:
            self._wheel.put(due_ms + script.answer.gap_ms, self)
        self._write(data)

    def _finish(self) -> None:
        self._script = None
        self._counters.active -= 1
        self._counters.done += 1


async def serve(port: int) -> None:
    """Serve on loopback until the process ends."""
    loop = asyncio.get_running_loop()
    wheel, counters = Wheel(loop), Counters()
    gc.freeze()
    server = await loop.create_server(lambda: Stream(wheel, counters), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
