"""A table in one test tells as much as a test a row would."""

import pytest
from cells import rows


def test_every_row_is_tried_and_each_that_fails_is_told() -> None:
    """All rows are tried with the test's fixtures, and the fault of each that fails comes with its values."""
    tried = []

    @rows("one, other", [(1, 1), (1, 2), (3, 4)])
    def table(one: int, other: int, fixture: str) -> None:
        tried.append((one, other, fixture))
        assert one == other

    with pytest.raises(ExceptionGroup, match="2 of 3 rows") as caught:
        table(fixture="f")
    assert tried == [(1, 1, "f"), (1, 2, "f"), (3, 4, "f")]
    assert [fault.__notes__ for fault in caught.value.exceptions] == [
        ["in the row one=1, other=2"],
        ["in the row one=3, other=4"],
    ]


@rows("number", [1, 2])
async def test_a_coroutine_is_awaited_for_every_row(number: int) -> None:
    """A table of coroutines is awaited, row after row."""
    assert number in (1, 2)
