"""The request log in PostgreSQL: the query of one page, made of its filters, and its rows as requests.

A run is read where its status, its label or its tag is indexed in order of time, so that a page stays in index order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from app.experiments.list import Position
from app.experiments.logs import ACCEPTED, BROKEN, UNVERIFIED, Wanted, word
from app.postgres.conditions import cleaned
from app.postgres.listing import Statement
from app.postgres.pool import Pool
from app.postgres.queries import QUERIES
from app.postgres.reading import fetch
from app.question import Caller

_EQUAL: Final = ("fingerprint", "experiment", "variant", "prompt_class")
_NEWEST: Final = Position(datetime.max.replace(tzinfo=UTC), "ffffffff-ffff-ffff-ffff-ffffffffffff")
# From the attached request to the end of the run it shares.
_SHARED_MS: Final = """CASE WHEN r.latency_ms IS NOT NULL THEN
    greatest(0, extract(epoch FROM r.created_at - a.created_at)::double precision * 1000 + r.latency_ms) END"""
_WELL: Final = f"(r.status IN ('completed', 'cancelled') OR r.status = '{UNVERIFIED}' AND r.reason = '{ACCEPTED}')"
_UNCHECKED: Final = f"r.status = '{UNVERIFIED}' AND r.reason IS DISTINCT FROM '{ACCEPTED}'"
_PAGE: Final = "SELECT * FROM ({branches}) AS page ORDER BY created_at DESC, id DESC LIMIT $2"


class RequestLog:
    """Reads requests over a pool that stays its owner's; what took longer than slow_ms milliseconds is slow."""

    def __init__(self, pool: Pool, slow_ms: float = 8000.0) -> None:
        self._pool = pool
        self._slow_ms = slow_ms

    async def page(self, caller: Caller, wanted: Wanted, limit: int, before: Position | None) -> list[dict[str, Any]]:
        """At most limit of the caller's requests, newest first, all of them before the position."""
        statement = page_of(caller, wanted, self._slow_ms, (limit, *(before or _NEWEST)))
        if statement is None:
            return []
        found = await fetch(self._pool, statement.sql, *statement.arguments)
        return [self._request(row) for row in found]

    def _request(self, row: asyncpg.Record) -> dict[str, Any]:
        """A row as it is shown."""
        created_at = row["created_at"].astimezone(UTC).isoformat(timespec="microseconds")
        slow = row["run_ms"] is not None and row["run_ms"] > self._slow_ms
        status = None if row["status"] is None else word(row["status"], row["reason"], row["run_source"], slow=slow)
        return {
            "id": str(row["id"]),
            "created_at": created_at.replace("+00:00", "Z"),
            "run_id": str(row["run_id"]),
            "source": row["source"],
            "fingerprint": row["fingerprint"],
            "status": status,
            "duration_ms": None if row["duration_ms"] is None else round(row["duration_ms"], 3),
            **{name: row[name] for name in ("experiment", "variant", "prompt_class", "tags")},
        }


def page_of(caller: Caller, wanted: Wanted, slow_ms: float, page: tuple[int, datetime, str]) -> Statement | None:
    """The statement that reads a page (limit, and the position before it); None for what no request can be.

    What is not asked for is not in it: PostgreSQL may plan it once for all values.
    """
    asked = {name: cleaned(value) for name, value in asdict(wanted).items() if value is not None}
    placed = [name for name in asked if name in ("since", "until", "tag", *_EQUAL)]
    places = {name: f"${place}" for place, name in enumerate(placed, 2 + len(page))}
    branches: list[str] = []
    if wanted.source != "attached":
        branches += _runs(wanted, slow_ms, places)
    if wanted.source in (None, "attached"):
        branches.append(_attachments(wanted, slow_ms, places))
    if not branches:
        return None
    text = _PAGE.format(branches="\nUNION ALL\n".join(f"({branch})" for branch in branches))
    return Statement(text, (caller.id, *page, *(asked[name] for name in placed)))


def _runs(wanted: Wanted, slow_ms: float, places: dict[str, str]) -> Iterator[str]:
    """The branches over `runs`: each reads one status or one source, by which they are indexed."""
    conditions = _conditions("r", places)
    if wanted.min_duration_ms is not None:
        conditions.append(_at_least("r.latency_ms", wanted.min_duration_ms))
    query = QUERIES["log_of_runs"]
    if wanted.tag is not None:
        query = QUERIES["log_of_tagged_runs"].replace("{tag}", places["tag"])
    for kind in _kinds(wanted, slow_ms):
        yield query.replace("{wanted}", " AND ".join([kind, *conditions]))


def _kinds(wanted: Wanted, slow_ms: float) -> list[str]:
    """Which runs are meant by source and status, as conditions of which no two hold for the same run."""
    sources = [wanted.source] if wanted.source else ["live", "cache"]
    requested = f"r.source IN ({', '.join(map(repr, sources))})"
    if wanted.status == "error":
        return [f"r.status = '{status}' AND {requested}" for status in BROKEN]
    if wanted.status == "check_failed":
        return [f"{_UNCHECKED} AND {requested}"]
    by_source = {source: f"r.source = '{source}'" for source in sources}
    if wanted.status is None:
        return list(by_source.values())
    source = "cache" if wanted.status == "cache_hit" else "live"
    return [f"{by_source[source]} AND {_fared(wanted.status, slow_ms)}"] if source in by_source else []


def _fared(status: str, slow_ms: float) -> str:
    """The rest of what a status says of a run; its size is in the text, for it decides how to find them."""
    slow = f"r.latency_ms > {slow_ms!r}::double precision"
    return {
        "error": f"r.status IN ({', '.join(map(repr, BROKEN))})",
        "check_failed": _UNCHECKED,
        "cache_hit": f"r.source = 'cache' AND {_WELL}",
        "slow": f"r.source <> 'cache' AND {_WELL} AND {slow}",
        "ok": f"r.source <> 'cache' AND {_WELL} AND ({slow}) IS NOT TRUE",
    }[status]


def _attachments(wanted: Wanted, slow_ms: float, places: dict[str, str]) -> str:
    """The branch over `attachments`."""
    conditions = _conditions("a", places)
    if wanted.tag is not None:
        conditions.append(f"{places['tag']} = ANY (a.tags)")
    if wanted.status is not None:
        conditions.append(_fared(wanted.status, slow_ms))
    if wanted.min_duration_ms is not None:
        conditions.append(_at_least(_SHARED_MS, wanted.min_duration_ms))
    query = QUERIES["log_of_attachments"].replace("{duration}", _SHARED_MS)
    return query.replace("{wanted}", " AND ".join(conditions) or "true")


def _conditions(table: str, places: dict[str, str]) -> list[str]:
    """What is asked of columns that both tables have."""
    spans: Sequence[tuple[str, str]] = (("since", ">="), ("until", "<"))
    found = [f"{table}.created_at {sign} {places[name]}" for name, sign in spans if name in places]
    return found + [f"{table}.{name} = {places[name]}" for name in _EQUAL if name in places]


def _at_least(milliseconds: str, least: float) -> str:
    return f"{milliseconds} >= {float(least)!r}::double precision"
