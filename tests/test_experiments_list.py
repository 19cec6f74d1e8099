"""The list of past runs: cursors, pages, fields and payloads."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cells import rows

from app.errors import MalformedRequest
from app.experiments.list import Filters, Position, decode_cursor, encode_cursor, list_runs, only, parse_fields
from app.question import Caller

ME = Caller("me")
RUN_ID = "0199aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"
ALL = Filters()


class ThreeRecords:
    """Three records, a second apart, newest first."""

    def __init__(self) -> None:
        self.times = [datetime(2026, 1, 1, 0, 0, second, 123456, UTC) for second in (3, 2, 1)]

    async def page(self, caller: Caller, filters: Filters, limit: int, before: Position | None) -> list[dict[str, Any]]:
        """As the protocol says, for a caller who filters nothing."""
        assert (caller, filters) == (ME, Filters())
        older = [at for at in self.times if before is None or at < before.created_at]
        return [{"run_id": RUN_ID, "created_at": at.isoformat().replace("+00:00", "Z")} for at in older[:limit]]


@pytest.mark.parametrize("at", [datetime(2026, 1, 1, 2, 3, 4, 567891, UTC), datetime(1, 1, 1, tzinfo=UTC)])
def test_a_cursor_comes_back_exactly(at: datetime) -> None:
    """A cursor is one word of [A-Za-z0-9_-] and holds its position to the microsecond."""
    cursor = encode_cursor(Position(at, RUN_ID), ALL)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor)
    assert decode_cursor(cursor, ALL) == Position(at, RUN_ID)


@rows("cursor", ["", "x", "A" * 39, "A" * 41, "A" * 39 + "=", "A" * 39 + "\n", "é" * 40, "f" * 40])
def test_a_bad_cursor_is_refused(cursor: str) -> None:
    """A cursor that we cannot have given out is a malformed request, never a crash."""
    with pytest.raises(MalformedRequest, match="cursor"):
        decode_cursor(cursor, ALL)


def test_a_cursor_of_a_time_that_cannot_be_is_refused() -> None:
    """A forged cursor with a moment beyond the year 9999 is a malformed request."""
    forged = encode_cursor(Position(datetime(9999, 12, 31, tzinfo=UTC), RUN_ID), ALL)
    with pytest.raises(MalformedRequest, match="next_cursor"):
        decode_cursor("f" + forged[1:], ALL)


@pytest.mark.parametrize(
    "other", [Filters(status="failed"), Filters(since=datetime(2026, 1, 1, tzinfo=UTC)), Filters(experiment="status")]
)
def test_a_cursor_is_bound_to_its_filters(other: Filters) -> None:
    """A cursor of one list is refused by a list with other filters, and the refusal says so."""
    cursor = encode_cursor(Position(datetime(2026, 1, 1, tzinfo=UTC), RUN_ID), ALL)
    with pytest.raises(MalformedRequest, match="cursor: it belongs to a list with other filters"):
        decode_cursor(cursor, other)


def test_equal_values_of_different_filters_differ() -> None:
    """Two filters with the same value make different cursors."""
    assert Filters(experiment="x").digest() != Filters(variant="x").digest()


async def test_pages_follow_each_other_to_the_end() -> None:
    """Every record comes once, and the last page has no cursor, even when it is full."""
    first = await list_runs(ThreeRecords(), ME, Filters(), limit=2)
    assert len(first["experiments"]) == 2
    second = await list_runs(ThreeRecords(), ME, Filters(), 2, first["next_cursor"])
    assert [record["created_at"][17:19] for record in second["experiments"]] == ["01"]
    assert second["next_cursor"] is None
    assert (await list_runs(ThreeRecords(), ME, Filters(), limit=3))["next_cursor"] is None


async def test_a_cursor_survives_new_runs() -> None:
    """A run that is added meanwhile neither repeats nor hides a record of the next page."""
    records = ThreeRecords()
    first = await list_runs(records, ME, Filters(), limit=1)
    records.times.insert(0, records.times[0] + timedelta(seconds=1))
    second = await list_runs(records, ME, Filters(), 1, first["next_cursor"])
    assert second["experiments"][0]["created_at"][17:19] == "02"


@pytest.mark.parametrize("limit", [0, -1, 201])
async def test_the_limit_is_bounded(limit: int) -> None:
    """A page has from 1 to 200 records."""
    with pytest.raises(MalformedRequest, match="limit"):
        await list_runs(ThreeRecords(), ME, Filters(), limit)


def test_only_the_fields_asked_for_are_shown() -> None:
    """A page keeps the wanted fields in their order, and the payload."""
    page = {"experiments": [{"run_id": "r", "status": "failed", "reason": None, "payload": {}}], "next_cursor": "c"}
    assert only(page, parse_fields("status,run_id"))["experiments"] == [
        {"status": "failed", "run_id": "r", "payload": {}}
    ]
    assert only(page, parse_fields(None)) == page


@rows("text", ["", "run_id,", "nonsense", "run_id,run_id", "payload", "lanes.fast", " run_id"])
def test_unknown_fields_are_refused(text: str) -> None:
    """A field that no record has is refused by name, with those there are."""
    with pytest.raises(MalformedRequest, match="fields: a comma list, without repetition, of run_id"):
        parse_fields(text)
