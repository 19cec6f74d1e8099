"""The commands of the terminal when something is wrong: files, keys, labels, narrow screens, servers that go away."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console
from typer.testing import CliRunner, Result

from app.cli import app
from app.commands.race import raced
from app.commands.runs import View, tell
from app.errors import MalformedRequest
from app.terminal.ask import TIMEOUT
from app.terminal.race import Asked, Race, questions_of
from app.terminal.server import client
from app.terminal.stream import Refused
from app.terminal.words import dollars

NOWHERE = "http://127.0.0.1:1"
FINAL = {"lane": "slow", "text": "x", "change": "confirmed", "agreement": {"verdict": "agree"}}
EVENTS: list[tuple[int, tuple[str, dict[str, Any]]]] = [
    (0, ("start", {"run_id": "r"})),
    (1, ("final", FINAL)),
    (2, ("done", {"status": "completed"})),
]


class Away:
    """A server that answers so many questions, and then closes every connection; or refuses each."""

    def __init__(self) -> None:
        self.answers = 1
        self.refusal: web.Response | None = None

    async def reason(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/reason."""
        self.answers -= 1
        if self.answers < 0:
            assert request.transport is not None
            request.transport.close()
        if self.refusal is not None:
            return self.refusal
        frames = [f"event: {name}\nid: r:{seq}\ndata: {json.dumps(data)}\n\n" for seq, (name, data) in EVENTS]
        return web.Response(text="".join(frames), content_type="text/event-stream", headers={"X-Run-ID": "r"})

    async def agreement(self, request: web.Request) -> web.StreamResponse:
        """GET /api/experiments/agreement."""
        assert request.transport is not None
        request.transport.close()
        return web.Response()


@pytest.fixture
async def away() -> AsyncIterator[tuple[Away, str]]:
    """Such a server and its address."""
    play = Away()
    routes = web.Application()
    routes.router.add_post("/v1/reason", play.reason)
    routes.router.add_get("/api/experiments/agreement", play.agreement)
    async with TestServer(routes) as server:
        yield play, str(server.make_url("/"))


def typed(*arguments: str, given: bytes | None = None) -> Result:
    """A command as if typed, where no server is."""
    return CliRunner().invoke(app, [*arguments, "--url", NOWHERE], given)


@pytest.mark.parametrize("command", ["race", "ask"])
def test_bytes_that_are_no_text_are_refused_in_a_sentence(command: str) -> None:
    """Standard input that is no UTF-8 is refused with 2 and one line, whatever the command."""
    said = typed(command, "-", given=b"one\n\xff\xfe\n")
    assert (said.exit_code, said.stderr) == (2, "tandem: standard input: is no UTF-8 text\n")


def test_a_file_that_is_no_text_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """A file of questions that is no UTF-8 is refused with 2, by its name."""
    (tmp_path / "bad").write_bytes(b"\xff\xfe")
    said = typed("race", str(tmp_path / "bad"))
    assert (said.exit_code, said.stderr) == (2, f"tandem: {tmp_path / 'bad'}: is no UTF-8 text\n")


async def test_a_byte_order_mark_is_no_part_of_the_first_question(
    away: tuple[Away, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file as Windows writes it is read as any other: its first line may be JSON."""
    (tmp_path / "bom").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n')
    for said in (typed("race", str(tmp_path / "bom")), typed("race", "-", given=b'\xef\xbb\xbf{"a": 1}\r\n')):
        assert (said.exit_code, "a: is none of" in said.stderr) == (2, True)


@pytest.mark.parametrize("text", ['{"input": "\\ud800"}', '{"input": "x", "tags": [NaN]}', '{"input":' + "[" * 100_000])
def test_a_line_that_cannot_be_sent_is_refused_before_any_is_asked(text: str) -> None:
    """JSON that no request can carry is refused with its line, and not in the middle of the race."""
    with pytest.raises(MalformedRequest, match="file:1: is no JSON"):
        questions_of([text], "file", 9)


@pytest.mark.parametrize("key", ["schlüssel", "two words", "a\nb"])
@pytest.mark.parametrize("command", ["runs", "ask"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(
    command: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key with a character that no key has is refused with 2 in a line that does not repeat it."""
    monkeypatch.setenv("TANDEM_KEY", key)
    said = typed(command, *["hi"][: command == "ask"])
    assert (said.exit_code, "TANDEM_KEY" in said.stderr, key in said.output) == (2, True, False)


async def test_a_server_that_goes_away_leaves_what_was_asked(
    away: tuple[Away, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A race whose server goes away tells what became of the questions before, and why it ended; the status is 1."""
    bodies = [{"input": str(number)} for number in range(3)]
    assert await raced(away[1], bodies, {"experiment": "a[/b]"}, 1, None) == 1
    said = capsys.readouterr().out
    for words in ("1 asked: 1 completed", "no server answers", "2 were not asked", "experiment a[/b]"):
        assert words in said


async def test_a_refusal_for_hours_is_not_waited_for(away: tuple[Away, str]) -> None:
    """A server that says to come back later than anybody waits has refused; the race goes on with the next question."""
    ends: list[Asked] = []
    problem = {"code": "budget_exceeded", "detail": "spent"}
    away[0].refusal = web.json_response(problem, status=429, headers={"Retry-After": "7200"})

    async def sleep(seconds: float) -> None:
        """Nobody is to wait."""
        raise AssertionError(seconds)

    async with client(away[1], TIMEOUT) as http:
        await Race(http, {}, ends.append, sleep).run([{"input": "x"}], 1)
    assert [(one.status, one.why) for one in ends] == [("refused", "budget_exceeded: spent (again in 7200 s)")]


def test_a_servers_words_do_not_steer_the_terminal() -> None:
    """What a server says of its refusal has no escape sequence left, wherever it is printed."""
    refused = Refused(422, {"code": "a\x1b[2J", "detail": "\x1b]0;title\x07no"}, None)
    assert (refused.problem_code, refused.message) == ("a[2J", "]0;titleno")


def test_a_tiny_cost_is_not_shown_as_none() -> None:
    """A cost too small for its digits is below them, and not $0."""
    assert [dollars(3e-7), dollars(6e-7), dollars(0.0)] == ["below $0.000001", "$0.000001", "$0"]


LANE = {"outcome": "completed", "latency_ms": 10.0}
RECORD = {
    "run_id": "01a20407-4878-7788-a361-27c51b9307c1", "created_at": "2026-01-01T00:00:00Z", "status": "completed",
    "change": "undetermined", "source": "cache", "lanes": {"fast": LANE, "slow": LANE}, "latency_ms": 10.0,
    "cost_usd": None, "payload": {"messages": [{"role": "user", "content": "What is here?"}]},
}  # fmt: skip


@pytest.mark.parametrize("width", [30, 80, 109, 200])
def test_a_narrow_terminal_loses_no_number(width: int) -> None:
    """The list of runs says the same at every width: the id whole, the outcome, the times and the cost."""
    out = io.StringIO()
    tell([RECORD], View(Console(file=out, width=width, color_system=None), questions=True, as_json=False))
    said = " ".join(out.getvalue().split())
    for words in (RECORD["run_id"], "undetermined (cache)", "0.01 s", "unknown", "What is here?"):
        assert str(words) in said
    assert "…" not in said
