"""Openings, closings and attachments to write down in tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

import uuid_utils

from app.events import Agreement, LaneEnd, Usage
from app.question import Labels, LaneAsk, LaneName, Message, Question
from app.record.entry import Attachment, Closing, Entry, LaneRecord, Opening

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
LANES: tuple[LaneName, LaneName] = ("fast", "slow")


def question(text: str = "What is the capital of France?", labels: Labels = Labels()) -> Question:  # noqa: B008  # frozen
    """A question with the lanes scripted:fast and scripted:slow."""
    fast, slow = (LaneAsk(f"scripted:{name}", 5.0, 4.0, 2.0) for name in LANES)
    return Question((Message("user", text),), fast, slow, deadline_s=50.0, labels=labels)


def id_at(moment: datetime) -> str:
    """A UUIDv7 made then."""
    return str(uuid_utils.uuid7(nanoseconds=round(moment.timestamp() * 1000) * 1_000_000))


def attachment(run: Opening, at_s: float = 1.0, caller: str = "guest", **changes: Any) -> Attachment:
    """A request that shared this run, at_s seconds after an epoch; as if it had asked with the run's labels."""
    created_at = EPOCH + timedelta(seconds=at_s)
    values: dict[str, Any] = {"labels": run.question.labels, "instance": run.instance} | changes
    return Attachment(id_at(created_at), created_at, run.run_id, caller, run.fingerprint, **values)


def opening_of(entry: Entry) -> Opening:
    """The opening that an entry of a run has."""
    assert not isinstance(entry, Attachment)
    return entry.opening


def opening(at_s: float = 0.0, caller: str = "me", **changes: Any) -> Opening:
    """The start of a run, at_s seconds after an epoch."""
    created_at = EPOCH + timedelta(seconds=at_s)
    run_id = id_at(created_at)
    values: dict[str, Any] = {"run_id": run_id, "created_at": created_at, "caller": caller, "fingerprint": "f" * 64}
    return Opening(**{**values, "question": question(), **changes})


def lane(name: LaneName, text: str = "Paris.", **changes: Any) -> LaneRecord:
    """A lane that completed, unless changed."""
    usage = Usage(10, 2, None, None, "reported")
    values: dict[str, Any] = {"lane": name, "outcome": "completed", "reason": None, "message": None, "retryable": False}
    values |= {"ttft_ms": 12.5, "latency_ms": 20.0 if name == "fast" else 80.0, "usage": usage}
    end = LaneEnd(**{**values, "cost_usd": 0.001, "model_version": "v1", **changes})
    return LaneRecord(end, f"scripted:{name}", text, "Hm.", "stop")


def closing(start: Opening | None = None, **changes: Any) -> Closing:
    """The whole outcome of a run that went well, unless changed."""
    values: dict[str, Any] = {
        "opening": start or opening(),
        "status": "completed",
        "reason": None,
        "final_lane": "slow",
        "verified": True,
        "change": "confirmed",
        "agreement": Agreement("agree", "exact", 1, 1.0),
        "latency_ms": 81.5,
        "usage": Usage(20, 4, None, None, "reported"),
        "cost_nano": 2_000_000,
        "lanes": {name: lane(name) for name in LANES},
        "log": b"event: start\n\nevent: done\n\n",
        "at_ms": (0, 82),
    }
    return Closing(**{**values, **changes})
