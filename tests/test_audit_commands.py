"""`tandem audit ...` as an operator types it, against a real PostgreSQL."""

import asyncio
import base64
import csv
import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import entries
import filing
import pasts
import pytest
from msgspec.structs import replace
from processes import command, environment, fresh_home, running
from typer.testing import CliRunner, Result

from app.cli import app
from app.postgres.pool import Pool
from app.postgres.runs import RunStore
from app.record.codec import digest, encode
from app.record.entry import Entry
from app.record.replay import lines
from app.record.store import DeadLetter

Tandem = Callable[..., Result]
AWAY = "postgresql://u:hidden-word-1@127.0.0.1:1/x"
PAIRS = [
    {"question": "2 + 2?", "fast_text": "4", "slow_text": "It is 4.", "fast_correct": True, "slow_correct": True},
    {"question": "3 + 3?", "fast_text": "5", "slow_text": "6", "fast_correct": False, "slow_correct": True},
    {"question": "5 + 5?", "fast_text": "10", "slow_text": "11", "fast_correct": True, "slow_correct": False},
]


@pytest.fixture
def tandem(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tandem:
    """The program in this process, on a database and a home of its own."""
    for name, value in environment(tmp_path / "home", {"DATABASE_URL": dsn, "COLUMNS": "80"}).items():
        monkeypatch.setenv(name, value)
    return lambda *arguments, **options: CliRunner().invoke(app, ["audit", *map(str, arguments)], **options)


def rows(dsn: str, sql: str) -> list[Any]:
    """What PostgreSQL has."""

    async def read() -> list[Any]:
        """The rows."""
        connection = await asyncpg.connect(dsn)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    return asyncio.run(read())


def printed(entry: Entry) -> list[str]:
    """The lines that a server without a disk prints of it."""
    encoded = encode(entry)
    return list(lines(entry.id, entry.version, digest(encoded), encoded))


def pairs_in(folder: Path, *found: dict[str, Any] | str) -> Path:
    """A file with these lines."""
    path = folder / "pairs.jsonl"
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in found))
    return path


