"""Traces: spans of runs and lanes, told to a collector behind everybody's back; the providers join the trace."""

import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import entries
import msgspec
import pytest
from cells import rows
from collectors import Collector, collecting, values
from fake_openai import fake_openai
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from servers import Server, eventually, serving
from uuid_utils import uuid7
from vertex_models import fake_vertex, open_vertex

from app import trail
from app.errors import StartupError
from app.llm.model import Prompt
from app.question import Key, Labels, Message
from app.record.redaction import Redactor
from app.settings import Settings
from app.telemetry import conventions
from app.telemetry.spans import Spans, ended
from app.telemetry.tracing import Tracing, resource_of
from app.trail import Trace, span_of
from app.wiring import tracing as wired

ROOT = Path(__file__).parents[1]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT: dict[str, Any] = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=value"}
ASK: dict[str, Any] = {"input": "Why?", "stream": False}


async def asked(server: Server, collector: Collector, spans: int = 3, **headers: str) -> Any:
    """One question, and its answer once so many spans have come."""
    before = len(collector.spans)
    answer = await server.client.post("/v1/reason", json={**ASK, "cache": "off"}, headers=headers)
    await eventually(lambda: len(collector.spans) >= before + spans, 3.0)
    return answer.json()


def exporting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Export at once."""
    monkeypatch.setattr("app.telemetry.tracing.GATHER_S", 0.01)


def in_memory(ratio: float = 1.0, capacity: int = 10, exporter: SpanExporter | None = None) -> Tracing:
    """Tracing that keeps what it exports in a list of its exporter."""
    spans = Spans(resource_of("tandem", "1", "here"), lambda name: name)
    return Tracing(exporter or Kept(), spans, ratio, capacity)


class Kept(SpanExporter):
    """An exporter into a list; gate: it takes nothing before that; how: what it says, or raises."""

    def __init__(self, gate: Any = None, how: Any = SpanExportResult.SUCCESS) -> None:
        self.spans: list[Any] = []
        self._gate = gate
        self._how = how

    def export(self, spans: Any) -> SpanExportResult:
        """Take these."""
        if self._gate is not None:
            self._gate.wait(5)
        if isinstance(self._how, Exception):
            raise self._how
        self.spans += spans
        return self._how  # type: ignore[no-any-return]

    def shutdown(self) -> None:
        """Nothing is held."""


async def test_a_run_leaves_a_span_with_its_lanes_in_it(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector gets the run's span and one for each lane, with the conventions' names and the run's numbers."""
    exporting(monkeypatch)
    with collecting() as collector:
        settings: dict[str, Any] = {
            "trace_endpoint": collector.url,
            "trace_headers": "x-token=secret one,y=2",
            "trace_service_name": "t1",
        }
        async with serving(dsn, **settings) as server:
            told = await asked(server, collector)
        run, fast = collector.named("tandem.run"), collector.named("chat fast")
    run_id = told["start"]["run_id"]
    assert run.trace_id.hex() == run_id.replace("-", "")
    assert (run.span_id.hex(), run.parent_span_id) == (span_of(run_id), b"")
    assert (fast.trace_id, fast.parent_span_id) == (run.trace_id, run.span_id)
    tags, lane = values(run.attributes), values(fast.attributes)
    assert (tags["tandem.status"], tags["tandem.verified"], tags["tandem.run_id"]) == ("completed", True, run_id)
    assert lane["gen_ai.usage.output_tokens"] == told["lanes"][0]["usage"]["output_tokens"]
    assert (lane["gen_ai.operation.name"], lane["gen_ai.provider.name"], lane["tandem.lane"]) == (
        "chat",
        "scripted",
        "fast",
    )
    length_ms = (run.end_time_unix_nano - run.start_time_unix_nano) / 1e6
    assert length_ms == pytest.approx(told["done"]["latency_ms"])
    assert abs(run.end_time_unix_nano / 1e9 - time.time()) < 10
    resource, _ = collector.spans[0]
    assert (resource["service.name"], collector.headers["x-token"]) == ("t1", "secret one")
    assert b"Why?" not in b"".join(collector.raw)


