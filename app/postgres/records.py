"""Rows as the record that clients see (protocol section 3)."""

import json
from datetime import UTC
from typing import Any

import asyncpg

_USAGE = ("input_tokens", "output_tokens", "thinking_tokens", "cached_tokens")
_AS_STORED = (
    "status", "reason", "policy", "source", "fingerprint", "final_lane", "verified", "change", "latency_ms",
)  # fmt: skip
_LANE_AS_STORED = (
    "model", "attempt", "outcome", "reason", "message", "retryable", "finish_reason", "model_version", "ttft_ms",
    "latency_ms", "censored",
)  # fmt: skip


def record(row: asyncpg.Record) -> dict[str, Any]:
    """A row of `runs` with its lanes, the last attempt of each, as one record."""
    created_at = row["created_at"].astimezone(UTC).isoformat(timespec="microseconds")
    lanes = loads(row["lanes"]) or {}
    return {
        "run_id": str(row["run_id"]),
        "created_at": created_at.replace("+00:00", "Z"),
        **{name: row[name] for name in _AS_STORED},
        "source_run_id": None if row["source_run_id"] is None else str(row["source_run_id"]),
        "agreement": loads(row["agreement"]),
        "cost_usd": usd(row["cost_nano"]),
        "usage": loads(row["usage"]),
        "labels": {name: row[name] for name in ("experiment", "variant", "prompt_class", "tags")},
        "lanes": {name: _lane(lanes[name]) for name in ("fast", "slow") if name in lanes},
        "content": loads(row["content"]),
        "audit": "durable",
    }


def _lane(leg: dict[str, Any]) -> dict[str, Any]:
    """A row of `legs` as one lane of a record; usage is null while it is not known where it came from."""
    usage = {name: leg[name] for name in _USAGE} | {"source": leg["usage_source"]}
    told = {name: leg[name] for name in _LANE_AS_STORED}
    return told | {"cost_usd": usd(leg["cost_nano"]), "usage": usage if leg["usage_source"] else None}


def payload(row: asyncpg.Record) -> dict[str, Any] | None:
    """What was asked and said, and when each event came; None when it is no longer kept."""
    if row["question"] is None:
        return None
    texts = loads(row["texts"]) or {}
    return {
        **loads(row["question"]),
        "texts": {lane: said["answer"] for lane, said in texts.items()},
        "thinking": {lane: said["thinking"] for lane, said in texts.items()},
        "at_ms": row["at_ms"],
    }


def usd(nano: int | None) -> float | None:
    """Nano-dollars as dollars; what is not known stays so."""
    return None if nano is None else nano / 1e9


def loads(text: str | None) -> Any:  # noqa: ANN401  # JSON has no narrower type
    """JSON as stored, or None."""
    return None if text is None else json.loads(text)
