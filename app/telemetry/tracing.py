"""Traces by OpenTelemetry: a span for every run and one in it for each of its lanes, made when the run has ended.

While a run lives there is nothing but what its lanes send to their providers, made once at its start. At its end its
numbers go on a queue; a thread makes the spans and exports them. A full queue, or a collector that takes nothing, loses
traces, which is counted, and delays nobody.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from queue import Empty, Full, Queue
from threading import Thread
from typing import Final

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from app.llm.model import Along
from app.question import LANES, Key, LaneName
from app.record.entry import Closing
from app.telemetry import conventions as names
from app.telemetry.spans import Ended, Spans, ended
from app.trail import here, span_of

log = logging.getLogger(__name__)

CAPACITY: Final = 2048  # runs
BATCH: Final = 128
GATHER_S: Final = 1.0
EXPORT_S: Final = 5.0
CLOSE_S: Final = 1.0
SAY_EVERY_S: Final = 60.0
SPAN_BITS: Final = 64  # of a span's id, which is as random as a hash is


def resource_of(service: str, version: str, instance: str) -> Resource:
    """Who the spans are from; nothing of the environment is in it."""
    return Resource({names.SERVICE_NAME: service, names.SERVICE_VERSION: version, names.SERVICE_INSTANCE: instance})


def exporter_to(endpoint: str, headers: dict[str, str]) -> SpanExporter:
    """OTLP over HTTP to that address; it takes no proxy and no password from the environment and says nothing."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    session = requests.Session()
    session.trust_env = False
    return OTLPSpanExporter(endpoint, headers=headers, timeout=EXPORT_S, session=session)


class Tracing:
    """Tells providers which trace they work for, and keeps the numbers of ended runs until their spans are exported.

    Belongs to one event loop, but for the thread. ratio: of the runs that came without a trace; whoever sends one has
    decided. exported, failed, dropped: traces, by what became of them.
    """

    def __init__(self, exporter: SpanExporter, spans: Spans, ratio: float, capacity: int = CAPACITY) -> None:
        self.exported = self.failed = self.dropped = 0
        self._exporter = exporter
        self._spans = spans
        self._bound = round(ratio * (1 << SPAN_BITS))
        self._queue: Queue[Ended | None] = Queue(capacity)
        self._said_at = float("-inf")
        self._thread = Thread(target=self._work, name="tracing", daemon=True)
        self._thread.start()

    # -- on the loop

    def along(self, run_id: str) -> Mapping[LaneName, Along]:
        """What the lanes of a run that begins here send to their providers: their place in the trace."""
        trail = here()
        trace_id, state = trail.trace_id, trail.trace.state if trail.trace is not None else ""
        more: Along = (("tracestate", state),) if state else ()
        flags = "01" if self._sampled(run_id) else "00"
        return {
            lane: (("traceparent", f"00-{trace_id}-{span_of(run_id, names.lane_span(lane))}-{flags}"), *more)
            for lane in LANES
        }

    def keep(self, closing: Closing, key: Key) -> None:  # noqa: ARG002  # as runs tell of their ends
        """Note a run that has ended, in its task. Never waits."""
        if not self._sampled(closing.run_id):
            return
        try:
            self._queue.put_nowait(ended(closing, here()))
        except Full:
            self.dropped += 1

    def _sampled(self, run_id: str) -> bool:
        trace = here().trace
        if trace is not None:
            return trace.sampled
        return int(span_of(run_id), 16) < self._bound

    async def close(self) -> None:
        """Export what is there, for a second at most."""
        ending = asyncio.get_running_loop().time() + CLOSE_S
        try:
            self._queue.put_nowait(None)
        except Full:
            self.dropped += self._queue.qsize()
        else:
            await asyncio.to_thread(self._thread.join, CLOSE_S)
        if asyncio.get_running_loop().time() >= ending:
            log.warning("the collector of traces did not answer; %d are lost", self._queue.qsize())
        self._exporter.shutdown()

    @property
    def state(self) -> dict[str, str | int]:
        """How it is, for an operator."""
        told = {"exported": self.exported, "failed": self.failed, "dropped": self.dropped}
        return {"status": "ok" if self._thread.is_alive() else "ended", "waiting": self._queue.qsize(), **told}

    # -- in the thread

    def _work(self) -> None:
        """Export what has gathered, again and again, until told to end."""
        more = True
        while more:
            more, runs = self._gathered()
            try:
                self._export(runs)
            except Exception as error:  # noqa: BLE001  # the boundary to a foreign library: traces must not end with it
                self._lose(len(runs), type(error).__name__)

    def _gathered(self) -> tuple[bool, list[Ended]]:
        """The next run, and what comes within a second; False with the last ones."""
        runs: list[Ended] = []
        until = float("inf")
        while len(runs) < BATCH:
            try:
                run = self._queue.get(timeout=None if not runs else max(0.0, until - time.monotonic()))
            except Empty:
                break
            if run is None:
                return False, runs
            if not runs:
                until = time.monotonic() + GATHER_S
            runs.append(run)
        return True, runs

    def _export(self, runs: list[Ended]) -> None:
        spans = [span for run in runs for span in self._spans.of(run)]
        if not spans or self._exporter.export(spans) is SpanExportResult.SUCCESS:
            self.exported += len(runs)
        else:
            self._lose(len(runs), "the collector did not take them")

    def _lose(self, count: int, why: str) -> None:
        self.failed += count
        if (now := time.monotonic()) - self._said_at >= SAY_EVERY_S:
            self._said_at = now
            log.warning("%d traces could not be exported (%s); %d so far", count, why, self.failed)
