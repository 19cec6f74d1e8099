"""Everything that one caller may try with what is another's: every route, with every name there is to put into it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from uuid_utils import uuid7


@dataclass(frozen=True)
class Names:
    """What somebody's things are called, or by default what nothing is; all of it may have come to other ears."""

    ended: str = field(default_factory=lambda: str(uuid7()))
    live: str = field(default_factory=lambda: str(uuid7()))
    replay: str = field(default_factory=lambda: str(uuid7()))
    fingerprint: str = "0" * 64
    key: str = "another-key"
    labels: dict[str, str] = field(default_factory=lambda: {n: f"no-{n}" for n in ("experiment", "variant")})
    tag: str = "no-tag"
    prompt_class: str = "no-class"
    text: str = "Where is the red zebra?"
    live_text: str = "Where is the red zebra now?"
    cursor: str | None = None
    log_cursor: str | None = None

    @property
    def runs(self) -> tuple[str, str, str]:
        """Every run."""
        return self.ended, self.live, self.replay


class Try(NamedTuple):
    """One request, and the status of its answer."""

    target: str
    status: int
    headers: dict[str, str] = {}  # noqa: RUF012  # never changed
    body: dict[str, Any] | None = None


def tries(of: Names) -> dict[str, list[Try]]:
    """By route, what is tried with these names. Questions come last, for they leave records of who asks them."""
    return {**_reads(of), **_past(of), **_changes(of), **_open_to_all(), **_asks(of)}


def _reads(of: Names) -> dict[str, list[Try]]:
    run, events = "/v1/runs/{run_id}", "/v1/runs/{run_id}/events"
    seen = [(f"/v1/runs/{run_id}/events", f"{run_id}:{seq}") for run_id in of.runs for seq in (0, 10**6)]
    return {
        f"GET {run}": [Try(f"/v1/runs/{run_id}", 404) for run_id in (*of.runs, of.ended.upper())],
        f"GET {events}": [
            *(Try(f"/v1/runs/{run_id}/events", 404) for run_id in of.runs),
            *(Try(path, 404, {"Last-Event-ID": last}) for path, last in seen),
            *(Try(f"{path}?last_event_id={last}", 404) for path, last in seen),
        ],
    }


def _past(of: Names) -> dict[str, list[Try]]:
    filters = [*of.labels.items(), ("tag", of.tag), ("prompt_class", of.prompt_class), ("source", "cache")]
    by, labels = [f"{name}={value}" for name, value in filters], "&".join("=".join(item) for item in of.labels.items())
    variants = f"experiment={of.labels['experiment']}&a={of.labels['variant']}&b=other"
    past = "/api/experiments"

    def at(path: str, *queries: str, of: Iterable[str] = by) -> list[Try]:
        return [Try(f"{path}?{query}", 200) for query in ("", *of, *queries)]

    cursor, log_cursor = (f"cursor={value}" if value else "limit=2" for value in (of.cursor, of.log_cursor))
    return {
        f"GET {past}": at(past, cursor, "payload=true&limit=50"),
        f"GET {past}/stats": at(f"{past}/stats", "by=experiment,variant", of=by[:2]),
        f"GET {past}/agreement": at(f"{past}/agreement", labels, of=by[:2]),
        f"GET {past}/deadline-curve": at(f"{past}/deadline-curve", labels, of=by[:2]),
        f"GET {past}/compare": [Try(f"{past}/compare?{variants}", 200)],
        f"GET {past}/export": at(
            f"{past}/export", "payload=true", "payload=true&format=csv", f"payload=true&{labels}", of=()
        ),
        f"GET {past}/{{run_id}}": [Try(f"{past}/{run_id}", 404) for run_id in of.runs],
        "GET /api/logs": at("/api/logs", f"fingerprint={of.fingerprint}", "source=attached", log_cursor),
        "GET /api/cache/stats": [Try("/api/cache/stats", 200)],
        "GET /api/breakers": [Try("/api/breakers", 200)],
        "GET /health/cache": [Try("/health/cache", 200)],
    }


def _changes(of: Names) -> dict[str, list[Try]]:
    feedback = [f"/api/experiments/{run_id}/feedback/note" for run_id in of.runs]
    return {
        "PUT /api/experiments/{run_id}/feedback/{name}": [Try(p, 404, {}, {"value": "bob was here"}) for p in feedback],
        "DELETE /api/experiments/{run_id}/feedback/{name}": [Try(path, 404) for path in feedback],
        "POST /v1/runs/{run_id}/cancel": [Try(f"/v1/runs/{run_id}/cancel", 404) for run_id in of.runs],
        "POST /v1/runs/{run_id}/accept": [Try(f"/v1/runs/{run_id}/accept", 404) for run_id in of.runs],
        "DELETE /api/cache/{fingerprint}": [Try(f"/api/cache/{of.fingerprint}", 404)],
        "DELETE /api/cache": [Try("/api/cache", 200)],
        "PUT /api/breakers/{name}": [Try("/api/breakers/none", 404, body={"state": "auto"})],
    }


def _open_to_all() -> dict[str, list[Try]]:
    """What is the same for everybody."""
    health = ("/health", "/health/", "/health/detailed", "/health/live", "/health/ready")
    numbers = ("/prometheus", "/metrics", "/api/metrics/summary", "/v1/limits")
    files = ("/", "/docs", "/openapi.json")
    pages = {f"GET {path}": [Try(path, 200)] for path in (*health, *numbers, *files, "/v1/session")}
    heads = {f"HEAD {path}": [Try(path, 200)] for path in files[2:]}
    return {**pages, **heads, "MOUNT /console": [Try("/console/main.js", 200)]}


def _asks(of: Names) -> dict[str, list[Try]]:
    question: dict[str, Any] = {"input": of.text}
    key, last = {"Idempotency-Key": of.key}, {"Last-Event-ID": f"{of.ended}:1"}
    url = f"/v1/reason?input={of.text}&cache=refresh"
    return {
        "POST /v1/reason": [
            Try("/v1/reason", 404, last, question),
            Try("/v1/reason", 404, {**last, **key}, question),
            Try("/v1/reason", 200, {}, question),
            Try("/v1/reason", 200, key, {**question, "cache": "refresh", "stream": False}),
            Try("/v1/reason", 200, {"Idempotency-Key": f"{of.key}-2"}, {"input": "Another?", "cache": "refresh"}),
        ],
        "GET /v1/reason": [
            Try(url, 404, last),
            Try(f"{url}&last_event_id={of.live}:0", 404),
            Try(url, 200),
            Try(url, 200, {"Idempotency-Key": f"{of.key}-3"}),
        ],
    }
