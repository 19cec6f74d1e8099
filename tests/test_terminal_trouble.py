"""The commands of the terminal when something is wrong: files, keys, labels, narrow screens, servers that go away."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import typer
from aiohttp import web
from aiohttp.test_utils import TestServer
from cells import rows
from rich.console import Console
from typer.testing import CliRunner, Result

from app.cli import app, main
from app.commands.race import raced
from app.commands.runs import View, tell
from app.commands.top import again
from app.errors import MalformedRequest
from app.terminal.ask import TIMEOUT, ask
from app.terminal.race import Asked, Race, questions_of
from app.terminal.runs import follow, show_one
from app.terminal.server import Server, client, server
from app.terminal.stream import NoTandem, Refused
from app.terminal.top import picture
from app.terminal.words import dollars

NOWHERE = "http://127.0.0.1:1"
FINAL = {"lane": "slow", "text": "x", "change": "confirmed", "agreement": {"verdict": "agree"}}
EVENTS: list[tuple[int, tuple[str, dict[str, Any]]]] = [
    (0, ("start", {"run_id": "r"})),
    (1, ("final", FINAL)),
    (2, ("done", {"status": "completed"})),
]


TOLD: dict[str, Any] = {"n": 0, "per_second": 0.0, "error_rate": None, "status": {}, "cache_hit_rate": None}
LANES = {"[b]lane m": {"n": 0, "outcome": {}, "first_token_ms": {}, "total_ms": {}}}
ZEROS = (
    "tandem_ready", "tandem_live_runs", "tandem_live_runs_limit", "tandem_open_streams", "tandem_queue_waiting",
    "tandem_stuck_lanes", "tandem_audit_imbalance", "tandem_audit_spool_records", "tandem_audit_spool_oldest_seconds",
    "process_resident_memory_bytes", "process_open_fds", "tandem_disk_free_bytes",
)  # fmt: skip
METRICS = {
    "version": "1",
    "windows": {"5m": {"requests": TOLD, "runs": TOLD, "refusals": {}, "cost_usd": None, "lanes": LANES}},
    "now": {
        **dict.fromkeys(ZEROS, 0),
        "tandem_loop_lag_seconds": {"p99": 0.0},
        "tandem_audit_records_total": {"accepted": 0, "stored": 0, "dead_lettered": 0},
        "tandem_breaker_state": {"[red]a\x1b[2J": 2},
    },
}


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


@pytest.mark.parametrize(
    "arguments", [["ask", "\udcff"], ["ask", "hi", "--fast", "\udcff"], ["runs", "--tag", "\udcff"]]
)
def test_an_argument_that_is_no_text_is_refused_in_a_sentence(arguments: list[str]) -> None:
    """What no terminal types and a script may pass, bytes that are no UTF-8, is refused with 2 and one line."""
    said = typed(*arguments)
    assert (said.exit_code, said.stderr) == (2, "tandem: an argument is no UTF-8 text\n")


def test_a_letter_that_the_locale_has_not_loses_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where standard output is Latin-1 an answer is printed as far as that goes, and is no traceback."""
    out = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(out, encoding="latin-1"))
    monkeypatch.setattr("app.cli.app", lambda: typer.echo("in Kyōto, é"))
    main()
    assert out.getvalue() == "in Ky?to, é\n".encode("latin-1")


@pytest.mark.parametrize("bound", ["inf", "nan"])
@pytest.mark.parametrize("option", ["--deadline-s", "--fast-timeout-s", "--slow-timeout-s"])
def test_a_bound_that_no_request_can_carry_is_refused_in_a_sentence(option: str, bound: str) -> None:
    """A bound that is no number of seconds is refused with 2, by the name of its option."""
    said = typed("ask", "hi", option, bound)
    assert (said.exit_code, option in said.stderr, said.exception.__class__) == (2, True, SystemExit)