async def test_a_trace_goes_on_through_the_run_to_the_providers(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run joins the caller's trace, and each provider is sent the span of its lane, with the caller's state."""
    exporting(monkeypatch)
    with collecting() as collector:
        async with fake_openai() as upstream:
            models: dict[str, Any] = {
                "fast_model": "openai:3t",
                "slow_model": "openai:4t-20ms",
                "openai_base_url": upstream.base_url,
            }
            async with serving(dsn, trace_endpoint=collector.url, **models) as server:
                told = await asked(server, collector, **SENT)
            sent = {request.body["model"]: request.headers for request in upstream.received}
        run = collector.named("tandem.run")
        lanes = [span for _, span in collector.spans if span.name != "tandem.run"]
    spans = {values(span.attributes)["tandem.lane"]: span for span in lanes}
    assert (run.trace_id.hex(), run.parent_span_id.hex(), run.trace_state) == (TRACE, PARENT, "vendor=value")
    for lane, model in (("fast", "3t"), ("slow", "4t-20ms")):
        assert sent[model]["traceparent"] == f"00-{TRACE}-{spans[lane].span_id.hex()}-01"
        assert sent[model]["tracestate"] == "vendor=value"
        assert spans[lane].span_id.hex() == span_of(told["start"]["run_id"], f"lane/{lane}")


async def test_every_sample_of_a_wrapped_model_joins_the_trace(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrapper sends on what the lane sends, and the span names the model that was asked."""
    exporting(monkeypatch)
    with collecting() as collector:
        async with fake_openai() as upstream:
            models: dict[str, Any] = {"slow_model": "deliberate:2@openai:4t", "openai_base_url": upstream.base_url}
            async with serving(dsn, trace_endpoint=collector.url, **models) as server:
                await asked(server, collector, **SENT)
            parents = [request.headers["traceparent"] for request in upstream.received]
        slow = values(collector.named("chat 4t").attributes)
    assert len(parents) == 2
    assert len(set(parents)) == 1
    assert (slow["gen_ai.provider.name"], slow["tandem.model"]) == ("openai", "deliberate:2@openai:4t")


async def test_vertex_gets_the_trace_as_metadata() -> None:
    """What a lane sends along reaches Vertex AI as metadata of its call."""
    async with fake_vertex() as fake:
        model = await open_vertex("3t", fake)
        along = (("traceparent", SENT["traceparent"]),)
        async for _ in model.ask(Prompt((Message("user", "Why?"),), along=along)):
            pass
        await model.close()
    assert fake.metadata[0]["traceparent"] == SENT["traceparent"]


async def test_without_a_collector_nothing_is_sent_along(dsn: str) -> None:
    """Without TRACE_ENDPOINT a provider sees no trace, whoever sent one."""
    async with fake_openai() as upstream:
        async with serving(dsn, fast_model="openai:3t", openai_base_url=upstream.base_url) as server:
            await server.client.post("/v1/reason", json=ASK, headers=SENT)
        assert [name for name in upstream.received[0].headers if name.startswith("trace")] == []


async def test_a_failed_lane_is_an_error_and_a_replay_asks_nobody(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a lane that failed the span says why by its code; a stored answer's run has a span without lanes."""
    exporting(monkeypatch)
    with collecting() as collector:
        async with serving(dsn, trace_endpoint=collector.url, fast_model="scripted:error") as server:
            await server.client.post("/v1/reason", json=ASK)
            await server.client.post("/v1/reason", json=ASK)
            await eventually(lambda: len(collector.spans) >= 4, 3.0)
        fast = collector.named("chat error")
        runs = [values(span.attributes) for _, span in collector.spans if span.name == "tandem.run"]
    assert fast.status.code == 2
    assert fast.status.message == values(fast.attributes)["error.type"]
    assert [run["tandem.source"] for run in runs] == ["live", "cache"]
    assert len(collector.spans) == 4


@pytest.mark.parametrize("away", ["refuses", "fails", "hangs"])
async def test_a_collector_that_is_away_delays_nobody(
    dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, away: str
) -> None:
    """Questions are answered as ever, the end of the server included; what is lost is counted and said, once."""
    exporting(monkeypatch)
    monkeypatch.setattr("app.telemetry.tracing.CLOSE_S", 0.05)
    with collecting() as collector:
        endpoint = collector.url if away != "refuses" else "http://127.0.0.1:9/v1/traces"
        collector.status = 400 if away == "fails" else 200
        if away == "hangs":
            collector.may_answer.clear()
        began = time.monotonic()
        async with serving(dsn, trace_endpoint=endpoint) as server:
            for _ in range(2):
                answer = await server.client.post("/v1/reason", json={**ASK, "cache": "off"})
                assert answer.json()["done"]["status"] == "completed"
        assert time.monotonic() - began < 3.0
    said = [record for record in caplog.records if "traces" in record.getMessage()]
    assert 1 <= len(said) <= 2
    assert all("127.0.0.1" not in record.getMessage() for record in said)


async def test_a_full_queue_drops_and_counts() -> None:
    """What does not fit is dropped at once and counted; what fits is exported when the collector is back."""
    gate = threading.Event()
    exporter = Kept(gate)
    tracing = in_memory(capacity=3, exporter=exporter)
    tracing.keep(entries.closing(), Key("", ""))
    await eventually(lambda: tracing.state["waiting"] == 0)
    for _ in range(10):
        tracing.keep(entries.closing(), Key("", ""))
    assert 6 <= tracing.dropped <= 7
    gate.set()
    await tracing.close()
    assert tracing.exported + tracing.dropped in (10, 11)


@pytest.mark.parametrize("how", [SpanExportResult.FAILURE, RuntimeError("secret words")])
async def test_what_could_not_be_exported_is_counted(how: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An exporter that fails or raises ends nothing but its spans, and its words are not repeated."""
    tracing = in_memory(exporter=Kept(how=how))
    tracing.keep(entries.closing(), Key("", ""))
    await tracing.close()
    assert tracing.failed == 1
    assert "secret" not in caplog.text


async def test_a_share_of_the_runs_is_sampled_and_who_sends_a_trace_decides() -> None:
    """About the ratio of runs is kept; a trace that was sent is kept or not as its flag says, and told on so."""
    tracing = in_memory(0.25, capacity=4000)
    ids = [str(uuid7()) for _ in range(2000)]
    trail.begin("mine", None)
    sampled = sum(tracing._sampled(run_id) for run_id in ids)
    assert 380 < sampled < 620
    for wanted, flags in ((True, "01"), (False, "00")):
        trail.begin("mine", Trace(TRACE, PARENT, wanted))
        assert {tracing._sampled(run_id) for run_id in ids[:50]} == {wanted}
        assert dict(tracing.along(ids[0])["slow"])["traceparent"].endswith(f"-{flags}")
    await tracing.close()


def test_spans_hold_no_text() -> None:
    """What is kept of a run until it is exported has neither the question nor the answers nor labels in it."""
    closing = entries.closing(entries.opening(question=entries.question("a planted question", Labels("label"))))
    kept = ended(closing, trail.Trail("mine"))
    assert not re.search(r"planted|Paris|Hm\.|label", repr(kept))


def test_names_of_models_are_masked() -> None:
    """A key that stands in the name or the version of a model is not told."""
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    fast = msgspec.structs.replace(entries.lane("fast", model_version=f"v-{key}"), model=f"openai:x-{key}")
    spans = Spans(resource_of("tandem", "1", "here"), Redactor("full", 64).remark)
    made = spans.of(ended(entries.closing(lanes={"fast": fast}), trail.Trail("mine")))
    told = " ".join(f"{span.name} {dict(span.attributes or {})}" for span in made)
    assert "openai:x-[masked:aws_access_key]" in told
    assert key not in told


def test_the_names_are_those_of_the_conventions() -> None:
    """Every name of ours that begins with gen_ai is one that the installed conventions have."""
    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
    ours = {value for value in vars(conventions).values() if isinstance(value, str) and value.startswith("gen_ai.")}
    assert ours
    assert ours <= known


@rows(
    ("settings", "named"),
    [
        ({"trace_endpoint": "collector:4318"}, "TRACE_ENDPOINT"),
        ({"trace_endpoint": "ftp://secret@host"}, "TRACE_ENDPOINT"),
        ({"trace_endpoint": "http://secret@host:99999"}, "TRACE_ENDPOINT"),
        ({"trace_endpoint": "http://secret@[::1"}, "TRACE_ENDPOINT"),
        ({"trace_endpoint": "http://h", "trace_headers": "secret"}, "TRACE_HEADERS"),
        ({"trace_endpoint": "http://h", "trace_headers": "a=secret\nb: 1"}, "TRACE_HEADERS"),
    ],
)
def test_a_wrong_setting_is_named_without_its_value(settings: Any, named: str) -> None:
    """The error says which setting is wrong and repeats nothing of it, for it may be a secret."""
    chosen = Settings(**settings)
    wrong = wired.endpoint_of if named == "TRACE_ENDPOINT" else wired.headers_of
    with pytest.raises(StartupError, match=named) as raised:
        wrong(chosen)
    assert "secret" not in raised.value.message


def test_off_imports_nothing() -> None:
    """Without TRACE_ENDPOINT nothing of OpenTelemetry is imported but what FastAPI takes of its bare interface."""
    code = "import app.wiring, app.main, sys; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    loaded = set(out.split())
    assert loaded.isdisjoint({"opentelemetry.sdk", "opentelemetry.exporter", "app.telemetry.tracing", "requests"})
