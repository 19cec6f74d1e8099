"""A table in one test: like pytest.mark.parametrize, for rows so small that pytest takes longer than what they show."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

TOLD = 20  # of the rows that fail


class Faults:
    """What failed, each with its row."""

    def __init__(self) -> None:
        self._found: list[Exception] = []
        self._rows = 0

    @contextlib.contextmanager
    def of(self, row: dict[str, Any]) -> Iterator[None]:
        """One row, whose fault does not keep the others from being tried."""
        self._rows += 1
        try:
            yield
        except Exception as fault:  # noqa: BLE001  # raised below, with the others
            fault.add_note(f"in the row {', '.join(f'{name}={value!r:.300}' for name, value in row.items())}")
            self._found.append(fault)

    def raise_all(self) -> None:
        """Fail with all of them, the first in full."""
        if self._found:
            raise ExceptionGroup(f"{len(self._found)} of {self._rows} rows", self._found[:TOLD])


def rows(names: str | Sequence[str], values: Iterable[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Run a test once for every row: a value, or as many as there are names. The rows share the test's fixtures."""
    taken = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    table = [dict(zip(taken, row if len(taken) > 1 else (row,), strict=True)) for row in values]
    assert table

    def over(test: Callable[..., Any]) -> Callable[..., Any]:
        """The test of the whole table."""
        whole = (_later if inspect.iscoroutinefunction(test) else _now)(test, table)
        given = inspect.signature(test)
        fixtures = [parameter for name, parameter in given.parameters.items() if name not in taken]
        whole.__signature__ = given.replace(parameters=fixtures)  # type: ignore[attr-defined]  # where pytest looks
        return whole

    return over


def _now(test: Callable[..., Any], table: list[dict[str, Any]]) -> Callable[..., Any]:
    @functools.wraps(test)
    def whole(**fixtures: Any) -> None:
        faults = Faults()
        for row in table:
            with faults.of(row):
                test(**fixtures, **row)
        faults.raise_all()

    return whole


def _later(test: Callable[..., Any], table: list[dict[str, Any]]) -> Callable[..., Any]:
    @functools.wraps(test)
    async def whole(**fixtures: Any) -> None:
        faults = Faults()
        for row in table:
            with faults.of(row):
                await test(**fixtures, **row)
        faults.raise_all()

    return whole
