"""The export: three formats, streamed over a connection of its own."""

# ruff: noqa: F401, F811  # a fixture is imported by its name

import asyncio
import contextlib
import csv
import io
import json
import socket
import sys
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn
from cells import rows
from pasts import Site, closing, lane, opening, parts_over, past

from app.errors import RecordUnavailable, TooManyExports
from app.experiments.exporting import COLUMNS, Lines, Table, columns
from app.experiments.list import Filters
from app.http.callers import LOCAL
from app.main import create_app
from app.postgres import experiments as stored
from app.postgres.pool import Pool

MANY = """
WITH made AS (
    INSERT INTO runs (run_id, created_at, version, caller, instance, status, policy, source, fingerprint, deadline_ms)
    SELECT gen_random_uuid(), now() - i * interval '1 second', 3, $1, 'test', 'completed', 'race', 'live', 'f', 1
    FROM generate_series(1, $2::integer) AS i RETURNING run_id, created_at
)
INSERT INTO run_payloads (run_id, created_at, question, texts)
SELECT run_id, created_at, jsonb_build_object('messages', jsonb_build_array(repeat('x', 4000))), NULL FROM made
"""
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tandem export'"


async def make(past: Site, n: int) -> None:
    """So many runs with four kilobytes of question each."""
    async with past.pool.connection() as connection:
        await connection.execute(MANY, LOCAL.id, n)


async def sessions(past: Site) -> int:
    """How many exports the database knows of."""
    async with past.pool.connection() as connection:
        found: int = await connection.fetchval(SESSIONS)
    return found


async def exported(past: Site, **params: str) -> httpx.Response:
    """The file."""
    answer = await past.client.get("/api/experiments/export", params=params)
    assert answer.status_code == 200, answer.text
    return answer


async def test_lines_are_the_records_of_the_list(past: Site) -> None:
    """An export as JSON Lines has every record of the list, as it shows them, newest first."""
    await past.keep(*(closing(opening(tags=("t",))) for _ in range(230)))
    answer = await exported(past)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert len(lines) == 230
    assert lines[:200] == (await past.get("", limit=200))["experiments"]
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == 'attachment; filename="tandem-experiments.jsonl"'


async def test_payloads_on_request(past: Site) -> None:
    """With payload=true each record has its texts, null where they are no longer kept."""
    await past.keep(closing(opening("What?")))
    (line,) = [json.loads(line) for line in (await exported(past, payload="true")).text.splitlines()]
    assert line["payload"]["messages"][0]["content"] == "What?"
    assert line["payload"]["texts"]["slow"] == "slow answer"
    assert "payload" not in json.loads((await exported(past)).text)


async def test_the_filters_of_the_list_hold(past: Site) -> None:
    """An export has the runs that the list has under the same filters, and nobody else's."""
    run = closing(opening(experiment="e", tags=("t",), source="import"), "disagree", slow=lane("slow", 900, "timeout"))
    await past.keep(run, closing(), closing(opening(experiment="e", tags=("t",), source="import", caller="else")))
    filters = {"experiment": "e", "tag": "t", "model": "a:slow", "outcome": "timeout", "source": "import"}
    filters |= {"agreement": "disagree", "min_latency_ms": "900", "status": "completed", "until": "2030-01-01"}
    assert json.loads((await exported(past, **filters)).text)["run_id"] == run.opening.run_id
    for name in ("experiment", "tag", "model"):
        assert (await exported(past, **(filters | {name: "other"}))).text == ""


async def test_a_table_has_every_column(past: Site) -> None:
    """CSV has a line of names, then one line a run; unknown numbers are empty, texts and times as they were."""
    run = closing(opening("a,b\nc", tags=("t", "u")), cost_nano=None)
    await past.keep(run)
    answer = await exported(past, format="csv", payload="true")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert list(row) == [column.name for column in columns(payload=True)]
    assert (row["run_id"], row["cost_usd"], row["verified"]) == (run.opening.run_id, "", "true")
    assert (row["agreement"], row["slow_latency_ms"], row["fast_input_tokens"]) == ("agree", "400", "10")
    assert json.loads(row["tags"]) == ["t", "u"]
    assert json.loads(row["messages"])[0]["content"] == "a,b\nc"
    assert row["created_at"].endswith("Z")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"


