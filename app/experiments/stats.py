"""What happened: counts, times, tokens and cost of many runs, in total and by any of a few keys, each with its n."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from app.errors import MalformedRequest
from app.experiments.intervals import wilson
from app.experiments.rollup import By, Counted, Histogram, LaneCounts, RolledUp, Selection, Sum
from app.experiments.survival import kaplan_meier_counts
from app.question import LANES, Caller

# What a client may group by, in its words and in those of the roll-ups.
KEYS: Final[dict[str, By]] = {
    "model": "model",
    "policy": "policy",
    "experiment": "experiment",
    "variant": "variant",
    "class": "prompt_class",
    "hour": "hour",
    "day": "day",
}
QUANTILES: Final = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
GROUPS_MAX: Final = 1_000  # more are no answer but an export
BY_HOUR_MAX: Final = timedelta(days=3)

_NOTHING = Counted({}, 0, {}, {}, {}, 0, Sum(), Histogram(), {})


def parse_by(text: str | None) -> tuple[By, ...]:
    """The keys of a comma list, each known and named once; none for no list."""
    if text is None:
        return ()
    names = text.split(",")
    if len(set(names)) < len(names) or not set(names) <= set(KEYS):
        raise MalformedRequest(f"by: a comma list, without repetition, of {', '.join(KEYS)}")
    return tuple(KEYS[name] for name in names)


async def stats(rolled_up: RolledUp, caller: Caller, wanted: Selection, by: Sequence[By] = ()) -> dict[str, Any]:
    """The caller's runs in total and, with keys, group by group; behind: hours with changes not counted yet."""
    if "hour" in by and (wanted.since is None or (wanted.until or datetime.now(UTC)) - wanted.since > BY_HOUR_MAX):
        raise MalformedRequest(f"by: hour takes a span (since, until) of at most {BY_HOUR_MAX.days} days, day any")
    behind = await rolled_up.behind(caller, wanted)
    total = next(iter(await rolled_up.stats(caller, wanted)), _NOTHING)
    report: dict[str, Any] = {"total": _group(total), "behind": {"hours": behind}}
    if by:
        groups = await rolled_up.stats(caller, wanted, by)
        if len(groups) > GROUPS_MAX:
            raise MalformedRequest(f"by: that makes more than {GROUPS_MAX} groups; narrow the filters or the keys")
        report["groups"] = [{"key": _key(group.key)} | _group(group) for group in groups]
    return report


def _key(key: dict[str, str | None]) -> dict[str, str | None]:
    """The key of a group in the client's words."""
    return {"class" if name == "prompt_class" else name: value for name, value in key.items()}


def _group(group: Counted) -> dict[str, Any]:
    """One group of runs; replays are in none of its numbers but `source` and `cache`, unless they were asked for."""
    return {
        "n": group.runs,
        "status": group.statuses,
        "source": group.sources,
        "agreement": group.verdicts,
        "slow": wilson(group.slow, group.runs)._asdict(),
        "cache": wilson(group.sources.get("cache", 0), sum(group.sources.values()))._asdict(),
        "latency": _times(group.latency),
        "cost": _cost(group.cost_nano),
        "lanes": {lane: _lane(group.lanes.get(lane, LaneCounts())) for lane in LANES},
    }


def _lane(lane: LaneCounts) -> dict[str, Any]:
    """One lane of a group of runs."""
    return {
        "n": sum(lane.outcomes.values()),
        "outcome": lane.outcomes,
        "first_token": _times(lane.first_token),
        "total": _times(lane.total),
        "tokens": {
            "input": _sum(lane.input_tokens),
            "output": _sum(lane.output_tokens),
            "thinking": _sum(lane.thinking_tokens),
            "cached": _sum(lane.cached_tokens),
        },
        "cost": _cost(lane.cost_nano),
    }


def _times(times: Histogram) -> dict[str, Any]:
    """n ended and censored were cut short before; a quantile is null when the data do not reach it."""
    curve = kaplan_meier_counts(times.steps)
    quantiles = {name: _ms(curve.quantile(share).value) for name, share in QUANTILES.items()}
    return {"n": times.n, "censored": times.censored} | quantiles


def _ms(value: float | None) -> float | None:
    """A time of a histogram, exact to 1 %, without the digits that would say more."""
    return None if value is None else float(f"{value:.3g}")


def _sum(known: Sum) -> dict[str, int | None]:
    """A sum over the n that are known; null, never 0, of none."""
    return {"n": known.n, "sum": known.total if known.n else None}


def _cost(nano: Sum) -> dict[str, float | int | None]:
    """Dollars, of the n whose cost is known."""
    return {"n": nano.n, "sum_usd": nano.total / 1e9 if nano.n else None}
