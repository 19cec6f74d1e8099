"""What is asked about many runs, and what is said about one, in PostgreSQL; always for one caller."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import astuple
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from app.errors import MalformedRequest, TooManyExports
from app.experiments.compare import Contest, Measured
from app.experiments.deadline import LaneTime, Timed, Times
from app.experiments.feedback import NAMES_MAX, Feedback
from app.experiments.list import Filters
from app.experiments.rollup import Basis, Selection
from app.experiments.verdicts import Compared, Comparisons, Judged, WaitQuantiles
from app.postgres.cells import OF_VERDICTS, compared, lane_times, of_lane, wait_quantiles, whole_waits
from app.postgres.conditions import cleaned, conditioned
from app.postgres.listing import Statement
from app.postgres.pool import Pool, translated
from app.postgres.queries import QUERIES
from app.postgres.reading import fetch, of_the_past, told_as
from app.postgres.records import loads, record, usd
from app.postgres.records import payload as payload_of
from app.postgres.rollups import READ, Asked, Rollups, arguments_of
from app.postgres.way import Way, way
from app.question import Caller

READ_S: Final = 30.0  # for what reads many runs
EXACT_RUNS: Final = 10_000  # of more a statistic is read from the roll-ups, where they can tell it
EXPORTS_MAX: Final = 4
BATCH_ROWS: Final = 100
PAYLOAD_BATCH_ROWS: Final = 10  # each may hold megabytes
BATCH_S: Final = 60.0
CLOSE_S: Final = 2.0


class Experiments:
    """Reads and feedback over a pool that stays its owner's; each export opens a connection of its own."""

    def __init__(self, pool: Pool, to: Way | str) -> None:
        self._pool = pool
        self._way = way(to)
        self._exports: set[Export] = set()

    # -- many runs

    async def payloads(self, caller: Caller, run_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What was asked and said in the caller's runs, by run; without those whose texts are no longer kept."""
        found = await self._fetch("payloads_of_runs", caller.id, [uuid.UUID(run_id) for run_id in run_ids])
        return {str(row["run_id"]): kept for row in found if (kept := payload_of(row)) is not None}

    async def comparisons(self, caller: Caller, wanted: Selection) -> Comparisons:
        """The caller's runs that have a verdict, class by class; of many runs what the roll-ups say."""
        rolled = await self._rolled(caller, wanted, Asked(("prompt_class",), OF_VERDICTS, measured=True))
        judged = [Judged(*row) for row in await self._about("count_judged", wanted, caller.id)]
        if sum(row["runs"] for row in rolled) <= EXACT_RUNS:
            exact = [Compared(*row) for row in await self._about("count_verdicts", wanted, caller.id)]
            waits = await self._about("wait_quantiles", wanted, caller.id) if exact else []
            quantiles = [WaitQuantiles(row[0], row[1], *row["quantiles"]) for row in waits if row["quantiles"]]
            return Comparisons(exact, judged, quantiles, Basis())
        classes = [(one, waits) for one, waits in map(compared, rolled) if one.agree + one.disagree + one.unknown]
        told = [wait_quantiles(one.prompt_class, waits, whole=False) for one, waits in classes if waits]
        if together := whole_waits(waits for _, waits in classes):
            told.append(wait_quantiles(None, together, whole=True))
        return Comparisons([one for one, _ in classes], judged, told, await self._basis(caller, wanted))

    async def lane_times(self, caller: Caller, wanted: Selection, timed: Timed) -> Times:
        """How long the lanes of the caller's runs took; of many runs what the roll-ups say."""
        asked = Asked((), of_lane(timed.lane), timed.lane, measured=True)
        rolled = await self._rolled(caller, wanted, asked)
        if sum(row["runs"] for row in rolled) <= EXACT_RUNS:
            found = await self._about("lane_times", wanted, caller.id, timed.lane, timed.metric == "first_token")
            return Times([LaneTime(*row) for row in found], Basis())
        times = [time for row in rolled for time in lane_times(row, timed)]
        return Times(times, await self._basis(caller, wanted))

    async def outcomes(self, caller: Caller, contest: Contest, limit: int) -> list[Measured]:
        """At most limit of the caller's runs of both variants, newest first."""
        experiment, a, b, metric, part, since, until, prompt_class = map(cleaned, astuple(contest))
        found = await self._fetch(
            "outcomes_of_variants",
            *(caller.id, since, until, experiment, a, b, limit, prompt_class, metric, part),
        )
        return [Measured(row[0], None if row[1] is None else row[1].hex(), row[2]) for row in found]

    async def export(self, caller: Caller, filters: Filters, *, payload: bool) -> "Export":
        """All of the caller's records that pass, newest first."""
        if len(self._exports) >= EXPORTS_MAX:
            raise TooManyExports(f"{EXPORTS_MAX} exports are running already; try again in a moment")
        export = Export(self._exports, payload=payload)
        try:
            await export.open(self._way, conditioned("export_runs", filters, caller.id, payload))
        except BaseException:  # cancelled too: nobody has it yet to close it
            export.close()
            raise
        return export

    # -- one run

    async def saved(self, caller: Caller, run_id: str) -> float | None:
        """What the run that was replayed had cost, in dollars; None where that is not known, and for other runs."""
        found = await self._fetch("saved_of_run", caller.id, _uuid(run_id))
        return usd(found[0][0]) if found else None

    async def put(self, caller: Caller, run_id: str, said: Feedback) -> dict[str, Any] | None:
        """Keep it in place of what was said under that name, and return it as it is kept."""
        arguments = (said.name, json.dumps(said.value), said.comment, NAMES_MAX)
        found = await self._fetch("put_feedback", caller.id, _uuid(run_id), *arguments)
        if not found and await self.said(caller, run_id) is not None:
            raise MalformedRequest(f"name: a run takes feedback under at most {NAMES_MAX} names")
        return _feedback(found[0]) if found else None

    async def put_many(self, caller: Caller, said: Sequence[tuple[str, Feedback]]) -> int:
        """The same for many runs (by id) in one statement, without comments; return how much was new or changed."""
        run_ids = [uuid.UUID(run_id) for run_id, _ in said]
        names, values = [one.name for _, one in said], [json.dumps(one.value) for _, one in said]
        found = await self._fetch("put_feedback_of_many", caller.id, run_ids, names, values)
        new: int = found[0][0]
        return new

    async def first_import(self, caller: Caller, experiment: str) -> datetime | None:
        """When the first run of that experiment was imported."""
        found: datetime | None = (await self._fetch("first_import", caller.id, experiment))[0][0]
        return found

    async def remove(self, caller: Caller, run_id: str, name: str) -> bool | None:
        """Take back what was said under that name; False when nothing was."""
        said = await self.said(caller, run_id)
        if said is None:
            return None
        await self._fetch("delete_feedback", caller.id, _uuid(run_id), name)
        return name in said

    async def said(self, caller: Caller, run_id: str) -> dict[str, dict[str, Any]] | None:
        """Everything that was said about a run, by name."""
        found = await self._fetch("feedback_of_run", caller.id, _uuid(run_id))
        return {row["name"]: _feedback(row) for row in found if row["name"] is not None} if found else None

    async def _rolled(self, caller: Caller, wanted: Selection, asked: Asked) -> list[asyncpg.Record]:
        """What the roll-ups say."""
        return await self._rows(Statement(READ, arguments_of(caller, wanted, asked)))

    async def _basis(self, caller: Caller, wanted: Selection) -> Basis:
        """What an answer from the roll-ups rests on."""
        return Basis(approximate=True, behind=await Rollups(self._pool).behind(caller, wanted))

    async def _about(self, query: str, wanted: Selection, *arguments: object) -> list[asyncpg.Record]:
        """The rows of a statistic."""
        return await self._rows(conditioned(query, wanted, *arguments))

    async def _fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of a query."""
        return await self._rows(Statement(QUERIES[query], arguments))

    async def _rows(self, statement: Statement) -> list[asyncpg.Record]:
        """The rows, with more time than a page has."""
        return await fetch(self._pool, statement.sql, *statement.arguments, timeout_s=READ_S)


class Export:
    """A cursor of the server over a snapshot; holds one batch at a time. Counts itself among others until closed."""

    def __init__(self, others: set["Export"], *, payload: bool) -> None:
        self._others = others
        self._rows = PAYLOAD_BATCH_ROWS if payload else BATCH_ROWS
        self._payload = payload
        self._connection: asyncpg.Connection | None = None
        self._cursor: Any = None
        others.add(self)

    async def open(self, to: Way, statement: Statement) -> None:
        """Connect and declare the cursor."""
        with told_as(of_the_past), translated():
            self._connection = await to.connect(
                command_timeout=BATCH_S, server_settings={"application_name": "tandem export"}
            )
            await self._connection.transaction(isolation="repeatable_read", readonly=True).start()
            await self._connection.execute(QUERIES["end_when_idle"])
            self._cursor = await self._connection.cursor(statement.sql, *statement.arguments)

    async def batch(self) -> list[dict[str, Any]]:
        """The next records, none at the end; then the connection is closed already."""
        if self._connection is None:
            return []
        with told_as(of_the_past), translated():
            rows = await self._cursor.fetch(self._rows)
            if not rows:
                await self._connection.close(timeout=CLOSE_S)
                self.close()
        return [self._record(row) for row in rows]

    def close(self) -> None:
        """Drop the connection, which ends the server's transaction too."""
        self._others.discard(self)
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            connection.terminate()

    def _record(self, row: asyncpg.Record) -> dict[str, Any]:
        """One record, its texts with it when they are wanted."""
        return record(row) | {"payload": payload_of(row)} if self._payload else record(row)


def _uuid(run_id: str) -> uuid.UUID | None:
    """The id, or None, which no row has, for a word that is no id at all."""
    try:
        return uuid.UUID(run_id)
    except ValueError:
        return None


def _feedback(row: asyncpg.Record) -> dict[str, Any]:
    """What is kept under a name."""
    return {
        "name": row["name"],
        "value": loads(row["value"]),
        "comment": row["comment"],
        "created_at": _iso(row["created_at"]),
        "updated_at": _iso(row["updated_at"]),
    }


def _iso(moment: datetime) -> str:
    """The moment as records show it."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
