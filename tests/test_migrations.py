"""Migrations against a real server."""

import asyncio
import sys
from pathlib import Path

import asyncpg
import pytest
from filing import do, rows

from app.errors import StartupError
from app.experiments.list import Filters
from app.experiments.rollup import Selection
from app.postgres.migrate import migrate, read, shipped
from app.postgres.pool import Pool
from app.postgres.rollups import Rollups
from app.postgres.runs import RunStore
from app.postgres.upkeep import Upkeep
from app.question import Caller

ROOT = Path(__file__).parent.parent


async def test_a_fresh_database_gets_everything_once(empty_dsn: str) -> None:
    """A fresh database gets every migration in order, and a second run has nothing to do."""
    assert await migrate(empty_dsn) == [migration.name for migration in read(shipped())]
    assert await migrate(empty_dsn) == []


async def test_servers_that_start_together_migrate_once(empty_dsn: str) -> None:
    """Of several servers that migrate at the same time one applies each file and the others wait."""
    applied = await asyncio.gather(*(migrate(empty_dsn) for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, len(read(shipped()))]


async def test_a_changed_file_is_refused(empty_dsn: str, tmp_path: Path) -> None:
    """A file that was changed after it was applied is refused by name, and nothing after it is applied."""
    (tmp_path / "0001_one.sql").write_text("CREATE TABLE one ();")
    await migrate(empty_dsn, tmp_path)
    (tmp_path / "0001_one.sql").write_text("CREATE TABLE one (two integer);")
    (tmp_path / "0002_two.sql").write_text("CREATE TABLE two ();")
    with pytest.raises(StartupError, match=r"0001_one\.sql was changed"):
        await migrate(empty_dsn, tmp_path)
    assert await _tables(empty_dsn) == {"one", "schema_migrations"}


async def test_a_failing_file_leaves_nothing_behind(empty_dsn: str, tmp_path: Path) -> None:
    """A migration that fails halfway is rolled back, those before it stay, and the repaired file is applied later."""
    (tmp_path / "0001_one.sql").write_text("CREATE TABLE one ();")
    (tmp_path / "0002_two.sql").write_text("CREATE TABLE two (); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_dsn, tmp_path)
    assert await _tables(empty_dsn) == {"one", "schema_migrations"}
    (tmp_path / "0002_two.sql").write_text("CREATE TABLE two ();")
    assert await migrate(empty_dsn, tmp_path) == ["0002_two.sql"]


async def test_a_newer_database_is_left_alone(empty_dsn: str, tmp_path: Path) -> None:
    """A server older than its database starts all the same: a deploy may be rolled back."""
    (tmp_path / "0001_one.sql").write_text("CREATE TABLE one ();")
    (tmp_path / "0002_two.sql").write_text("CREATE TABLE two ();")
    await migrate(empty_dsn, tmp_path)
    (tmp_path / "0002_two.sql").unlink()
    assert await migrate(empty_dsn, tmp_path) == []


@pytest.mark.parametrize("names", [["0002_two.sql"], ["0001_one.sql", "0001_other.sql"]])
def test_numbers_have_no_gap_and_no_double(tmp_path: Path, names: list[str]) -> None:
    """Migrations are numbered from 0001 without a gap or a double."""
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(StartupError, match="without a gap"):
        read(tmp_path)


@pytest.mark.parametrize("processes", [3, pytest.param(8, marks=pytest.mark.long)])
async def test_processes_migrate_once(empty_dsn: str, processes: int) -> None:
    """Real processes that start together apply each file once between them, and all of them succeed."""
    program = "import asyncio, sys; from app.postgres.migrate import migrate; print(*asyncio.run(migrate(sys.argv[1])))"
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, empty_dsn, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(processes)
    ]
    outputs = [(await process.communicate())[0].decode().split() for process in started]
    assert [process.returncode for process in started] == [0] * processes
    assert sorted(outputs) == [[]] * (processes - 1) + [[migration.name for migration in read(shipped())]]


# Three runs as the first release wrote them: closed, open, and closed before its lanes cost anything that is known.
FIRST_RELEASE = """
INSERT INTO runs (run_id, created_at, version, caller, instance, status, policy, source, fingerprint, deadline_ms,
                  agreement, latency_ms, cost_usd, tags) VALUES
    ('019b76da-a800-7000-8000-000000000001', '2026-01-01Z', 2, 'me', 'i', 'completed', 'race', 'live', 'f', 50000,
     '{"verdict": "agree", "method": "exact", "version": 1, "similarity": 1.0}', 80, 0.002, '{x,y,x}'),
    ('019b76da-a800-7000-8000-000000000002', '2026-01-01Z', 1, 'me', 'i', 'running', 'race', 'live', 'f', 50000,
     NULL, NULL, NULL, '{}'),
    ('019b76da-a800-7000-8000-000000000003', '2026-01-01Z', 3, 'me', 'i', 'timeout', 'race', 'live', 'f', 50000,
     NULL, 80, NULL, '{}');
INSERT INTO legs (run_id, lane, model, outcome, latency_ms, cost_usd) VALUES
    ('019b76da-a800-7000-8000-000000000001', 'fast', 'm', 'completed', 20, 0.0005),
    ('019b76da-a800-7000-8000-000000000001', 'slow', 'n', 'completed', 80, 0.0015),
    ('019b76da-a800-7000-8000-000000000002', 'fast', 'm', NULL, NULL, NULL),
    ('019b76da-a800-7000-8000-000000000003', 'slow', 'n', 'timeout', 80, NULL);
INSERT INTO run_payloads (run_id, question, texts, log, at_ms) VALUES
    ('019b76da-a800-7000-8000-000000000001', '{"messages": [{"role": "user", "content": "?"}], "parameters": {}}',
     '{"fast": {"answer": "a", "thinking": ""}}', '\\x789c4b040000620062', '{0,80}'),
    ('019b76da-a800-7000-8000-000000000002', '{"messages": [], "parameters": {}}', NULL, NULL, NULL);
"""


async def test_a_database_of_the_first_release_keeps_its_data(empty_dsn: str, tmp_path: Path) -> None:
    """Runs, lanes, costs, texts, logs, tags and agreements written by the first release are all there afterwards."""
    (tmp_path / "0001_runs.sql").write_bytes((shipped() / "0001_runs.sql").read_bytes())
    await migrate(empty_dsn, tmp_path)
    await do(empty_dsn, FIRST_RELEASE)
    await migrate(empty_dsn)
    async with Pool(empty_dsn) as pool:
        store, me = RunStore(pool), Caller("me")
        records = await store.page(me, Filters(), 10, None)
        assert [record["status"] for record in records] == ["timeout", "running", "completed"]
        assert [record["cost_usd"] for record in records] == [None, None, 0.002]
        assert records[2]["lanes"]["slow"]["cost_usd"] == 0.0015
        assert records[0]["lanes"]["slow"]["censored"] is True
        whole = await store.get(me, records[2]["run_id"])
        assert whole is not None
        assert (whole["payload"]["texts"], whole["payload"]["at_ms"]) == ({"fast": "a"}, [0, 80])
        stored = await store.log(me, records[2]["run_id"])
        assert stored is not None
        assert stored.log == b"a"
        for filters in (Filters(tag="y"), Filters(model="n", status="completed")):
            assert [record["run_id"] for record in await store.page(me, filters, 10, None)] == [whole["run_id"]]
        assert await Upkeep(pool).roll_up() == 1
        assert (await Rollups(pool).stats(me, Selection()))[0].runs == 3
    assert [tuple(row) for row in await rows(empty_dsn, "SELECT version, verdict FROM comparisons")] == [(1, "agree")]
    assert [row[0] for row in await rows(empty_dsn, "SELECT version FROM runs ORDER BY run_id")] == [3, 1, 4]


async def _tables(dsn: str) -> set[str]:
    """The tables of a database."""
    connection = await asyncpg.connect(dsn)
    try:
        return {row[0] for row in await connection.fetch("SELECT relname FROM pg_stat_user_tables")}
    finally:
        await connection.close()
