"""A past worth drawing: some hundred made-up races of the last days, with all that a page must cope with."""

import random
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs
from pasts import EPOCH, closing, lane, opening
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

from app.experiments.feedback import Feedback
from app.http.callers import LOCAL
from app.postgres.experiments import Experiments
from app.postgres.pool import Pool
from app.postgres.runs import RunStore
from app.question import LaneAsk
from app.record.codec import digest, encode
from app.record.entry import Closing
from app.record.store import Filed, StoreUnavailable

CLASSES = ["maths", "maths", "maths", "geography", "geography", "law", None]
MODELS = [("openai:small", "openai:large")] * 4 + [("local:smollm2", "openai:large")]
BATCH = 100
# As the drainer does it: a server that has just begun may make the partition of a day while we write beside it.
AGAIN = AsyncRetrying(retry=retry_if_exception_type(StoreUnavailable), stop=stop_after_attempt(10), reraise=True)


def _outcome(dice: random.Random, ms: float, limit_ms: float) -> tuple[str, float]:
    """How a lane that would take so long ends, and after how long."""
    if ms > limit_ms:
        return "timeout", limit_ms
    if dice.random() < 0.03:
        return "cancelled", ms * dice.random()
    if dice.random() < 0.02:
        return "failed", ms / 3
    return "completed", ms


def _lane(dice: random.Random, name: Any, model: str, middle: float) -> Any:
    """A lane with times of a long tail; local models have no price."""
    outcome, ms = _outcome(dice, dice.lognormvariate(middle, 0.5), 5_000.0 if name == "fast" else 45_000.0)
    usd = None if model.startswith("local:") else (0.0002 if name == "fast" else 0.004) * dice.uniform(0.5, 2)
    ttft = None if outcome in {"failed", "cancelled"} else round(ms * 0.4, 1)
    return structs.replace(lane(name, round(ms, 1), outcome, ttft_ms=ttft, cost_usd=usd), model=model)


def _verdict(dice: random.Random, prompt_class: str | None) -> str:
    """What comes of comparing two answers of this class."""
    agrees = {"maths": 0.55, "geography": 0.85, "law": 0.4}.get(prompt_class or "", 0.7)
    return "agree" if dice.random() < agrees else dice.choice(["disagree", "disagree", "unknown"])


def race(dice: random.Random, at: datetime, number: int) -> Closing:
    """One race; every other one of an experiment whose variant b is faster."""
    variant = dice.choice("ab")
    labels = {"experiment": "prompts", "variant": variant} if number % 2 else {}
    prompt_class = dice.choice(CLASSES)
    models = dice.choice(MODELS)
    source = "cache" if dice.random() < 0.2 else "live"
    text = f"Question {number % 40}?"
    start = opening(
        text, at_s=(at - EPOCH).total_seconds(), prompt_class=prompt_class, models=models, source=source, **labels
    )
    question = structs.replace(start.question, slow=LaneAsk(models[1], 45.0, 30.0, 20.0))
    start = structs.replace(start, question=question)
    fast = _lane(dice, "fast", models[0], 6.0)
    slow = _lane(dice, "slow", models[1], 8.1 if variant == "b" and labels else 8.5)
    both = fast.end.outcome == slow.end.outcome == "completed"
    costs = [one.end.cost_usd for one in (fast, slow)]
    nano = None if None in costs else round(sum(costs) * 1e9)
    latency = max(one.end.latency_ms or 0 for one in (fast, slow))
    status = "completed" if slow.end.outcome == "completed" else "partial"
    return closing(
        start,
        _verdict(dice, prompt_class) if both else None,
        fast,
        slow,
        status=status,
        latency_ms=latency,
        cost_nano=0 if source == "cache" else nano,
    )


def races(now: datetime, n: int = 300, seed: int = 11) -> list[Closing]:
    """So many races, most of the last day, some of the last three weeks, the newest a minute ago."""
    dice = random.Random(seed)
    ages = [timedelta(hours=23 * dice.random()) for _ in range(n * 2 // 3)]
    ages += [timedelta(days=1 + 20 * dice.random()) for _ in range(n - len(ages) - 1)]
    return [race(dice, now - age, number) for number, age in enumerate([*ages, timedelta(minutes=1)])]


async def fill(dsn: str, runs: list[Closing]) -> None:
    """Store them, and say of some which answers were right."""
    dice = random.Random(5)
    async with Pool(dsn) as pool:
        store, reads = RunStore(pool), Experiments(pool, dsn)
        for first in range(0, len(runs), BATCH):
            await AGAIN(store.write, [Filed(run, digest(encode(run))) for run in runs[first : first + BATCH]])
        for run in runs[::3]:
            for name, chance in (("fast_correct", 0.7), ("slow_correct", 0.9)):
                await reads.put(LOCAL, run.opening.run_id, Feedback(name, dice.random() < chance))
