"""`tandem doctor`: each check finds what is wrong, says what to do and tells no secret; the worst is the status."""

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from collectors import collecting
from databases import execute
from fake_openai import fake_openai
from processes import command, environment
from rich.console import Console
from servers import serving
from typer.testing import CliRunner

from app.commands import doctor
from app.commands.checks import lanes, machine, stores
from app.commands.checks.finding import Finding, worst
from app.record.directory import take
from app.settings import Settings

SECRET = "Tr0ub4dor&3"


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's disk and database are neither slow nor far."""
    monkeypatch.setattr(machine, "SLOW_SYNC_MS", 60_000.0)
    monkeypatch.setattr(stores, "FAR_MS", 60_000.0)


def settings_of(folder: Path, **changes: Any) -> Settings:
    """Settings of a server of scripted models on that folder."""
    chosen = {"tandem_home": folder, "port": 0, "fast_model": "scripted:fast", "slow_model": "scripted:slow"}
    return Settings(**{**chosen, **changes})


async def all_of(found: AsyncIterator[Finding]) -> dict[str, Finding]:
    """The findings by what was checked."""
    return {finding.check: finding async for finding in found}


@contextlib.contextmanager
def occupied() -> Iterator[int]:
    """A port that somebody else has."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_the_worst_finding_is_the_exit_status() -> None:
    """0 when all is well or off, 1 when something is to be mended, 2 when the server cannot start."""
    marks = {"ok": 0, "off": 0, "mend": 1, "stop": 2}
    for mark, status in marks.items():
        assert worst([Finding("a", "ok", ""), Finding("b", mark, "")]) == status  # type: ignore[arg-type]
    assert worst([]) == 0


def test_a_healthy_machine_has_nothing_to_mend(tmp_path: Path) -> None:
    """The interpreter, the files, the port, the home, the spool and its disk are fine here, and nothing is left."""
    settings = settings_of(tmp_path / "home")
    findings = [machine.python(), machine.files(), machine.port(settings), machine.home(settings)]
    findings += machine.spool(settings)
    assert {finding.mark for finding in findings} == {"ok"}
    assert findings[-1].ms is not None
    assert [path.name for path in settings.spool_path.iterdir()] == ["lock"]
    assert settings.spool_path.stat().st_mode & 0o077 == 0


async def test_a_port_that_somebody_has_stops_the_start(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A taken port is said, unless it is a Tandem that has it."""
    with occupied() as port, monkeypatch.context() as brief:
        brief.setattr(machine, "ASK_S", 0.05)  # this one never answers
        found = machine.port(settings_of(tmp_path, port=port))
    assert (found.mark, str(port) in found.told) == ("stop", True)
    async with serving(dsn) as server:
        found = await asyncio.to_thread(machine.port, settings_of(tmp_path, port=server.port))
    assert (found.mark, found.told.startswith("a Tandem")) == ("ok", True)


def test_a_home_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    """A file where the folder should be is said; where nothing is kept there it does not stop the start."""
    (tmp_path / "file").touch()
    settings = settings_of(tmp_path / "file" / "home")
    assert machine.home(settings).mark == "stop"
    direct = settings_of(tmp_path / "file" / "home", database_url="postgresql://u@h/d", audit_sink="direct")
    assert machine.home(direct).mark == "mend"
    assert [finding.mark for finding in machine.spool(direct)] == ["off"]
    assert [finding.mark for finding in machine.spool(settings)] == ["stop"]


def test_a_spool_is_looked_at_closely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another's lock, a disk without room and one that is slow to keep anything are each found."""
    settings = settings_of(tmp_path, spool_min_free_bytes=1 << 60)
    assert [finding.mark for finding in machine.spool(settings)] == ["ok", "mend", "ok"]
    monkeypatch.setattr(machine, "SLOW_SYNC_MS", 0.0)
    assert [finding.mark for finding in machine.spool(settings_of(tmp_path))] == ["ok", "ok", "mend"]
    lock = take(settings.spool_path)
    found = list(machine.spool(settings_of(tmp_path)))
    lock.close()
    assert (found[0].mark, "another process" in found[0].told, len(found)) == ("stop", True, 3)


async def test_a_migrated_database_has_nothing_to_mend(dsn: str, tmp_path: Path) -> None:
    """Its version, our rights, the migrations and the clock are fine, and the way there was measured."""
    found = await all_of(stores.database(settings_of(tmp_path, database_url=dsn)))
    assert {name: finding.mark for name, finding in found.items()} == dict.fromkeys(
        ("database", "rights", "migrations", "clock"), "ok"
    )
    assert found["database"].ms is not None