@rows("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_no_cell_is_a_formula(cell: str) -> None:
    """A text that a spreadsheet would take for a formula begins with a quote mark in CSV; a number does not."""
    record = {"labels": {"variant": cell}, "latency_ms": -1.5}
    names, row = csv.reader(io.StringIO(Table(payload=False).encode([record]).decode(), newline=""))
    assert row[names.index("variant")] == "'" + cell
    assert row[names.index("latency_ms")] == "-1.5"


@pytest.mark.parametrize(("kind", "empty"), [("jsonl", ""), ("csv", ",".join(c.name for c in COLUMNS) + "\r\n")])
async def test_an_empty_export_is_a_whole_file(past: Site, kind: str, empty: str) -> None:
    """Without a run the file has no line but that of the names."""
    assert (await exported(past, format=kind)).text == empty


@pytest.mark.parametrize(("n", "payload"), [(0, False), (3, True), (620, True)])
async def test_parquet_has_the_same_columns(past: Site, n: int, payload: bool) -> None:
    """A Parquet file has the table's columns with their types, in bounded row groups, whole even when empty."""
    pq = pytest.importorskip("pyarrow.parquet")
    if n == 3:
        await past.keep(*(closing(opening(tags=("t",))) for _ in range(n)))
    else:
        await make(past, n)
    answer = await exported(past, format="parquet", payload=str(payload).lower())
    table = pq.read_table(io.BytesIO(answer.content))
    assert table.column_names == [column.name for column in columns(payload=payload)]
    assert table.num_rows == n
    assert pq.ParquetFile(io.BytesIO(answer.content)).num_row_groups == -(-n // 250)
    assert {str(table.schema.field(name).type) for name in ("created_at", "latency_ms", "tags", "verified")} == {
        "timestamp[us, tz=UTC]", "double", "list<element: string>", "bool",
    }  # fmt: skip
    if n == 3:
        assert table.column("fast_latency_ms").to_pylist() == [100.0] * 3


async def test_parquet_may_be_missing(past: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pyarrow is not installed, Parquet is a 501 that names what to install, and the others still work."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "app.experiments.parquet", raising=False)
    answer = await past.client.get("/api/experiments/export?format=parquet")
    assert (answer.status_code, answer.json()["code"]) == (501, "parquet_unavailable")
    assert "pyarrow" in answer.json()["detail"]
    await exported(past)


async def test_a_bad_parameter_is_refused(past: Site) -> None:
    """An export asked with a bad or unknown parameter is a 422 that names it."""
    for query in ("format=xml", "payload=maybe", "limit=1", "since=soon", "format=csv&format=csv"):
        answer = await past.client.get(f"/api/experiments/export?{query}")
        assert answer.status_code == 422, query
        assert query.partition("=")[0] in answer.json()["detail"]


@pytest.mark.long
async def test_an_export_holds_one_batch_at_a_time(past: Site) -> None:
    """Sixteen megabytes of payload go through the process in a few."""
    await make(past, 4_000)
    export = await past.reads.export(LOCAL, Filters(), payload=True)
    encoder, size = Lines(), 0
    tracemalloc.start()
    try:
        while records := await export.batch():
            size += len(encoder.encode(records))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        export.close()
    assert size > 16_000_000
    assert peak < 4_000_000


async def test_exports_are_bounded_and_give_back_their_place(past: Site) -> None:
    """One export too many is refused until another has ended."""
    exports = [await past.reads.export(LOCAL, Filters(), payload=False) for _ in range(stored.EXPORTS_MAX)]
    with pytest.raises(TooManyExports):
        await past.reads.export(LOCAL, Filters(), payload=False)
    answer = await past.client.get("/api/experiments/export")
    assert (answer.status_code, answer.json()["code"]) == (503, "too_many_exports")
    exports.pop().close()
    await exported(past)
    for export in exports:
        export.close()


async def test_a_database_that_is_away_is_a_503(dsn: str) -> None:
    """An export that cannot begin is refused, and holds no place."""
    async with Pool(dsn) as pool:
        reads = stored.Experiments(pool, dsn.replace("test_", "no_such_"))
        for _ in range(stored.EXPORTS_MAX + 1):
            with pytest.raises(RecordUnavailable):
                await reads.export(LOCAL, Filters(), payload=False)


async def test_a_batch_that_cannot_be_read_says_so(past: Site) -> None:
    """A database that goes away between two batches is told as every unreadable record is."""
    await make(past, 300)
    export = await past.reads.export(LOCAL, Filters(), payload=False)
    assert len(await export.batch()) == 100
    async with past.pool.connection() as connection:
        await connection.execute(SESSIONS.replace("count(*)", "pg_terminate_backend(pid)"))
    with pytest.raises(RecordUnavailable):
        await export.batch()
    export.close()


@contextlib.asynccontextmanager
async def listening(pool: Pool, dsn: str) -> AsyncIterator[httpx.AsyncClient]:
    """The routes on a real socket."""
    config = uvicorn.Config(create_app(parts_over(pool, dsn), guard_loopback=False), lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server._serve([listener]))
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=10, verify=False
        ) as client:
            yield client
    finally:
        server.should_exit = server.force_exit = True
        await task


async def until(past: Site, n: int) -> None:
    """Wait until the database knows of so many exports."""
    async with asyncio.timeout(5):
        while await sessions(past) != n:  # noqa: ASYNC110  # the database tells nobody
            await asyncio.sleep(0.01)


async def test_a_client_that_leaves_frees_the_connection(past: Site, dsn: str) -> None:
    """A client that leaves in the middle ends the export and its session of the database at once."""
    await make(past, 10_000)
    async with listening(past.pool, dsn) as client:
        async with client.stream("GET", "/api/experiments/export", params={"payload": "true"}) as answer:
            chunks = answer.aiter_bytes()  # kept, since it closes the response when it is collected
            await anext(chunks)
            assert await sessions(past) == 1
        await until(past, 0)


async def test_a_broken_export_does_not_look_whole(past: Site, dsn: str) -> None:
    """When the database goes away in the middle the stream breaks off, so that the client sees an error."""
    await make(past, 10_000)
    async with listening(past.pool, dsn) as client:

        async def read() -> None:
            """Reads to the end, or to the break."""
            async with client.stream("GET", "/api/experiments/export", params={"payload": "true"}) as answer:
                chunks = answer.aiter_bytes()
                await anext(chunks)
                async with past.pool.connection() as connection:
                    await connection.execute(SESSIONS.replace("count(*)", "pg_terminate_backend(pid)"))
                async for _ in chunks:
                    pass

        with pytest.raises(httpx.RemoteProtocolError):
            await read()
        await until(past, 0)
