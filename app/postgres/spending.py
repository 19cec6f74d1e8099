"""What the record knows of the last hour's and the last day's spending, for limits that outlive a process."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import uuid_utils

from app.admission.allowance import Unit
from app.admission.purse import BUCKET_S, BUCKETS, Account, Past, past_of
from app.postgres.pool import Pool
from app.postgres.queries import QUERIES

ROWS: Final = 200_000
LONGEST_RUN: Final = timedelta(hours=2)  # twice the longest deadline


class Spending:
    """Reads it. The pool stays its owner's."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def past(self, now: float, opened_before: float, but_of: str = "") -> Past:
        """What runs opened before then, but those of one instance, have spent in the windows that end now (Unix time).

        Raises StoreUnavailable and its like.
        """
        ended_after = _moment((now // BUCKET_S["day"] - BUCKETS["day"] + 1) * BUCKET_S["day"])
        in_detail = _moment((now // BUCKET_S["hour"] - BUCKETS["hour"]) * BUCKET_S["hour"] // 3600 * 3600)
        first = uuid_utils.uuid7(nanoseconds=round((ended_after - LONGEST_RUN).timestamp() * 1000) * 1_000_000)
        lowest = uuid.UUID(str(first)[:14] + "7000-8000-000000000000")
        bounds = (lowest, ended_after, in_detail, _moment(opened_before), but_of, ROWS)
        async with self._pool.connection() as connection:
            rows = await connection.fetch(QUERIES["spending"], *bounds)
        return past_of((each for row in rows for each in _accounts(row)), now)


def _accounts(row: Any) -> Iterator[tuple[Account, int, int]]:  # noqa: ANN401  # a row
    """Everybody's account that a row counts in."""
    amounts: dict[Unit, int] = {"usd": row["cost_nano"], "tokens": row["tokens"]}
    for unit, amount in amounts.items():
        if amount:
            yield Account("caller", row["caller"], unit), row["minute"], amount
            yield Account("global", "", unit), row["minute"], amount
            if row["tenant"]:
                yield Account("tenant", row["tenant"], unit), row["minute"], amount


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
