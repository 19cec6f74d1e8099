"""The spans of a run that has ended, out of its numbers; nothing of what was asked and said is in them."""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from app.events import LaneEnd
from app.question import LaneAsk, LaneName
from app.record.entry import Closing
from app.telemetry import conventions as names
from app.trail import Trail, span_of

_SOUND: Final = frozenset({"completed", "cancelled", "partial", "shutdown"})  # outcomes and statuses
_MASKED: Final = 512  # models whose names are remembered as they may be told
_SCOPE: Final = InstrumentationScope("tandem")

Value = str | bool | int | float | tuple[str, ...]


class Heard(NamedTuple):
    """A lane that has ended, without its texts."""

    model: str
    ask: LaneAsk
    end: LaneEnd
    finish_reason: str | None


class Ended(NamedTuple):
    """A run that has ended, without its texts; at_ns is Unix time."""

    trail: Trail
    at_ns: int
    run_id: str
    latency_ms: float
    told: Mapping[str, Value | None]
    lanes: dict[LaneName, Heard]


def ended(closing: Closing, trail: Trail) -> Ended:
    """What the spans need of an outcome, now that the run is over; a replay asked no models."""
    opening = closing.opening
    question = opening.question
    asked = closing.lanes.items() if opening.source == "live" else ()
    return Ended(
        trail,
        time.time_ns(),
        opening.run_id,
        closing.latency_ms or 0.0,
        {
            names.RUN_ID: opening.run_id,
            names.REQUEST_ID: trail.request_id,
            names.POLICY: question.policy,
            names.SOURCE: opening.source,
            names.STATUS: closing.status,
            names.REASON: closing.reason,
            names.FINAL_LANE: closing.final_lane,
            names.VERIFIED: closing.verified,
            names.AGREEMENT: None if closing.agreement is None else closing.agreement.verdict,
            names.COST_USD: _usd(closing.cost_nano),
        },
        {name: Heard(lane.model, question.lane(name), lane.end, lane.finish_reason) for name, lane in asked},
    )


class Spans:
    """Makes spans for one server. mask: takes secrets out of a name that a client may have given."""

    def __init__(self, resource: Resource, mask: Callable[[str], str]) -> None:
        self._resource = resource
        self._mask = lru_cache(_MASKED)(mask)

    def of(self, run: Ended) -> list[ReadableSpan]:
        """The run's span and, in it, those of its lanes, all of which began when it did."""
        began_ns = run.at_ns - _ns(run.latency_ms)
        status = str(run.told[names.STATUS])
        parent = run.trail.trace and self._context(run, run.trail.trace.parent, remote=True)
        spans = [
            ReadableSpan(
                names.RUN,
                context=self._context(run, span_of(run.run_id)),
                parent=parent,
                resource=self._resource,
                attributes=_known(run.told),
                kind=SpanKind.SERVER,
                status=_status(status, run.told[names.REASON]),
                start_time=began_ns,
                end_time=run.at_ns,
                instrumentation_scope=_SCOPE,
            )
        ]
        return spans + [self._lane(run, name, lane, began_ns) for name, lane in run.lanes.items()]

    def _lane(self, run: Ended, name: LaneName, lane: Heard, began_ns: int) -> ReadableSpan:
        model = self._mask(lane.model)
        attributes = _attributes(name, model, lane)
        return ReadableSpan(
            f"{names.CHAT} {attributes[names.REQUEST_MODEL]}",
            context=self._context(run, span_of(run.run_id, names.lane_span(name))),
            parent=self._context(run, span_of(run.run_id)),
            resource=self._resource,
            attributes=_known({**attributes, names.RESPONSE_MODEL: self._masked(lane.end.model_version)}),
            kind=SpanKind.CLIENT,
            status=_status(lane.end.outcome, lane.end.reason),
            start_time=began_ns,
            end_time=began_ns + _ns(lane.end.latency_ms),
            instrumentation_scope=_SCOPE,
        )

    def _masked(self, name: str | None) -> str | None:
        return None if name is None else self._mask(name)

    def _context(self, run: Ended, span: str, *, remote: bool = False) -> SpanContext:
        trace_id, trace = run.trail.trace_id or run.run_id.replace("-", ""), run.trail.trace
        state = TraceState.from_header([trace.state]) if trace is not None and trace.state else None
        return SpanContext(int(trace_id, 16), int(span, 16), remote, TraceFlags(TraceFlags.SAMPLED), state)


def _attributes(name: LaneName, model: str, lane: Heard) -> dict[str, Value | None]:
    """What is known of a lane, by the conventions' names and ours."""
    end, usage = lane.end, lane.end.usage
    provider, _, asked = model.rpartition("@")[2].partition(":")
    return {
        names.OPERATION: names.CHAT,
        names.PROVIDER: names.PROVIDERS.get(provider, provider),
        names.REQUEST_MODEL: asked,
        names.REQUEST_STREAM: True,
        names.MAX_TOKENS: lane.ask.max_output_tokens,
        names.TEMPERATURE: lane.ask.temperature,
        names.FINISH_REASONS: None if lane.finish_reason is None else (lane.finish_reason,),
        names.FIRST_CHUNK_S: None if end.ttft_ms is None else end.ttft_ms / 1000,
        names.INPUT_TOKENS: usage.input_tokens,
        names.OUTPUT_TOKENS: usage.output_tokens,
        names.THINKING_TOKENS: usage.thinking_tokens,
        names.CACHED_TOKENS: usage.cached_tokens,
        names.ERROR_TYPE: None if end.outcome in _SOUND else end.reason or end.outcome,
        names.LANE: name,
        names.MODEL: model,
        names.OUTCOME: end.outcome,
        names.REASON: end.reason,
        names.USAGE_SOURCE: usage.source,
        names.COST_USD: end.cost_usd,
    }


def _known(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None}


def _status(word: str, reason: object) -> Status:
    """An error when it was one; its description is a code of ours."""
    return Status(StatusCode.OK) if word in _SOUND else Status(StatusCode.ERROR, str(reason or word))


def _ns(ms: float) -> int:
    return round(ms * 1e6)


def _usd(nano: int | None) -> float | None:
    return None if nano is None else nano / 1e9
