"""The record of runs in PostgreSQL: the store of the writer, and what is read back, always for one caller."""

import asyncio
import json
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import astuple
from datetime import UTC, datetime
from typing import Any, NamedTuple

import asyncpg

from app.errors import RecordUnavailable
from app.events import clean
from app.experiments.list import Filters, Position
from app.postgres.pool import Pool
from app.postgres.queries import QUERIES
from app.postgres.rows import compressed, newest, rows
from app.question import Caller
from app.record.store import Entry, EntryRejected, StoreUnavailable

COMPRESS_IN_PLACE_BYTES = 32 * 1024  # about 0.1 ms; handing less to a thread costs more than it saves

_USAGE = ("input_tokens", "output_tokens", "thinking_tokens", "cached_tokens")
_AS_STORED = (
    "status", "reason", "policy", "source", "fingerprint", "final_lane", "verified", "change", "latency_ms", "cost_usd",
)  # fmt: skip
_LANE_AS_STORED = (
    "model", "outcome", "reason", "message", "retryable", "finish_reason", "model_version", "ttft_ms", "latency_ms",
    "cost_usd",
)  # fmt: skip


class StoredLog(NamedTuple):
    """What the record has of a run's stream; log is None while the run is open and for one that was interrupted."""

    created_at: datetime
    deadline_ms: int
    status: str
    reason: str | None
    fingerprint: str
    log: bytes | None


class RunStore:
    """Writes and reads runs. The pool stays its owner's; instance names the server that ran what is written."""

    def __init__(self, pool: Pool, instance: str) -> None:
        self._pool = pool
        self._instance = instance

    async def write(self, entries: Sequence[Entry]) -> int:
        """Store a batch in one statement, hence all or nothing; return how many entries were new.

        Raises StoreUnavailable or EntryRejected. A reply that is lost after the commit does no harm: the same batch
        written again changes nothing.
        """
        batch = newest(entries)
        runs, lanes, payloads, logs = rows(batch, self._instance)
        in_place = sum(map(len, filter(None, logs))) <= COMPRESS_IN_PLACE_BYTES
        packed = compressed(logs) if in_place else await asyncio.to_thread(compressed, logs)
        async with self._pool.connection() as connection:
            new: int = await connection.fetchval(QUERIES["write_runs"], runs, lanes, payloads, packed)
        return new

    async def close_interrupted(self, before: datetime) -> int:
        """Say of the runs opened before this and still open that they were interrupted; return how many.

        Only for a database that no other server uses.
        """
        async with self._pool.connection() as connection:
            closed: int = await connection.fetchval(QUERIES["close_interrupted"], before)
        return closed

    async def page(self, caller: Caller, filters: Filters, limit: int, before: Position | None) -> list[dict[str, Any]]:
        """At most limit of the caller's records, newest first, all of them before the position."""
        created_at, run_id = before or (None, None)
        wanted = [clean(value) if isinstance(value, str) else value for value in astuple(filters)]  # as what is stored
        found = await self._fetch("list_runs", caller.id, limit, created_at, run_id, *wanted)
        return [_record(row) for row in found]

    async def get(self, caller: Caller, run_id: str) -> dict[str, Any] | None:
        """One record with its payload; None when the caller has no such run."""
        found = await self._fetch("get_run", caller.id, _uuid(run_id))
        return _record(found[0]) | {"payload": _payload(found[0])} if found else None

    async def log(self, caller: Caller, run_id: str) -> StoredLog | None:
        """The stream of a run as the readers saw it, byte for byte; None when the caller has no such run."""
        found = await self._fetch("get_log", caller.id, _uuid(run_id))
        if not found:
            return None
        stored = StoredLog(*found[0])
        return (
            stored if stored.log is None else stored._replace(log=await asyncio.to_thread(zlib.decompress, stored.log))
        )

    async def _fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of a query; a database that does not answer is a 503 for whoever asks about the past."""
        try:
            async with self._pool.connection() as connection:
                found: list[asyncpg.Record] = await connection.fetch(QUERIES[query], *arguments)
        except (StoreUnavailable, EntryRejected) as error:
            raise RecordUnavailable("the record cannot be read now") from error
        return found


def _uuid(run_id: str) -> uuid.UUID | None:
    """The id, or None, which no row has, for a word that is no id at all."""
    try:
        return uuid.UUID(run_id)
    except ValueError:
        return None


def _record(row: asyncpg.Record) -> dict[str, Any]:
    """A row as the record that clients see (protocol section 3)."""
    created_at = row["created_at"].astimezone(UTC).isoformat(timespec="microseconds")
    lanes = _loads(row["lanes"]) or {}
    return {
        "run_id": str(row["run_id"]),
        "created_at": created_at.replace("+00:00", "Z"),
        **{name: row[name] for name in _AS_STORED},
        "source_run_id": None if row["source_run_id"] is None else str(row["source_run_id"]),
        "agreement": _loads(row["agreement"]),
        "usage": _loads(row["usage"]),
        "labels": {name: row[name] for name in ("experiment", "variant", "prompt_class", "tags")},
        "lanes": {name: _lane(lanes[name]) for name in ("fast", "slow") if name in lanes},
        "audit": "durable",
    }


def _lane(leg: dict[str, Any]) -> dict[str, Any]:
    """A row of `legs` as one lane of a record; usage is null while it is not known where it came from."""
    usage = {name: leg[name] for name in _USAGE} | {"source": leg["usage_source"]}
    return {name: leg[name] for name in _LANE_AS_STORED} | {"usage": usage if leg["usage_source"] else None}


def _payload(row: asyncpg.Record) -> dict[str, Any]:
    """What was asked and said, and when each event came."""
    texts = _loads(row["texts"]) or {}
    return {
        **_loads(row["question"]),
        "texts": {lane: said["answer"] for lane, said in texts.items()},
        "thinking": {lane: said["thinking"] for lane, said in texts.items()},
        "at_ms": row["at_ms"],
    }


def _loads(text: str | None) -> Any:  # noqa: ANN401  # JSON has no narrower type
    """JSON as stored, or None."""
    return None if text is None else json.loads(text)
