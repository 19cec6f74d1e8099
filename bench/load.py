"""A load of streams on one server: `python -m bench.load` reads a Job from stdin and prints a result, both as JSON.

Every stream is one connection that asks again as soon as its answer is whole. Bounded in count and in time.
"""

import asyncio
import dataclasses
import gc
import json
import re
import sys
import time
from dataclasses import dataclass
from typing import Any, Final, cast

import httptools
import uvloop

# A token in the bytes of a delta, as a capture of its time; preliminary and final repeat the text, and do not match.
STAMPS: Final = {
    "openai": re.compile(rb'"content":" w\d+@(\d{13})"'),
    "tandem": re.compile(rb'"kind":"answer","text":" w\d+@(\d{13})"'),
}
OPENAI_OTHERS: Final = 4  # role, finish, usage, [DONE]
TANDEM_OTHERS: Final = 5  # start, two lane_ends, final, done; and a preliminary when the fast lane completed


@dataclass(frozen=True, slots=True)
class Job:
    """What to load. dialect: openai or tandem. seconds: no new request after; limit_s: the end whatever is open."""

    port: int
    path: str
    body: str
    dialect: str
    tokens: int
    streams: int
    seconds: float
    ramp_s: float
    limit_s: float


@dataclass(slots=True)
class Tally:
    """What all streams of a load saw. Times in microseconds of the monotonic clock."""

    asked: int = 0
    whole: int = 0
    superseded: int = 0
    events: int = 0
    expected_events: int = 0
    tokens: int = 0
    bytes: int = 0
    reads: int = 0
    status_errors: int = 0
    count_errors: int = 0
    not_completed: int = 0
    lane_timeouts: int = 0
    cut: int = 0
    first_end_us: int = 0
    first_token: list[int] = dataclasses.field(default_factory=list)
    token: list[int] = dataclasses.field(default_factory=list)
    total: list[int] = dataclasses.field(default_factory=list)


def now_us() -> int:
    """The clock that upstream writes into its tokens."""
    return time.monotonic_ns() // 1000


class Stream(asyncio.Protocol):
    """One connection; resolves `ended` when it asks no more."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._tally = load.tally
        self._stamps = STAMPS[load.job.dialect]
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asking = False
        self._rest = b""
        self._asked_us = self._now_us = self._first_us = 0
        self._events = self._tokens = self._lanes = 0
        self._done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._asking, self._done = True, False
        self._rest = b""
        self._events = self._tokens = self._lanes = self._first_us = 0
        self._tally.asked += 1
        self._asked_us = now_us()
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        """Count what came; the parser calls back."""
        self._now_us = now_us()
        self._tally.reads += 1
        self._tally.bytes += len(data)
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Count the events that are whole now, and their tokens."""
        if self._rest:
            body = self._rest + body
        if body.endswith(b"\n\n"):
            self._rest = b""
        else:
            cut = body.rfind(b"\n\n") + 2 if b"\n\n" in body else 0
            body, self._rest = body[:cut], body[cut:]
        self._events += body.count(b"\n\n")
        now = self._now_us
        latencies = [now - int(stamp) for stamp in self._stamps.findall(body)]
        if latencies:
            self._first_us = self._first_us or now
            self._tokens += len(latencies)
            self._tally.token += latencies
        if b"lane_end" in body:
            self._lanes += body.count(b'"outcome":"completed"')
            self._tally.lane_timeouts += body.count(b'"outcome":"timeout"')
        if b"event: done" in body or b"data: [DONE]" in body:
            self._done = b"[DONE]" in body or b'"status":"completed"' in body

    def on_message_complete(self) -> None:
        """Judge the answer and ask again, or leave."""
        assert self._transport is not None
        self._asking = False
        self._judge()
        if self._load.open:
            self._ask()
        else:
            self._transport.close()

    def _judge(self) -> None:
        tally = self._tally
        tally.events += self._events
        tally.tokens += self._tokens
        tally.first_end_us = tally.first_end_us or self._now_us
        if self._parser.get_status_code() != 200:
            tally.status_errors += 1
            return
        expected, tokens_right = self._expected()
        tally.expected_events += expected
        if not self._done:
            tally.not_completed += 1
        elif self._events != expected or not tokens_right:
            tally.count_errors += 1
        else:
            tally.whole += 1
            tally.first_token.append(self._first_us - self._asked_us)
            tally.total.append(self._now_us - self._asked_us)

    def _expected(self) -> tuple[int, bool]:
        """How many events the answer must have, and whether its number of tokens is right.

        The fast lane of Tandem is cut short (`superseded`) when the slow one completes first.
        """
        each = self._load.job.tokens
        if self._load.job.dialect == "openai":
            return each + OPENAI_OTHERS, self._tokens == each
        if self._lanes == 2:
            return 2 * each + TANDEM_OTHERS + 1, self._tokens == 2 * each
        self._tally.superseded += 1
        return self._tokens + TANDEM_OTHERS, each <= self._tokens <= 2 * each

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio gives it
        """End; an answer under way was cut."""
        if self._asking:
            self._tally.cut += 1
        if not self.ended.done():
            self.ended.set_result(None)

    def abort(self) -> None:
        """Leave at once."""
        if self._transport is not None:
            self._transport.abort()


class Load:
    """All streams of one job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.tally = Tally()
        body = job.body.encode()
        head = (
            f"POST {job.path} HTTP/1.1\r\nHost: 127.0.0.1:{job.port}\r\nContent-Type: application/json\r\n"
            f"Accept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.request = head.encode() + body
        self._until = 0.0

    @property
    def open(self) -> bool:
        """Whether another request may begin."""
        return time.monotonic() < self._until

    async def run(self) -> dict[str, Any]:
        """Open the streams one after another, wait for their ends, and sum up."""
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        self._until = began + self.job.seconds
        streams: list[Stream] = []
        for number in range(self.job.streams):
            await asyncio.sleep(began + self.job.ramp_s * number / self.job.streams - time.monotonic())
            _, stream = await loop.create_connection(lambda: Stream(self), "127.0.0.1", self.job.port)
            streams.append(stream)
        left = max(0.0, began + self.job.limit_s - time.monotonic())
        _, still_open = await asyncio.wait([stream.ended for stream in streams], timeout=left)
        wall_s = time.monotonic() - began
        for stream in streams:
            stream.abort()
        if still_open:
            await asyncio.wait(still_open)
        return self._summary(wall_s)

    def _summary(self, wall_s: float) -> dict[str, Any]:
        tally = dataclasses.asdict(self.tally)
        spreads = {f"{name}_us": _spread(tally.pop(name)) for name in ("first_token", "token", "total")}
        return {**tally, **spreads, "wall_s": round(wall_s, 4), "load_cpu_s": round(time.process_time(), 3)}


def _spread(values: list[int]) -> dict[str, int] | None:
    """Percentiles; None when there is nothing to tell."""
    if not values:
        return None
    values.sort()
    last = len(values) - 1
    return {
        name: values[round(last * share)] for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1))
    }


def main() -> None:
    """Run the job of stdin."""
    job = Job(**json.load(sys.stdin))
    gc.freeze()
    print(json.dumps(uvloop.run(Load(job).run())))


if __name__ == "__main__":
    main()
