"""The query of one page, made of its filters: each one alone is answered from one index, however rare its value is.

PostgreSQL plans a prepared statement once for all values, so that a filter that is not asked for must not be in it.
"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final, NamedTuple

from app.events import clean
from app.experiments.list import Filters, Position
from app.question import Caller

_COLUMN_FILTERS: Final = {
    "since": "o.created_at >= {}",
    "until": "o.created_at < {}",
    "status": "r.status = {}",
    "experiment": "r.experiment = {}",
    "variant": "r.variant = {}",
    "prompt_class": "r.prompt_class = {}",
    "source": "r.source = {}",
    "agreement": "r.agreement ->> 'verdict' = {}",
}
_SLOWER: Final = "r.latency_ms >= {!r}::double precision"
# Filters whose values stand in another table, and where.
_OTHER_TABLES: Final = {"tag": ("run_tags", "tag"), "model": ("legs", "model"), "outcome": ("legs", "outcome")}

_BEFORE: Final = "({0}.created_at, {0}.run_id) < ($3::timestamptz, $4::uuid)"
_PAGE: Final = """
WITH page AS (
    SELECT r.* FROM {tables} WHERE r.caller = $1 AND {conditions} ORDER BY o.created_at DESC, o.run_id DESC LIMIT $2
)
SELECT page.*, l.lanes
FROM page
LEFT JOIN LATERAL (
    SELECT json_object_agg(legs.lane, to_json(legs) ORDER BY legs.attempt) AS lanes
    FROM legs WHERE legs.run_id = page.run_id
) AS l ON true
ORDER BY page.created_at DESC, page.run_id DESC
"""
_OVER_ANOTHER: Final = """(
        SELECT DISTINCT x.created_at, x.run_id FROM {table} AS x
        WHERE x.caller = $1 AND x.{column} = {value} AND {before}
        ORDER BY x.created_at DESC, x.run_id DESC
    ) AS o JOIN runs AS r ON r.run_id = o.run_id"""
_ALSO: Final = "EXISTS (SELECT FROM {table} AS x WHERE x.run_id = r.run_id AND x.caller = $1 AND x.{column} = {value})"
_NEWEST: Final = Position(datetime.max.replace(tzinfo=UTC), "ffffffff-ffff-ffff-ffff-ffffffffffff")


class Statement(NamedTuple):
    """A text and its arguments."""

    sql: str
    arguments: tuple[object, ...]


def page_of(caller: Caller, filters: Filters, limit: int, before: Position | None) -> Statement:
    """The statement that reads a page: `o` is the table that gives the order, `r` the run."""
    arguments: list[object] = [caller.id, limit, *(before or _NEWEST)]
    tables, conditions = "runs AS r CROSS JOIN LATERAL (SELECT r.created_at, r.run_id) AS o", [_BEFORE.format("r")]
    driven = False
    for name, wanted in asdict(filters).items():
        if wanted is None:
            continue
        if name == "min_latency_ms":
            conditions.append(_SLOWER.format(float(wanted)))  # in the text: its size decides how to find them
            continue
        arguments.append(clean(wanted) if isinstance(wanted, str) else wanted)  # as what is stored
        value = f"${len(arguments)}"
        if name in _COLUMN_FILTERS:
            conditions.append(_COLUMN_FILTERS[name].format(value))
            continue
        table, column = _OTHER_TABLES[name]
        if driven:
            conditions.append(_ALSO.format(table=table, column=column, value=value))
            continue
        tables = _OVER_ANOTHER.format(table=table, column=column, value=value, before=_BEFORE.format("x"))
        driven = True
    return Statement(_PAGE.format(tables=tables, conditions=" AND ".join(conditions)), tuple(arguments))
