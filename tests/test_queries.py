"""The file of queries and its loader."""

import pytest

from app.postgres import queries


def test_every_query_is_named_and_described() -> None:
    """Every query of the file has a name of its own and a sentence that describes it."""
    found = queries.read(queries.FILE.read_text("utf-8"))
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
    reads = [sql for name, sql in queries.QUERIES.items() if name.startswith(("list_runs", "get_"))]
    assert len(reads) == 3
    assert all("r.caller = $1" in sql for sql in reads)
