"""The past that the pictures show: some hundred made-up runs of the last days, most of them of the last hours."""

import random
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

import uuid_utils

from app.errors import Outcome
from app.events import Agreement, LaneEnd, Usage
from app.experiments.feedback import Feedback
from app.http.callers import LOCAL
from app.postgres.experiments import Experiments
from app.postgres.pool import Pool
from app.postgres.runs import RunStore
from app.question import Labels, LaneAsk, LaneName, Message, Question
from app.record.codec import digest, encode
from app.record.entry import Closing, LaneRecord, Opening
from app.record.store import Filed

RUNS: Final = 420
BATCH: Final = 100
FAST_MODEL, SLOW_MODEL = "openai:gemini-flash", "openai:gemini-pro"
ASKS: Final = {"fast": LaneAsk(FAST_MODEL, 5.0, 4.0, 2.0), "slow": LaneAsk(SLOW_MODEL, 45.0, 30.0, 20.0)}
PLANS: Final = {"fast": (6.1, 5_000.0, 0.0002), "slow": (8.2, 45_000.0, 0.003)}  # log of ms, limit, middle cost
NANO: Final = 1_000_000_000


class Asked(NamedTuple):
    """A question of the past: its class, how often both models agree on it, and what each says."""

    text: str
    prompt_class: str
    agrees: float
    fast: str
    slow: str


ASKED: Final = [
    Asked("Which planet has the shortest day?", "science", 0.85, "**Jupiter**.", "**Jupiter**, in about ten hours."),
    Asked("Is a tomato a fruit or a vegetable?", "science", 0.8, "A **fruit**.", "To a botanist a **fruit**."),
    Asked("What is 17 % of 240?", "maths", 0.7, "It is **40.8**.", "17 % of 240 is **40.8**."),
    Asked("How many days are there from 3 March to 1 June?", "maths", 0.45, "**89** days.", "**90** days."),
    Asked("Is 221 a prime number?", "maths", 0.5, "**Yes**.", "**No**: it is 13 times 17."),
    Asked("Which river flows through Vienna?", "geography", 0.95, "The **Danube**.", "The **Danube**."),
    Asked("What is the capital of Australia?", "geography", 0.8, "**Canberra**.", "**Canberra**, since 1913."),
    Asked("Which is further north, Rome or New York?", "geography", 0.5, "**New York**.", "**Rome**, by a degree."),
    Asked("May a landlord enter without notice?", "law", 0.35, "**Yes**.", "**No**, emergencies excepted."),
    Asked("Is a contract by e-mail binding?", "law", 0.55, "**Yes**.", "**Yes**, as a rule."),
]


def _lane(dice: random.Random, name: LaneName, text: str, hurry: float) -> LaneRecord:
    """One lane, with times of a long tail; some take too long, some fail."""
    middle, limit, usd = PLANS[name]
    ms = round(hurry * dice.lognormvariate(middle, 0.42), 1)
    outcome: Outcome = "completed"
    if ms > limit:
        outcome, ms = "timeout", limit
    elif dice.random() < 0.015:
        outcome, ms = "failed", ms / 3
    told = text if outcome == "completed" else ""
    first = None if outcome == "failed" else round(ms * 0.4, 1)
    usage = Usage(dice.randint(14, 40), dice.randint(8, 90), None, None, "reported")
    end = LaneEnd(name, outcome, None, None, False, first, round(ms, 1), usage, usd * dice.uniform(0.6, 1.7), None)
    return LaneRecord(end, ASKS[name].model, told, "", "stop" if told else None)


def _opening(dice: random.Random, asked: Asked, at: datetime, number: int) -> Opening:
    """The start of a run; every other one belongs to a comparison of two prompts."""
    variant = dice.choice(["short", "long"]) if number % 2 else None
    labels = Labels("prompts" if variant else None, variant, asked.prompt_class)
    question = Question((Message("user", asked.text),), ASKS["fast"], ASKS["slow"], deadline_s=50.0, labels=labels)
    run_id = str(uuid_utils.uuid7(nanoseconds=round(at.timestamp() * 1000) * 1_000_000))
    source: Literal["cache", "live"] = "cache" if dice.random() < 0.18 else "live"
    return Opening(run_id, at, LOCAL.id, f"{ASKED.index(asked):064x}", question, source=source)


def _outcome(dice: random.Random, asked: Asked, fast: LaneRecord, slow: LaneRecord) -> dict[str, Any]:
    """How a run with these lanes ends."""
    if slow.end.outcome != "completed":
        stands = fast.end.outcome == "completed"
        ended = ("partial", "unverified", "fast") if stands else ("failed", None, None)
        return dict(zip(("status", "change", "final_lane"), ended, strict=True)) | {
            "verified": False,
            "agreement": None,
        }
    whole: dict[str, Any] = {"status": "completed", "final_lane": "slow", "verified": True}
    if fast.end.outcome != "completed":
        return whole | {"change": "unopposed", "agreement": None}
    verdict: Literal["agree", "disagree", "unknown"] = (
        "agree" if dice.random() < asked.agrees else "unknown" if dice.random() < 0.2 else "disagree"
    )
    change = {"agree": "confirmed", "disagree": "revised", "unknown": "undetermined"}[verdict]
    return whole | {"change": change, "agreement": Agreement(verdict, "exact", 1, None)}


def _run(dice: random.Random, at: datetime, number: int) -> Closing:
    """One run from its start to its end."""
    asked = dice.choice(ASKED)
    opening = _opening(dice, asked, at, number)
    hurry = 0.75 if opening.question.labels.variant == "short" else 1.0
    fast, slow = _lane(dice, "fast", asked.fast, hurry), _lane(dice, "slow", asked.slow, hurry)
    stored = opening.source == "cache"
    spent = sum(lane.cost_nano or 0 for lane in (fast, slow))
    return Closing(
        opening=opening,
        reason=None,
        latency_ms=max(fast.end.latency_ms, slow.end.latency_ms),
        usage=Usage(60, 90, None, None, "reported"),
        cost_nano=0 if stored else spent,
        saved_nano=spent if stored else None,
        lanes={"fast": fast, "slow": slow},
        log=b"",
        at_ms=(),
        **_outcome(dice, asked, fast, slow),
    )


async def fill(dsn: str, now: datetime) -> None:
    """Store them, and say of some which answers were right."""
    dice = random.Random(12)
    ages = sorted((timedelta(minutes=3) + timedelta(days=6.5) * dice.random() ** 2 for _ in range(RUNS)), reverse=True)
    runs = [_run(dice, now - age, number) for number, age in enumerate(ages)]
    async with Pool(dsn) as pool:
        store, reads = RunStore(pool), Experiments(pool, dsn)
        for first in range(0, RUNS, BATCH):
            await store.write([Filed(run, digest(encode(run))) for run in runs[first : first + BATCH]])
        for run in runs[::4]:
            for name, chance in (("fast_correct", 0.72), ("slow_correct", 0.94)):
                await reads.put(LOCAL, run.opening.run_id, Feedback(name, dice.random() < chance))
