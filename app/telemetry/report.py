"""The counts of a span for people: rates, shares, percentiles. Times in milliseconds, money in US dollars."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from app.telemetry.meters import NANO
from app.telemetry.series import Named
from app.telemetry.tallies import Reading
from app.telemetry.windows import quantile

SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def window(counts: Named, seconds: float) -> dict[str, Any]:
    """One span, which is that long."""
    return {
        "seconds": round(seconds, 1),
        "requests": _requests(counts, seconds),
        "questions": counts.by("tandem_questions_total", 0),
        "refusals": counts.by("tandem_refusals_total", 0),
        "errors": counts.by("errors_total", 0, 1),
        "runs": _runs(counts),
        "cost_usd": _cost(counts),
        "lanes": _lanes(counts),
    }


def _cost(counts: Named) -> float | None:
    """What is known of it; null where lanes used tokens and no price was known."""
    known = counts.total("tandem_cost_usd_total")
    return None if not known and counts.total("tandem_unpriced_lanes_total") else known * NANO


def _requests(counts: Named, seconds: float) -> dict[str, Any]:
    """The requests of HTTP."""
    total, status = counts.total("http_requests_total"), counts.by("http_requests_total", 2)
    routes = counts.times("http_request_duration_seconds", 0, 1)
    return {
        "n": total,
        "per_second": round(total / seconds, 3) if seconds else None,
        "status": status,
        "error_rate": _share(status.get("5xx", 0), total),
        "routes": {route: _times(steps) for route, steps in routes.items()},
    }


def _runs(counts: Named) -> dict[str, Any]:
    """The runs, and how many of them were told from the cache."""
    total, source = counts.total("tandem_runs_total"), counts.by("tandem_runs_total", 2)
    times = counts.times("tandem_run_duration_seconds", 1)
    return {
        "n": total,
        "status": counts.by("tandem_runs_total", 0),
        "source": source,
        "cache_hit_rate": _share(source.get("cache", 0), total),
        "latency_ms": {name: _times(steps) for name, steps in times.items()},
    }


def _lanes(counts: Named) -> dict[str, Any]:
    """Each lane with each of its models."""
    outcomes, tokens = counts.by("tandem_lane_outcomes_total", 0, 2, 3), counts.by("tandem_tokens_total", 0, 2, 3)
    first = counts.times("tandem_time_to_first_token_seconds", 0, 2)
    total = counts.times("tandem_lane_duration_seconds", 0, 2)
    cost, unpriced = counts.by("tandem_cost_usd_total", 0, 2), counts.by("tandem_unpriced_lanes_total", 0, 2)
    return {
        lane: {
            "n": n,
            "outcome": _of(lane, outcomes),
            "first_token_ms": _times(first.get(lane, {})),
            "total_ms": _times(total.get(lane, {})),
            "tokens": _of(lane, tokens),
            "cost_usd": cost[lane] * NANO if lane in cost else None,
            "unpriced": unpriced.get(lane, 0),
        }
        for lane, n in counts.by("tandem_lane_outcomes_total", 0, 2).items()
    }


def _of(lane: str, counts: Mapping[str, int]) -> dict[str, int]:
    """The counts of one lane, by their last label."""
    return {word: n for name, n in counts.items() for of, _, word in [name.rpartition(" ")] if of == lane}


def _times(steps: Mapping[float, int]) -> dict[str, Any]:
    """How many there were, and the percentiles: within 1 %, null of none."""
    quantiles = {name: quantile(steps, share) for name, share in SHARES.items()}
    return {"n": sum(steps.values())} | {n: None if q is None else float(f"{q:.4g}") for n, q in quantiles.items()}


def _share(some: int, of: int) -> float | None:
    """A share; null of nothing."""
    return round(some / of, 4) if of else None


def now(readings: Iterable[Reading]) -> dict[str, Any]:
    """What was read just now, by the names that Prometheus has for it; what knows no bound is left out."""
    return {reading.about.name: _plain(reading) for reading in readings}


def _plain(reading: Reading) -> Any:  # noqa: ANN401  # a number, or numbers by label
    values = {" ".join(labels): value for labels, value in reading.values.items() if value != float("inf")}
    return values if reading.about.labels else values.get("")
