"""A server that listens before its parts stand, and the commands that are imported when they are called."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Scope
from typer.testing import CliRunner

from app.cli import COMMANDS, app
from app.http.carried import CSP
from app.http.departure import CONNECTION
from app.http.opening import Opening

ROOT = Path(__file__).parent.parent
# What a server needs, but not to listen; and what only a terminal needs.
LATER = {"fastapi", "asyncpg", "tenacity", "genai_prices", "grpc", "rich", "httpx", "app.wiring", "app.main"}


@pytest.fixture
def opening() -> Opening:
    """Nothing stands yet."""
    return Opening()


def client(opening: Opening) -> httpx.AsyncClient:
    """A client of it."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(opening), base_url="http://127.0.0.1")


async def test_alive_before_it_stands(opening: Opening) -> None:
    """While the parts are being opened the process says that it is alive, and that nothing should be sent to it."""
    async with client(opening) as http:
        live, ready = [await http.get(f"/health/{of}") for of in ("live", "ready")]
    assert (live.status_code, live.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()["checks"]) == (503, {"process": "starting"})


async def test_who_comes_early_waits(opening: Opening) -> None:
    """A request that comes before the application stands is answered by it; so is every later one."""
    async with client(opening) as http:
        early = asyncio.create_task(http.get("/v1/reason"))
        await asyncio.sleep(0.01)
        assert not early.done()
        opening.open(PlainTextResponse("the application"))
        assert [(await early).text, (await http.get("/health/live")).text] == ["the application"] * 2


async def test_what_is_answered_early_is_like_every_answer(opening: Opening) -> None:
    """Answers before there is an application have the request's id and tell a browser what all others tell it."""
    async with client(opening) as http:
        early = [await http.get(f"/health/{of}", headers={"x-request-id": "mine-1"}) for of in ("live", "ready")]
        odd = await http.get("/health/live", headers={"x-request-id": "a b", "x-forwarded-proto": "https"})
        opening.shut()
        early.append(await http.get("/", headers={"x-request-id": "mine-1"}))
    assert early[-1].json()["request_id"] == "mine-1"
    for answer in early:
        assert answer.headers["x-request-id"] == "mine-1"
        assert answer.headers["content-security-policy"] == CSP
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "strict-transport-security" not in answer.headers
    assert re.fullmatch("[0-9a-f]{32}", odd.headers["x-request-id"])
    assert "strict-transport-security" in odd.headers


async def test_who_left_meanwhile_is_forgotten(opening: Opening) -> None:
    """A request whose client has gone before the application stands never reaches it, so that it asks no model."""
    lost = asyncio.get_running_loop().create_future()
    scope = {"type": "http", "path": "/v1/reason", "extensions": {CONNECTION: {"lost": lost}}}
    reached: list[Scope] = []

    async def receive() -> Message:
        """What the server says of a client that has gone."""
        return {"type": "http.disconnect"}

    async def application(scope: Scope, *_: object) -> None:
        """Keep what reaches it."""
        reached.append(scope)

    early = asyncio.ensure_future(opening(scope, receive, application))
    await asyncio.sleep(0)
    lost.set_result(None)
    opening.open(application)
    await early
    assert reached == []


async def test_a_start_that_ends_tells_those_who_wait(opening: Opening) -> None:
    """When there will be no application, who waits and who comes later is told to ask again elsewhere or later."""
    async with client(opening) as http:
        early = asyncio.create_task(http.get("/v1/reason"))
        await asyncio.sleep(0.01)
        opening.shut()
        for answer in (await early, await http.get("/v1/reason")):
            assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
            assert answer.headers["retry-after"] == "5"
            assert answer.headers["content-type"] == "application/problem+json"


def test_listening_imports_little() -> None:
    """What answers first imports neither the framework nor the database's driver nor anything of a terminal."""
    shown = f"import sys, app.cli, app.commands.serve; print({LATER} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", shown], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_command_is_there() -> None:
    """The help names every command with what it does, and a name that is none is told."""
    told = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout
    assert [name for name in COMMANDS if f" {name} " not in told] == []
    unknown = CliRunner().invoke(app, ["nothing"])
    assert (unknown.exit_code, "No such command" in unknown.stderr) == (2, True)