def test_a_file_is_imported_once(tandem: Tandem, dsn: str, tmp_path: Path) -> None:
    """Imported twice, a file adds its runs and their judgements once, and the command says where to look at them."""
    path = pairs_in(tmp_path, *PAIRS)
    first, second = (tandem("import", path, "--experiment", "sums & more") for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "3 stored" in first.output
    assert "3 duplicate" in second.output
    assert "experiment=sums+%26+more" in first.output
    assert rows(dsn, "SELECT count(*), count(DISTINCT experiment) FROM runs") == [(3, 1)]
    assert rows(dsn, "SELECT name, count(*) FROM feedback GROUP BY 1 ORDER BY 1") == [
        ("fast_correct", 3), ("slow_correct", 3),
    ]  # fmt: skip


def test_a_file_with_and_without_times_is_imported_once(tandem: Tandem, dsn: str, tmp_path: Path) -> None:
    """What has a time of its own does not move what has none."""
    last_week = datetime.now(UTC) - timedelta(days=7)
    file = pairs_in(tmp_path, *PAIRS, PAIRS[0] | {"created_at": last_week.isoformat()})
    for told in ("4 stored", "4 duplicate"):
        assert told in tandem("import", file, "--experiment", "pairs of sk-proj-Abc1def2Ghi3jkl4Mno5pqr6Stu7").output
    assert rows(dsn, "SELECT count(*) FROM runs") == [(4,)]


def test_a_file_that_is_redacted_otherwise_is_imported_once(
    tandem: Tandem, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same lines under another AUDIT_CONTENT are the same runs, and no dead letters."""
    file = pairs_in(tmp_path, *PAIRS)
    assert "3 stored" in tandem("import", file, "--experiment", "e").output
    monkeypatch.setenv("AUDIT_CONTENT", "hash_only")
    assert "3 duplicate" in tandem("import", file, "--experiment", "e").output
    assert rows(dsn, "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM dead_letters)") == [(3, 0)]


def test_a_run_that_would_be_forgotten_is_not_imported(tandem: Tandem, dsn: str, tmp_path: Path) -> None:
    """A line of a time before which runs are not kept is refused, and not stored for an hour."""
    long_ago = datetime.now(UTC) - timedelta(days=400)
    told = tandem("import", pairs_in(tmp_path, PAIRS[0] | {"created_at": long_ago.isoformat()}), "--experiment", "e")
    assert (told.exit_code, "RUN_DAYS" in told.output, rows(dsn, "SELECT count(*) FROM runs")) == (2, True, [(0,)])


def test_a_wrong_line_is_told_by_its_number(tandem: Tandem, dsn: str, tmp_path: Path) -> None:
    """What stands before a wrong line is stored, and the error names the file, the line and what is wrong with it."""
    path = pairs_in(tmp_path, PAIRS[0], '{"question": "?"}', PAIRS[1])
    told = tandem("import", path, "--experiment", "e")
    assert told.exit_code == 2
    assert "1 stored" in told.output
    assert "pairs.jsonl: line 2: Object missing required field `fast_text`" in told.output.replace("\n", " ")
    assert rows(dsn, "SELECT count(*) FROM runs") == [(1,)]


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"{}" * 999)[:-9], b"\x1f\x8bno", gzip.compress(b"{}")[:-8] + bytes(8)],
    ids=["cut", "no gzip", "checksum"],
)
def test_a_damaged_file_is_told(tandem: Tandem, tmp_path: Path, content: bytes) -> None:
    """A compressed file that was cut or is none ends the import with one line that says so."""
    (tmp_path / "cut.gz").write_bytes(content)
    told = tandem("import", tmp_path / "cut.gz", "--experiment", "e")
    assert (told.exit_code, told.output.count("\n")) == (2, 1)
    assert "cut.gz" in told.output
    assert "gzip" in told.output


@pytest.mark.parametrize("experiment", ["", "x" * 129], ids=["empty", "long"])
def test_an_imported_experiment_has_a_name_that_can_be_asked_for(
    tandem: Tandem, tmp_path: Path, experiment: str
) -> None:
    """A name that no question could carry is refused before anything is stored."""
    told = tandem("import", pairs_in(tmp_path, PAIRS[0]), "--experiment", experiment)
    assert (told.exit_code, "1 to 128 characters" in told.output) == (2, True)


def test_printed_records_are_read_back(tandem: Tandem, dsn: str, tmp_path: Path) -> None:
    """Whole records are stored whatever wraps their lines, a second time they are duplicates."""
    one, two, three = (pasts.closing(log=bytes(60_000)) for _ in range(3))
    wrapped = [json.dumps({"message": line, "severity": "INFO"}) for line in printed(two)]
    text = [*printed(one), "noise", *wrapped[::-1]]
    (tmp_path / "a.log").write_text("\n".join(text))
    told, again = (tandem("replay", tmp_path / "a.log", "-", input="\n".join(printed(three))) for _ in range(2))
    assert (told.exit_code, "3 stored" in told.output) == (0, True)
    assert (again.exit_code, "3 duplicate" in again.output) == (0, True)
    assert rows(dsn, "SELECT count(*) FROM runs") == [(3,)]


def test_a_replay_says_what_it_could_not_store(tandem: Tandem, dsn: str, tmp_path: Path) -> None:
    """A missing part, another content for a stored run and an unknown format are told; what is whole is stored."""
    cut, whole = pasts.closing(log=bytes(60_000)), pasts.closing()
    changed = pasts.closing(whole.opening, verdict="disagree")
    strange = list(lines(None, None, digest(b"?"), b"?"))
    theirs = '{"tandem_audit":1,"run_id":"[/a]","digest":"x","part":1,"parts":2,"data":""}'  # is no mark-up
    text = [*strange, theirs, *printed(cut)[1:], *printed(whole)]
    (tmp_path / "a.log").write_text("\n".join(text))
    told = tandem("replay", tmp_path / "a.log")
    assert told.exit_code == 1
    assert "1 stored" in told.output
    assert "1 undecodable" in told.output
    assert all(f"incomplete: run {run_id}, 1 of 2 parts" in told.output for run_id in ("[/a]", cut.opening.run_id))
    (tmp_path / "b.log").write_text("\n".join(printed(changed)))
    conflict = tandem("replay", tmp_path / "b.log")
    assert (conflict.exit_code, "1 conflict" in conflict.output) == (1, True)
    assert rows(dsn, "SELECT reason, run_id::text FROM dead_letters") == [("conflict", whole.opening.run_id)]
    assert rows(dsn, "SELECT agreement ->> 'verdict' FROM runs") == [("agree",)]


def test_attachments_go_the_same_way(tandem: Tandem, dsn: str, tmp_path: Path) -> None:
    """Who shared a run is read back from its line once, and is a dead letter where the request is known otherwise."""
    guest = entries.attachment(pasts.opening())
    other = replace(guest, caller="somebody else")
    (tmp_path / "a.log").write_text("\n".join([*printed(guest), *printed(pasts.closing())]))
    assert "2 stored" in tandem("replay", tmp_path / "a.log").output
    assert "2 duplicate" in tandem("replay", tmp_path / "a.log").output
    (tmp_path / "b.log").write_text("\n".join(printed(other)))
    assert "1 conflict" in tandem("replay", tmp_path / "b.log").output
    assert rows(dsn, "SELECT request_id::text, caller FROM attachments") == [(guest.request_id, "guest")]
    assert guest.request_id in tandem("dead-letters").output
    asyncio.run(filing.do(dsn, "DELETE FROM attachments"))
    tried = tandem("dead-letters", "--retry")
    assert (tried.exit_code, "stored" in tried.output) == (0, True)
    assert rows(dsn, "SELECT caller FROM attachments") == [("somebody else",)]


def test_dead_letters_are_listed_and_tried_again(tandem: Tandem, dsn: str, tmp_path: Path) -> None:
    """A letter that can be stored now leaves PostgreSQL or the disk; one whose cause is still there stays."""
    assert "there are no dead letters" in tandem("dead-letters").output
    whole = pasts.closing()
    changed = pasts.closing(whole.opening, verdict="disagree")
    (tmp_path / "a.log").write_text("\n".join([*printed(whole), *printed(changed)]))
    assert tandem("replay", tmp_path / "a.log").exit_code == 1
    laid = pasts.closing()
    folder = tmp_path / "home" / "spool" / "dead-letters"
    folder.mkdir(parents=True)
    fields = {"run_id": laid.opening.run_id, "version": 3, "reason": "rejected", "error": "[/a]", "digest": "00" * 32}
    kept = fields | {"digest": digest(encode(laid)).hex(), "encoded": base64.b64encode(encode(laid)).decode()}
    (folder / f"{kept['digest']}.json").write_text(json.dumps(kept))
    listed = tandem("dead-letters")
    assert listed.exit_code == 0
    assert all(
        said in listed.output for said in (whole.opening.run_id, laid.opening.run_id, "conflict", "rejected", "[/a]")
    )
    tried = tandem("dead-letters", "--retry")
    assert (tried.exit_code, "stored" in tried.output, "conflict" in tried.output) == (1, True, True)
    assert list(folder.iterdir()) == []
    assert rows(dsn, "SELECT count(*) FROM dead_letters") == [(1,)]
    rows(dsn, "DELETE FROM runs WHERE version = 3")
    assert tandem("dead-letters", "--retry").exit_code == 0
    assert "there are no dead letters" in tandem("dead-letters").output


def test_a_letter_that_was_damaged_is_not_stored(tandem: Tandem, dsn: str, tmp_path: Path) -> None:
    """Bytes that are not what was written stay a dead letter, though an entry can be read from them."""
    encoded = encode(entries.closing())
    kept = DeadLetter(digest(encoded), None, None, "undecodable", "?", encoded.replace(b"France", b"Franca"))
    asyncio.run(_bury(dsn, kept))
    tried = tandem("dead-letters", "--retry")
    assert (tried.exit_code, rows(dsn, "SELECT count(*) FROM runs")) == (1, [(0,)]), tried.output


async def _bury(dsn: str, letter: DeadLetter) -> None:
    """Keep it in PostgreSQL."""
    async with Pool(dsn) as pool:
        await RunStore(pool).bury([letter])


def test_letters_that_were_not_tried_are_left(tandem: Tandem, dsn: str, tmp_path: Path) -> None:
    """The exit code of a try is 0 only when nothing is left, be it older than those that were tried."""
    wholes = [pasts.closing() for _ in range(3)]
    both = [*wholes, *(pasts.closing(whole.opening, verdict="disagree") for whole in wholes)]
    (tmp_path / "a.log").write_text("\n".join(line for closing in both for line in printed(closing)))
    assert tandem("replay", tmp_path / "a.log").exit_code == 1
    asyncio.run(filing.do(dsn, "DELETE FROM runs"))
    tried = tandem("dead-letters", "--retry", "--limit", "2")
    assert (tried.exit_code, "1 are left" in tried.output) == (1, True)
    assert tandem("dead-letters", "--retry", "--limit", "2").exit_code == 0


def test_everything_is_exported(tandem: Tandem, tmp_path: Path) -> None:
    """JSON Lines and CSV hold every record of the caller, texts where they are wanted, on the screen or in a file."""
    tandem("import", pairs_in(tmp_path, *PAIRS), "--experiment", "e")
    records = [json.loads(line) for line in tandem("export").stdout_bytes.splitlines()]
    assert {record["payload"]["messages"][0]["content"] for record in records} == {"2 + 2?", "3 + 3?", "5 + 5?"}
    assert tandem("export", "--csv", "--no-payload", "--out", tmp_path / "runs.csv").exit_code == 0
    table = list(csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_bytes().decode())))
    assert [row["run_id"] for row in table] == [record["run_id"] for record in records]
    assert {row["agreement"] for row in table} == {"agree", "disagree"}
    assert "fast_text" not in table[0]
    assert tandem("export", "--caller", "somebody").stdout_bytes == b""


def test_an_export_without_a_database_leaves_the_one_before(
    tandem: Tandem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was exported once keeps its lines when the next export cannot begin."""
    (tmp_path / "runs.jsonl").write_text("{}\n")
    monkeypatch.setenv("DATABASE_URL", AWAY)
    assert tandem("export", "--out", tmp_path / "runs.jsonl").exit_code == 2
    assert (tmp_path / "runs.jsonl").read_text() == "{}\n"


@pytest.mark.parametrize("arguments", [("replay", "{}/no.log"), ("export", "--out", "{}/no/x"), ("replay", "{}")])
def test_a_file_that_cannot_be_opened_is_told(tandem: Tandem, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """One line names the file and why; the exit code is 2."""
    told = tandem(*(word.format(tmp_path) for word in arguments))
    assert (told.exit_code, told.output.count("\n")) == (2, 1)
    assert str(tmp_path) in told.output


@pytest.mark.parametrize("arguments", [("dead-letters",), ("export",), ("replay", "-"), ("status",)])
def test_a_database_that_is_away_is_told(
    tandem: Tandem, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """A command that needs the database says in one line that it is away, not with which password, and exits with 2."""
    monkeypatch.setenv("DATABASE_URL", AWAY)
    told = tandem(*arguments)
    assert told.exit_code == 2
    assert told.output.count("PostgreSQL cannot be reached") == 1
    assert "hidden-word" not in told.output
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    assert "DATABASE_URL is not an address" in tandem(*arguments).output


def test_the_program_tells_it_without_a_traceback(tmp_path: Path) -> None:
    """As a process of its own it says one line on standard error and nothing else."""
    told = command(tmp_path, "audit", "export", DATABASE_URL=AWAY)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.splitlines() == ["tandem: PostgreSQL cannot be reached: ConnectionRefusedError"]


def test_the_state_of_everything_is_told(tandem: Tandem, dsn: str, tmp_path: Path) -> None:
    """Without a server the status tells the disk and PostgreSQL; with one it tells that server's ledger too."""
    spool = tmp_path / "home" / "spool"
    spool.mkdir(parents=True)
    (spool / "spool-corrupt-1.sqlite").write_bytes(b"x")
    alone = tandem("status", "--url", "http://127.0.0.1:1")
    assert alone.exit_code == 0
    assert all(said in alone.output for said in ("none answers", "spool-corrupt-1.sqlite", "0, of which 0 open"))
    with fresh_home() as home, running(home, DATABASE_URL=dsn) as server:
        server.until(lambda: "heard of" in tandem("status", "--url", server.url).output)  # its first sign of life
        told = tandem("status", "--url", server.url)
    assert "audit ok" in told.output, told.output


@pytest.mark.parametrize("name", ["", "status", "dead-letters", "replay", "import", "export"])
def test_every_command_explains_itself(tandem: Tandem, name: str) -> None:
    """`--help` says what a command does and what each of its options means."""
    told = tandem(*name.split(), "--help")
    assert told.exit_code == 0
    assert {"status": "--url", "dead-letters": "--retry", "import": "fast_text"}.get(name, "--help") in told.output
