"""What was asked most often, so that it can be answered before it is asked again."""

from datetime import datetime
from typing import Any, Final

from app.postgres.pool import Pool
from app.postgres.queries import QUERIES
from app.postgres.records import loads
from app.postgres.rows import LABELS

READ_S: Final = 30.0


async def most_asked(pool: Pool, caller: str | None, since: datetime, limit: int) -> list[dict[str, Any]]:
    """At most limit questions, the most asked first, of one caller, by its id, or of all; only for an operator.

    Each as {fingerprint, asked, caller, policy, labels, messages, parameters}, the last two as in a record's payload;
    asked counts live runs, replays and requests that shared a run. A question that was masked, cut or is no longer
    kept is none of them, nor one that was asked with `cache: off`. Raises StoreUnavailable.
    """
    async with pool.connection() as connection:
        rows = await connection.fetch(QUERIES["most_asked"], caller, since, limit, timeout=READ_S)
    return [
        {name: row[name] for name in ("fingerprint", "asked", "caller", "policy")}
        | {"labels": {name: row[name] for name in LABELS}}
        | loads(row["question"])
        for row in rows
    ]
