"""The list of past runs: cursors and pages."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.errors import MalformedRequest
from app.experiments.list import Filters, Position, decode_cursor, encode_cursor, list_runs
from app.question import Caller

ME = Caller("me")
RUN_ID = "0199aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"


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
    cursor = encode_cursor(Position(at, RUN_ID))
    assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor)
    assert decode_cursor(cursor) == Position(at, RUN_ID)


@pytest.mark.parametrize("cursor", ["", "x", "A" * 31, "A" * 33, "A" * 31 + "=", "A" * 31 + "\n", "é" * 32, "f" * 32])
def test_a_bad_cursor_is_refused(cursor: str) -> None:
    """A cursor that we cannot have given out is a malformed request, never a crash."""
    with pytest.raises(MalformedRequest, match="cursor"):
        decode_cursor(cursor)


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