async def test_migrations_are_counted_and_compared(empty_dsn: str, dsn: str, tmp_path: Path) -> None:
    """What is missing is applied by the server or by hand; a file that was changed afterwards is named."""
    found = await all_of(stores.database(settings_of(tmp_path, database_url=empty_dsn)))
    assert (found["migrations"].mark, "when it starts" in found["migrations"].told) == ("ok", True)
    found = await all_of(stores.database(settings_of(tmp_path, database_url=empty_dsn, migrate_at_start=False)))
    assert (found["migrations"].mark, found["migrations"].fix) == ("mend", "run `tandem migrate`")
    await execute(dsn, "UPDATE schema_migrations SET checksum = 'other' WHERE version = 1")
    found = await all_of(stores.database(settings_of(tmp_path, database_url=dsn)))
    assert "0001_runs.sql" in found["migrations"].told


async def test_a_database_that_cannot_hold_every_text_is_found(dsn: str, tmp_path: Path) -> None:
    """One of another encoding than UTF-8 takes records until somebody asks in a language that it does not have."""
    name = f"latin_{os.getpid()}"
    await execute(dsn, f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0")
    try:
        latin = dsn.replace(f"/{dsn.partition('?')[0].rpartition('/')[2]}?", f"/{name}?")
        found = (await all_of(stores.database(settings_of(tmp_path, database_url=latin))))["database"]
    finally:
        await execute(dsn, f"DROP DATABASE {name}")
    assert (found.mark, "LATIN1" in found.told) == ("mend", True)


async def test_rights_are_looked_at(dsn: str, tmp_path: Path) -> None:
    """A role that may not write our tables, and a database that is read-only, are found before the first record."""
    role = f"poor_{os.getpid()}"
    await execute(dsn, f"CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    try:
        poor = dsn.replace("//tandem@", f"//{role}@")
        found = await all_of(stores.database(settings_of(tmp_path, database_url=poor)))
        assert (found["rights"].mark, "answers" in found["rights"].told) == ("mend", True)
    finally:
        await execute(dsn, f"DROP OWNED BY {role}; DROP ROLE {role}")
    database = dsn.partition("?")[0].rpartition("/")[2]
    await execute(dsn, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    found = await all_of(stores.database(settings_of(tmp_path, database_url=dsn)))
    assert (found["rights"].mark, found["rights"].told) == ("mend", "the database is read-only")


async def test_a_clock_that_is_astray_is_found(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our time is compared with the database's."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 5)
    found = (await all_of(stores.database(settings_of(tmp_path, database_url=dsn))))["clock"]
    assert found.mark == "mend"
    assert 4 < float(found.told.split()[0]) < 6  # as exactly as the way there and back was short


async def test_stores_that_are_away_are_to_be_mended_and_no_password_is_told(tmp_path: Path) -> None:
    """The server starts without them; wrong addresses stop it."""
    with occupied() as port:
        pass
    away = settings_of(
        tmp_path,
        database_url=f"postgresql://u:{SECRET}@127.0.0.1:{port}/d",
        redis_url=f"redis://:{SECRET}@127.0.0.1:{port}/0",
        trace_endpoint=f"http://u:{SECRET}@127.0.0.1:{port}/v1/traces",
    )
    found = [*(await all_of(stores.database(away))).values(), await stores.redis(away), await lanes.traces(away)]
    assert [finding.mark for finding in found] == ["mend"] * 3
    addresses = {"database_url": f"mysql://u:{SECRET}@h/d", "redis_url": f"http://{SECRET}", "trace_endpoint": SECRET}
    wrong = settings_of(tmp_path, **addresses)
    worse = [*(await all_of(stores.database(wrong))).values(), await stores.redis(wrong), await lanes.traces(wrong)]
    assert [finding.mark for finding in worse] == ["stop"] * 3
    assert SECRET not in repr(found + worse)


async def test_a_redis_that_answers_is_measured(redis_url: str, tmp_path: Path) -> None:
    """One PING on a connection that stands."""
    found = await stores.redis(settings_of(tmp_path, redis_url=redis_url, cache_redis_timeout_s=1))
    assert (found.mark, found.ms is not None) == ("ok", True)


async def test_models_are_asked_for_one_token_when_that_is_wanted(tmp_path: Path) -> None:
    """Without --live no model is asked; with it each is, for one token, and what fails is said by its reason."""
    async with fake_openai() as upstream:
        settings = settings_of(
            tmp_path, fast_model="openai:20t", slow_model="openai:e401", openai_base_url=upstream.base_url
        )
        quiet = await all_of(lanes.lanes(settings, live=False))
        assert {finding.mark for finding in quiet.values()} == {"ok"}
        assert not upstream.received
        asked = await all_of(lanes.lanes(settings, live=True))
        assert {request.body["max_tokens"] for request in upstream.received} == {1}
    assert (asked["fast model"].mark, asked["slow model"].mark) == ("ok", "mend")
    assert "upstream_unauthorized" in asked["slow model"].fix


async def test_a_model_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    """A name that is none is said as the server would; a key that is missing is to be mended."""
    found = await all_of(lanes.lanes(settings_of(tmp_path, fast_model="nobody:x"), live=False))
    assert [finding.mark for finding in found.values()] == ["stop"]
    keyless = await all_of(lanes.lanes(settings_of(tmp_path, slow_model="openai:gpt-5"), live=False))
    assert (keyless["slow model"].mark, "OPENAI_API_KEY" in keyless["slow model"].fix) == ("mend", True)


async def test_a_collector_that_listens_is_fine(tmp_path: Path) -> None:
    """Whether somebody listens where traces go is found out without sending any."""
    with collecting() as collector:
        found = await lanes.traces(settings_of(tmp_path, trace_endpoint=collector.url))
    assert (found.mark, collector.raw) == ("ok", [])
    assert (await lanes.traces(settings_of(tmp_path))).mark == "off"


def test_prices_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    """The file is read as the server would."""
    (tmp_path / "prices.json").write_text("{]")
    assert lanes.prices(settings_of(tmp_path, prices_file=tmp_path / "prices.json")).mark == "stop"
    (tmp_path / "prices.json").write_text("{}")
    assert lanes.prices(settings_of(tmp_path, prices_file=tmp_path / "prices.json")).mark == "ok"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"limit_caller": "1 usd/hour"}, ["slow price"]),
        ({"limit_caller": "9 requests/hour"}, []),
        ({"auth": "keys", "key_pepper": SECRET * 4, "limit_caller": "off"}, ["slow price"]),
        ({"limit_global": "1 usd/day", "unpriced_models": "refuse"}, ["slow price"]),
        ({"limit_global": "1 usd/day", "unpriced_models": "allow"}, []),
        ({"limit_global": "1 usd/day", "slow_model": "deliberate:5@local:smollm2"}, []),
    ],
)
def test_a_model_without_a_price_is_told(tmp_path: Path, changes: dict[str, Any], told: list[str]) -> None:
    """Where somebody's money is limited a configured model of which nobody knows the price is to be mended."""
    settings = settings_of(tmp_path, **{"fast_model": "openai:gpt-5", "slow_model": "openai:of-our-own", **changes})
    findings = list(lanes.costs(settings))
    assert [(finding.check, finding.mark) for finding in findings] == [(check, "mend") for check in told]
    assert all("PRICES_FILE" in finding.fix for finding in findings)


def test_the_command_prints_json_and_ends_with_the_worst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One object with the status and every check."""
    monkeypatch.setattr(os, "environ", {**environment(tmp_path / "home", {}), "FAST_MODEL": "openai:gpt-5"})
    done = CliRunner().invoke(doctor.app, ["--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["status"]) == (1, 1)
    names = [check["check"] for check in told["checks"]]
    assert names[0] == "settings"
    assert {"Python", "port", "spool", "fsync", "database", "Redis", "fast model", "slow model", "traces"} <= set(names)


def test_wrong_settings_are_named_and_not_repeated(tmp_path: Path) -> None:
    """The program itself ends with 2, says which variables are wrong, and still looks at the machine."""
    done = command(tmp_path / "home", "doctor", PORT=SECRET, DEADLINE_S="-1")
    assert done.returncode == 2
    assert "PORT" in done.stdout
    assert "Python" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_the_table_shows_text_as_it_is() -> None:
    """What was found is no markup, whatever brackets and colons are in it."""
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115  # as long as the test
    console.print(doctor.table([Finding("a", "mend", "found [red]x[/] vertex:x: y", "[1] do")]))
    assert "found [red]x[/] vertex:x: y" in console.export_text()
    console.file.close()
