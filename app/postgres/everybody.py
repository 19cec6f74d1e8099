"""The roll-ups of all callers together, for whoever runs the server: sums, and nobody's runs."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from app.experiments.rollup import By, Counted, Selection
from app.postgres.cells import OF_STATS, counted
from app.postgres.pool import Pool
from app.postgres.queries import QUERIES
from app.postgres.reading import fetch
from app.postgres.rollups import summed
from app.question import Caller

READ: Final = summed("read_everybodys_rollups")
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 30, tzinfo=UTC)


class EverybodysRollups:
    """Satisfies RolledUp by whole hours, in total or by model, whoever asks; of a selection it heeds the span alone.

    It reads what the last roll-up made, seconds ago. The pool stays its owner's.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def stats(self, caller: Caller, wanted: Selection, by: Sequence[By] = ()) -> list[Counted]:  # noqa: ARG002  # as RolledUp has it
        """As RolledUp has it, of all callers."""
        by_model = "model" in by
        found = await fetch(self._pool, READ, "models" if by_model else "total", *_span(wanted), by_model, OF_STATS)
        return [counted(row, ("model",) if by_model else ()) for row in found]

    async def behind(self, caller: Caller, wanted: Selection) -> int:  # noqa: ARG002  # as RolledUp has it
        """As RolledUp has it: the hours that changed since the last roll-up."""
        found: int = (await fetch(self._pool, QUERIES["count_everybodys_behind"], *_span(wanted)))[0][0]
        return found


def _span(wanted: Selection) -> tuple[datetime, datetime]:
    return wanted.since or _FIRST, wanted.until or _LAST
