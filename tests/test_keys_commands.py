"""`tandem keys ...` as an operator types it, and the commands that show a server a key."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from keyring import PEPPER, guarded
from processes import environment
from servers import Server
from typer.testing import CliRunner, Result

from app.cli import app

Tandem = Callable[..., Awaitable[Result]]


@pytest.fixture
def tandem(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Tandem:
    """The program on a database of its own, in a thread of its own."""
    for name, value in environment(tmp_path, {"COLUMNS": "160"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", dsn)
    monkeypatch.setenv("KEY_PEPPER", PEPPER)

    async def run(*arguments: str) -> Result:
        """The command, as if typed."""
        return await asyncio.to_thread(CliRunner().invoke, app, [*arguments])

    return run


async def made(tandem: Tandem, *arguments: str) -> dict[str, Any]:
    """What a command that makes a key prints as JSON."""
    told = await tandem("keys", *arguments, "--json")
    assert told.exit_code == 0, told.output
    found: dict[str, Any] = json.loads(told.stdout)
    return found


async def caller(server: Server, key: str) -> tuple[int, str]:
    """The status, and who the server says that shows this key."""
    answer = await server.client.get("/v1/session", headers={"x-api-key": key})
    return answer.status_code, answer.json().get("caller", answer.json().get("detail"))


async def test_a_key_from_its_making_to_its_end(tandem: Tandem, dsn: str) -> None:
    """A key works once it is made, beside its successor until the overlap is over, and not when it was revoked."""
    first = await made(tandem, "create", "alice", "--set", "usd_per_hour=2.5", "--set", "content=redacted")
    assert (first["granted"], first["roles"], first["state"]) == (
        {"usd_per_hour": 2.5, "content": "redacted"}, ["ask", "read"], "good",
    )  # fmt: skip
    second = await made(tandem, "rotate", first["id"], "--overlap", "1h")
    assert (second["caller"], second["granted"]) == ("alice", first["granted"])
    async with guarded(dsn, key_cache_s=0.01) as server:
        assert [await caller(server, one["key"]) for one in (first, second)] == [(200, "alice")] * 2
        assert (await tandem("keys", "revoke", second["id"])).exit_code == 0
        await asyncio.sleep(0.02)
        assert await caller(server, second["key"]) == (401, "this key was revoked")
        server.tasks |= asyncio.all_tasks()
    rows = json.loads((await tandem("keys", "list", "--json")).stdout)
    assert [(row["id"], row["state"]) for row in rows] == [(first["id"], "good"), (second["id"], "revoked")]
    assert rows[0]["expires_at"] is not None
    again = await tandem("keys", "rotate", second["id"])
    assert (again.exit_code, "it is revoked" in again.output) == (2, True)


async def test_the_end_of_a_rotated_key_is_told(tandem: Tandem) -> None:
    """A key that ends before the overlap does is not said to work longer than it will."""
    for overlap in ("1h", "30d"):
        first = await made(tandem, "create", "alice", "--expires", "2d")
        told = await tandem("keys", "rotate", first["id"], "--overlap", overlap)
        rows = json.loads((await tandem("keys", "list", "--json")).stdout)
        (ends_at,) = (row["expires_at"] for row in rows if row["id"] == first["id"])
        assert f"works until {ends_at[:16].replace('T', ' ')} UTC" in told.output


async def test_a_note_is_shown_as_it_was_written(tandem: Tandem) -> None:
    """A note in brackets, or between colons, is no mark-up that changes the list or ends it."""
    notes = ("[/team] laptop", "[red]until May", ":key: of the build")
    for note in notes:
        await made(tandem, "create", "alice", "--note", note)
    listed = await tandem("keys", "list")
    assert listed.exit_code == 0, listed.output
    assert [note for note in notes if note not in listed.output] == []


async def test_a_key_is_shown_once(tandem: Tandem, tmp_path: Path) -> None:
    """Standard output has the key alone; no list, and nothing in the database, shows it again."""
    told = await tandem("keys", "create", "alice", "--note", "laptop", "--expires", "90d", "--tenant", "one")
    key = told.stdout.strip()
    assert key.count("\n") == 0
    listed = await tandem("keys", "list")
    assert (key in listed.output, key[7:19] in listed.output, "laptop" in listed.output) == (False, True, True)
    other = await tandem("keys", "create", "alice", "--tenant", "two")
    assert (other.exit_code, "another tenant" in other.output) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("create", "a b"), "letters"),
        (("create", "nobody"), "letters"),
        (("create", "a", "--roles", "root"), "ask, read, admin"),
        (("create", "a", "--set", "usd_per_hour=-1"), "greater"),
        (("create", "a", "--set", "usd_per_hour=nan"), "finite"),
        (("create", "a", "--set", "colour=red"), "NAME=VALUE"),
        (("create", "a", "--set", "content=all"), "full"),
        (("create", "a", "--expires", "90"), "90d"),
        (("create", "a", "--expires", "0d"), "90d"),
        (("rotate", "000000000000"), "no good key"),
    ],
)
async def test_what_cannot_be_is_told(tandem: Tandem, arguments: tuple[str, ...], word: str) -> None:
    """A wrong name, role, limit or time makes no key; the message tells what is right."""
    told = await tandem("keys", *arguments)
    assert (told.exit_code, word in told.output) == (2, True), told.output


async def test_there_is_no_key_without_a_pepper(tandem: Tandem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pepper no key can be made, and the message says how to make one; revoking needs none."""
    monkeypatch.delenv("KEY_PEPPER")
    told = await tandem("keys", "create", "alice")
    assert (told.exit_code, "openssl rand -hex 32" in told.output) == (2, True)
    assert (await tandem("keys", "revoke", "000000000000")).exit_code == 1


async def test_commands_show_their_key(tandem: Tandem, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ask` and `cache stats` show the key of TANDEM_KEY, and tell that it is missing."""
    key = (await made(tandem, "create", "alice"))["key"]
    async with guarded(dsn) as server:
        for command in (("ask", "Why?", "--url", server.url), ("cache", "stats", "--url", server.url)):
            monkeypatch.delenv("TANDEM_KEY", raising=False)
            refused = await tandem(*command)
            assert (refused.exit_code, "Bearer" in refused.output) == (2, True), refused.output
            monkeypatch.setenv("TANDEM_KEY", key)
            told = await tandem(*command)
            assert told.exit_code == 0, told.output
        server.tasks |= asyncio.all_tasks()


async def test_the_audit_status_of_a_server_that_refuses(
    tandem: Tandem, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`audit status` does not say of a server that wants another key that there is none, and takes a slash too many."""
    reader = (await made(tandem, "create", "alice"))["key"]
    admin = (await made(tandem, "create", "olga", "--roles", "admin"))["key"]
    async with guarded(dsn) as server:
        for key, said in ((reader, "refuses: this asks for the role admin"), (admin, '"accepted"')):
            await server.client.post("/v1/reason", headers={"x-api-key": reader}, json={"input": "Why?"})
            monkeypatch.setenv("TANDEM_KEY", key)
            told = await tandem("audit", "status", "--url", f"{server.url}/")
            assert (told.exit_code, said in told.output) == (0, True), told.output
        server.tasks |= asyncio.all_tasks()
