"""Migrations against a real server."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from app.errors import StartupError
from app.postgres.migrate import migrate, read, shipped


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


async def _tables(dsn: str) -> set[str]:
    """The tables of a database."""
    connection = await asyncpg.connect(dsn)
    try:
        return {row[0] for row in await connection.fetch("SELECT relname FROM pg_stat_user_tables")}
    finally:
        await connection.close()
