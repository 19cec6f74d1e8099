"""A past to ask: the real routes over the real store on a fresh database, without a server or models."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx
import pytest_asyncio
import uuid_utils

from app.events import Agreement, LaneEnd, Usage
from app.experiments.feedback import Feedback
from app.http.callers import LOCAL
from app.http.parts import Answers, Parts, Past
from app.main import create_app
from app.postgres.experiments import Experiments
from app.postgres.pool import Pool
from app.postgres.rollups import Rollups
from app.postgres.runs import RunStore
from app.question import Caller, Labels, LaneAsk, LaneName, Message, Question
from app.reasoning.elsewhere import Nowhere
from app.record.codec import digest, encode
from app.record.entry import Closing, Entry, LaneRecord, Opening
from app.record.store import Filed

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
_minutes = itertools.count()


@dataclass
class Site:
    """The routes, and the store below them."""

    client: httpx.AsyncClient
    store: RunStore
    reads: Experiments
    pool: Pool

    async def keep(self, *entries: Entry) -> None:
        """Store these."""
        await self.store.write([Filed(entry, digest(encode(entry))) for entry in entries])

    async def say(self, closing: Closing, caller: Caller = LOCAL, /, **said: Any) -> None:
        """Give feedback."""
        for name, value in said.items():
            await self.reads.put(caller, closing.opening.run_id, Feedback(name, value))

    async def get(self, path: str, status: int = 200, /, **params: Any) -> Any:
        """The JSON below /api/experiments."""
        answer = await self.client.get(f"/api/experiments{path}", params=params)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def refuses(self, path: str, /, **params: Any) -> str:
        """What a 422 says."""
        problem = await self.get(path, 422, **params)
        assert problem["code"] == "invalid_request"
        detail: str = problem["detail"]
        return detail


def parts_over(pool: Pool, dsn: str) -> Parts:
    """The parts that the past needs, and no other."""
    nothing = cast("Any", None)
    past = Past(Experiments(pool, dsn), Rollups(pool))
    answers = Answers(nothing, None, Nowhere(), nothing)
    return Parts(answers, nothing, RunStore(pool), nothing, nothing, 15.0, 1 << 20, "test", past)


@pytest_asyncio.fixture
async def past(pool: Pool, dsn: str) -> AsyncIterator[Site]:
    """A past without any run yet."""
    parts = parts_over(pool, dsn)
    app = create_app(parts, guard_loopback=False)
    transport = httpx.ASGITransport(cast("Any", app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://past") as client:
        reads = parts.past.reads if parts.past else None
        yield Site(client, RunStore(pool), cast("Experiments", reads), pool)


def opening(text: str = "Why?", caller: str = LOCAL.id, at_s: float | None = None, **changes: Any) -> Opening:
    """A run that was opened at_s seconds after the epoch, or a minute after the one before; labels by their names."""
    created_at = EPOCH + (timedelta(minutes=next(_minutes)) if at_s is None else timedelta(seconds=at_s))
    run_id = str(uuid_utils.uuid7(nanoseconds=round(created_at.timestamp() * 1000) * 1_000_000))
    names = [name for name in ("experiment", "variant", "prompt_class", "tags") if name in changes]
    labels = Labels(**{name: changes.pop(name) for name in names})
    models = changes.pop("models", ("a:fast", "a:slow"))
    fast, slow = (LaneAsk(model, 5.0, 4.0, 2.0) for model in models)
    question = Question((Message("user", text),), fast, slow, deadline_s=50.0, labels=labels)
    return Opening(run_id, created_at, caller, "f" * 64, question, **changes)


def lane(name: LaneName, ms: float, outcome: str = "completed", **changes: Any) -> LaneRecord:
    """A lane that took so long and cost a thousandth of a dollar, ten times that if it is the slow one."""
    cost = 0.001 if name == "fast" else 0.01
    values: dict[str, Any] = {"lane": name, "outcome": outcome, "reason": None, "message": None, "retryable": False}
    values |= {"ttft_ms": ms / 2, "latency_ms": ms, "usage": Usage(10, 2, None, None, "reported")}
    end = LaneEnd(**{**values, "cost_usd": cost, "model_version": "v1", **changes})
    return LaneRecord(end, f"a:{name}", f"{name} answer", "", "stop")


def closing(
    start: Opening | None = None, verdict: Any = "agree", fast: Any = 100.0, slow: Any = 400.0, **changes: Any
) -> Closing:
    """A run that went well; fast and slow are lanes, or how long they took."""
    one = fast if isinstance(fast, LaneRecord) else lane("fast", fast)
    other = slow if isinstance(slow, LaneRecord) else lane("slow", slow)
    values: dict[str, Any] = {
        "opening": start or opening(),
        "status": "completed",
        "reason": None,
        "final_lane": "slow",
        "verified": True,
        "change": "confirmed",
        "agreement": None if verdict is None else Agreement(verdict, "exact", 1, None),
        "latency_ms": other.end.latency_ms,
        "usage": Usage(20, 4, None, None, "reported"),
        "cost_nano": 11_000_000,
        "lanes": {"fast": one, "slow": other},
        "log": b"",
        "at_ms": (),
    }
    return Closing(**{**values, **changes})
