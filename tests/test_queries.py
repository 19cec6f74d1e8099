"""The file of queries and its loader."""

import re
from typing import Any

import asyncpg
import entries
import pytest

from app.experiments.list import Filters, Position
from app.postgres import queries
from app.postgres.listing import page_of
from app.question import Caller


def test_every_query_is_named_and_described() -> None:
    """Every query of every file has a name of its own and a sentence that describes it."""
    found = queries.read("\n".join(queries.texts()))
    assert found.keys() == queries.QUERIES.keys()
    assert all(len(query.description) > 15 for query in found.values())


def test_the_sql_is_read_without_its_comments() -> None:
    """A query is sent to the server without comments and without the last semicolon."""
    found = queries.read("-- name: one\n-- Says one.\nSELECT 1\nFROM two;\n\n-- name: two\n-- Says two.\nSELECT 2;\n")
    assert found["one"] == queries.Query("one", "Says one.", "SELECT 1\nFROM two")
    assert found["two"].sql == "SELECT 2"


@pytest.mark.parametrize(
    "text",
    [
        "-- name: one\nSELECT 1;\n",
        "-- name: one\n-- Says one.\n",
        "-- name: one\n-- Says one.\nSELECT 1;\n-- name: one\n-- Says it again.\nSELECT 1;\n",
    ],
)
def test_a_careless_file_is_refused(text: str) -> None:
    """A query without description or text, or a name that comes twice, is refused."""
    with pytest.raises(ValueError, match="query one"):
        queries.read(text)


def test_every_read_of_runs_is_scoped_to_its_caller() -> None:
    """Every query that returns runs to somebody names the caller in its condition."""
    everything: dict[str, Any] = {"model": "m", "outcome": "empty", "tag": "t", "status": "failed"}
    asked = [Filters(), Filters(**everything), *(Filters(**dict([one])) for one in everything.items())]
    pages = [page_of(Caller("me"), filters, 10, None).sql for filters in asked]
    assert all("r.caller = $1" in sql for sql in [*pages, queries.QUERIES["get_run"], queries.QUERIES["get_log"]])
    assert all(len(re.findall(r"AS x\s+WHERE", sql)) == sql.count("x.caller = $1") for sql in pages)


def test_a_number_that_is_asked_for_is_planned_for() -> None:
    """The least latency is written into the statement: how many runs are slower decides how to find them."""
    sql, arguments = page_of(Caller("me"), Filters(min_latency_ms=20_000), 10, None)
    assert "r.latency_ms >= 20000.0" in sql
    assert len(arguments) == 4


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({}, "runs_newest_of_caller"),
        ({"status": "failed"}, "runs_by_status"),
        ({"source": "cache"}, "runs_by_source"),
        ({"experiment": "x"}, "runs_by_experiment"),
        ({"variant": "x"}, "runs_by_variant"),
        ({"prompt_class": "x"}, "runs_by_class"),
        ({"agreement": "agree"}, "runs_by_verdict"),
        ({"model": "x"}, "legs_by_model"),
        ({"outcome": "empty"}, "legs_by_outcome"),
        ({"tag": "x"}, "run_tags_by_tag"),
    ],
    ids=str,
)
async def test_a_page_of_one_filter_is_read_from_one_index(dsn: str, filters: dict[str, Any], index: str) -> None:
    """A page deep in the past is found through the index of its filter, newest first, and never sorted."""
    sql, arguments = page_of(Caller("me"), Filters(**filters), 50, Position(entries.EPOCH, entries.opening().run_id))
    connection = await asyncpg.connect(dsn)
    await connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off")
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {sql}", *arguments))
    await connection.close()
    found = plan.partition("Limit")[2]  # above it at most the one page is sorted
    assert f"using {index}" in found
    assert not re.search("Sort Key: .*created_at", found)