@pytest.mark.parametrize("kind", ["text/html", "text/event-stream"])
async def test_what_answers_and_is_no_tandem_is_said_to_be_none(
    away: tuple[Away, str], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page of something else at the address is no run that was lost: nothing was asked, and the status is 2."""
    away[0].refusal = web.Response(text="<html>", content_type=kind)
    assert await ask(away[1], {"input": "x"}, json_output=False, console=Console()) == 2
    assert "is no Tandem" in capsys.readouterr().err
    away[0].answers, away[0].refusal = 1, web.Response(text="<html>", content_type=kind)
    with pytest.raises(NoTandem):
        await raced(away[1], [{"input": "x"}], {"experiment": "e"}, 1, None)


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


def test_a_race_without_a_server_leaves_no_file(tmp_path: Path) -> None:
    """Where no server answers nothing is written, and the same command can be typed again."""
    for _ in range(2):
        said = typed("race", "-", "--out", str(tmp_path / "ends.jsonl"), given=b"why?")
        assert (said.exit_code, "no server answers" in said.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


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


PASSING: list[tuple[int | None, dict[str, str]]] = [(503, {}), (429, {"Retry-After": "7"}), (502, {}), (None, {})]


class Absent:
    """A server that is there at the first look, passes through trouble, and is there again before it refuses."""

    def __init__(self, there: dict[str, Any], again: dict[str, Any]) -> None:
        self.answers: list[web.Response | None] = [web.json_response(there)]
        for status, headers in PASSING:
            self.answers.append(web.Response(status=status, headers=headers, text="<html>") if status else None)
        self.answers += [web.json_response(again), web.json_response({"code": "forbidden"}, status=401)]

    async def next(self, request: web.Request) -> web.StreamResponse:
        """What comes next; a connection that closes where that is nothing."""
        answer = self.answers.pop(0)
        if answer is not None:
            return answer
        assert request.transport is not None
        request.transport.close()
        return web.Response()


@contextlib.asynccontextmanager
async def absent(path: str, there: dict[str, Any], again: dict[str, Any]) -> AsyncIterator[Server]:
    """Such a server behind one path."""
    routes = web.Application()
    routes.router.add_get(path, Absent(there, again).next)
    async with TestServer(routes) as site, server(str(site.make_url("/"))) as running:
        yield running


async def test_who_follows_waits_for_a_server_that_is_away() -> None:
    """Following goes on when the server is back, says once that it is away, and ends at a refusal that stays."""
    pauses: list[float] = []
    shown: list[str] = []
    away: list[str] = []

    async def sleep(seconds: float) -> None:
        """Note it."""
        pauses.append(seconds)

    async with absent("/api/experiments", {"experiments": []}, {"experiments": [RECORD]}) as running:
        with pytest.raises(Refused):
            await follow(
                running, {}, lambda one: shown.append(one["run_id"]), lambda error: away.append(error.message), sleep
            )
    assert (shown, len(away), pauses) == ([RECORD["run_id"]], 1, [2.0, 2.0, 7.0, 2.0, 2.0, 2.0])


async def test_top_waits_for_a_server_that_is_away() -> None:
    """Looking again and again goes on through trouble that passes, and its words are neither markup nor escapes."""
    out = io.StringIO()
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        """Note it; after the trouble it is enough."""
        pauses.append(seconds)
        if len(pauses) == len(PASSING):
            raise asyncio.CancelledError

    async with absent("/metrics", {}, {}) as running:
        await running.read("/metrics")
        with pytest.raises(asyncio.CancelledError):
            await again(running, Console(file=out, force_terminal=True, width=200, color_system=None), "5m", 1, sleep)
    assert pauses == [1, 7.0, 1, 1]
    assert "Looking again in 7 s." in out.getvalue()


def test_the_names_of_breakers_do_not_steer_the_terminal() -> None:
    """What the server says of its breakers and lanes is text, whatever is in it."""
    out = io.StringIO()
    Console(file=out, width=200, color_system=None).print(picture((METRICS, None), "5m"))
    for words in ("[red]a[2J open", "[b]lane"):
        assert words in out.getvalue()


LANE = {"outcome": "completed", "latency_ms": 10.0}
RECORD = {
    "run_id": "01a20407-4878-7788-a361-27c51b9307c1", "created_at": "2026-01-01T00:00:00Z", "status": "completed",
    "change": "undetermined", "source": "cache", "lanes": {"fast": LANE, "slow": LANE}, "latency_ms": 10.0,
    "cost_usd": None, "payload": {"messages": [{"role": "user", "content": "What is here?"}]},
}  # fmt: skip


@rows("width", [30, 80, 109, 200])
def test_a_narrow_terminal_loses_no_number(width: int) -> None:
    """The list of runs says the same at every width: the id whole, the outcome, the times and the cost."""
    out = io.StringIO()
    tell([RECORD], View(Console(file=out, width=width, color_system=None), questions=True, as_json=False))
    said = " ".join(out.getvalue().split())
    for words in (RECORD["run_id"], "undetermined (cache)", "0.01 s", "unknown", "What is here?"):
        assert str(words) in said
    assert "…" not in said


def test_one_run_is_shown_whole_in_a_narrow_terminal() -> None:
    """No word of a run's facts is cut: its id, the path of a model, that its answer ended at its limit of tokens."""
    lane = LANE | {"model": "local:/" + "z" * 90, "reason": None, "ttft_ms": 1.0, "finish_reason": "length"}
    more = {"reason": None, "usage": None, "labels": {}, "audit": "durable", "lanes": {"slow": lane}}
    out = io.StringIO()
    show_one(RECORD | more, Console(file=out, width=40, color_system=None))
    said = "".join(out.getvalue().split())
    assert str(RECORD["run_id"]) in said
    assert said.count("z") == 90
    assert "completed(atitslimitoftokens)" in said
