"""`tandem ask` against a real server that plays streams: it shows both lanes, comes back, and says what went wrong."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console
from servers import turns

from app.terminal.ask import TIMEOUT, ask
from app.terminal.race import Asked, Race
from app.terminal.screen import screen
from app.terminal.server import client
from app.terminal.stream import Event, Parser, Unreachable
from app.terminal.view import Progress, picture
from app.terminal.words import dollars, safe, tokens

USAGE = {"input_tokens": 3, "output_tokens": 5, "source": "reported"}
LANES = {"fast": {"model": "scripted:fast"}, "slow": {"model": "scripted:slow"}}
START: tuple[str, dict[str, Any]] = ("start", {"run_id": "r", "lanes": LANES, "audit": "durable"})


def ended(lane: str, outcome: str = "completed", reason: str | None = None) -> tuple[str, dict[str, Any]]:
    """A lane_end."""
    words = None if reason is None else "The model was silent."
    return "lane_end", {"lane": lane, "outcome": outcome, "reason": reason, "message": words, "latency_ms": 9.0}


def done(status: str, reason: str | None = None) -> tuple[str, dict[str, Any]]:
    """A done."""
    return "done", {"status": status, "reason": reason, "usage": USAGE, "latency_ms": 9, "cost_usd": None}


CONFIRMED: list[tuple[str, dict[str, Any]]] = [
    START,
    ("delta", {"lane": "slow", "text": "hm", "kind": "thinking"}),
    ("delta", {"lane": "fast", "text": "Par", "kind": "answer"}),
    ("delta", {"lane": "fast", "text": "is", "kind": "answer"}),
    ("preliminary", {"lane": "fast", "text": "Paris"}),
    ended("fast"),
    ("delta", {"lane": "slow", "text": "It is Paris.", "kind": "answer"}),
    ended("slow"),
    ("final", {"lane": "slow", "verified": True, "text": "It is Paris.", "change": "confirmed"}),
    done("completed"),
]
UNVERIFIED = [
    *CONFIRMED[:6],
    ended("slow", "timeout", "idle_timeout"),
    ("final", {"lane": "fast", "verified": False, "text": "Paris", "change": "unverified"}),
    done("partial", "idle_timeout"),
]
NOTHING = [START, ended("fast", "failed", "upstream_error"), ended("slow", "failed", "upstream_error"), done("failed")]


def frame(seq: int, event: tuple[str, dict[str, Any]]) -> bytes:
    """One event on the wire, with a comment before it."""
    return f": ping\nevent: {event[0]}\nid: r:{seq}\ndata: {json.dumps(event[1])}\n\n".encode()


class Stage:
    """A server that plays one list of events and may cut its connections; it remembers what was asked of it."""

    def __init__(self) -> None:
        self.events = CONFIRMED
        self.cuts: list[int] = []
        self.refusal: web.Response | None = None
        self.source = "live"
        self.hang_after: int | None = None
        self.forgetful = False
        self.gone: web.Response | None = None
        self.started = asyncio.Event()
        self.calls: list[str] = []

    async def reason(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/reason."""
        self.calls.append("reason")
        return self.refusal or await self.play(request, 0)

    async def rest(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/runs/r/events."""
        last = request.headers.get("Last-Event-ID", "r:-1")
        self.calls.append(last)
        return self.gone or await self.play(request, 0 if self.forgetful else int(last.rpartition(":")[2]) + 1)

    async def cancel(self, _: web.Request) -> web.StreamResponse:
        """POST /v1/runs/r/cancel."""
        self.calls.append("cancel")
        return web.json_response({})

    async def play(self, request: web.Request, first: int) -> web.StreamResponse:
        """The events from first on, up to the next cut."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "X-Run-ID": "r", "X-Run-Source": self.source}
        )
        await response.prepare(request)
        cut = self.cuts.pop(0) if self.cuts else None
        for seq in range(first, len(self.events)):
            if seq == cut:
                await response.write(frame(seq, self.events[seq])[:30])
                assert request.transport is not None
                request.transport.close()
                return response
            await response.write(frame(seq, self.events[seq]))
            if seq == self.hang_after:
                self.started.set()
                await asyncio.Event().wait()
        return response


@pytest.fixture
async def stage() -> AsyncIterator[tuple[Stage, str]]:
    """A playing server and its address."""
    play = Stage()
    app = web.Application()
    app.router.add_post("/v1/reason", play.reason)
    app.router.add_get("/v1/runs/r/events", play.rest)
    app.router.add_post("/v1/runs/r/cancel", play.cancel)
    async with TestServer(app) as server:
        yield play, str(server.make_url("/"))


@pytest.fixture
def asked() -> Callable[..., Any]:
    """Asks a server and gives the exit code and what was printed."""

    async def run(url: str, *, json_output: bool = False, terminal: bool = False, width: int = 100) -> tuple[int, str]:
        """Ask in a terminal of that width; the exit code and what was printed."""
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=width, height=30, color_system=None)
        code = await ask(url, {"input": "Capital of France?"}, json_output=json_output, console=console)
        return code, out.getvalue()

    return run


async def test_a_pipe_gets_the_final_answer_and_nothing_else(stage: Any, asked: Any, capsys: Any) -> None:
    """A pipe gets the final answer alone, and a verified one leaves standard error empty."""
    assert await asked(stage[1]) == (0, "It is Paris.\n")
    assert capsys.readouterr().err == ""


async def test_a_pipe_gets_the_answer_as_it_is(stage: Any, asked: Any) -> None:
    """A pipe gets the tabs of an answer, its long lines and the spaces at their ends."""
    text = "all:\n\tcc a.c  \n" + "long " * 50 + "[b]:smile:"
    stage[0].events = [START, ("final", {"lane": "slow", "verified": True, "text": text}), done("completed")]
    assert await asked(stage[1], width=20) == (0, f"{text}\n")


@pytest.mark.parametrize("status", ["partial", "shutdown", "cancelled"])
async def test_an_unverified_answer_is_said_to_be_so_on_standard_error(
    stage: Any, asked: Any, capsys: Any, status: str
) -> None:
    """An unverified answer is printed, exits 3, and is called unverified on standard error, however its run ended."""
    stage[0].events = [*UNVERIFIED[:-1], done(status)]
    assert await asked(stage[1]) == (3, "Paris\n")
    assert "did not get to check" in capsys.readouterr().err


async def test_no_answer_exits_with_one(stage: Any, asked: Any, capsys: Any) -> None:
    """A run without an answer prints nothing on standard output and exits 1."""
    stage[0].events = NOTHING
    assert await asked(stage[1]) == (1, "")
    assert "No answer: failed" in capsys.readouterr().err


async def test_json_lines_are_the_events(stage: Any, asked: Any) -> None:
    """With JSON output every event is one line, in order, whole."""
    code, out = await asked(stage[1], json_output=True, terminal=True)
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(line["event"], line["data"]) for line in lines] == CONFIRMED
    assert lines[-1]["id"] == f"r:{len(CONFIRMED) - 1}"


@pytest.mark.parametrize("width", [100, 60, 20])
async def test_a_terminal_sees_both_lanes_the_verdict_and_done(stage: Any, asked: Any, width: int) -> None:
    """A terminal of any width ends with both lanes, the final marked, and the line of done with its unknown cost."""
    code, out = await asked(stage[1], terminal=True, width=width)
    words = " ".join(out.split())
    assert code == 0
    for word in ("fast", "slow", "preliminary", "final answer", "It is Paris.", "Confirmed", "cost unknown", "run r"):
        assert word in words or width < 60
    assert "Confirmed" in words


@pytest.mark.parametrize(("source", "words"), [("cache", "From the cache"), ("attached", "Joined a run"), ("live", "")])
async def test_a_terminal_sees_where_the_answer_comes_from(stage: Any, asked: Any, source: str, words: str) -> None:
    """A replay says that it is from the cache, a shared run that it was joined, a run of its own neither."""
    stage[0].source = source
    _, out = await asked(stage[1], terminal=True)
    assert ("From the cache" in out, "Joined a run" in out) == (source == "cache", source == "attached")
    assert words in out


@pytest.mark.parametrize("cut", [1, 4, len(CONFIRMED) - 1])
async def test_a_cut_connection_is_resumed_without_gap_or_second_race(stage: Any, asked: Any, cut: int) -> None:
    """A connection cut midway is resumed with the last whole event's id; nothing is lost, doubled or asked twice."""
    play, url = stage
    play.cuts = [cut]
    code, out = await asked(url, json_output=True)
    assert code == 0
    assert [json.loads(line)["event"] for line in out.splitlines()] == [name for name, _ in CONFIRMED]
    assert play.calls == ["reason", f"r:{cut - 1}"]


async def test_events_that_were_seen_are_not_shown_again(stage: Any, asked: Any) -> None:
    """Events that come a second time after a resume are dropped."""
    play, url = stage
    play.cuts, play.forgetful = [4], True
    _, out = await asked(url, json_output=True)
    assert [json.loads(line)["event"] for line in out.splitlines()] == [name for name, _ in CONFIRMED]


async def test_a_connection_cut_before_the_first_event_comes_back_by_the_header(stage: Any, asked: Any) -> None:
    """A connection lost before the first event comes back to the run that the response's header named."""
    stage[0].cuts = [0]
    assert await asked(stage[1]) == (0, "It is Paris.\n")
    assert stage[0].calls == ["reason", "r:-1"]


async def test_a_run_that_cannot_be_found_again_exits_with_one(
    stage: Any, asked: Any, monkeypatch: Any, capsys: Any
) -> None:
    """A connection that does not come back within the bound exits 1 and names the run."""
    monkeypatch.setattr("app.terminal.stream.PAUSES_S", (0.0, 0.0))
    stage[0].cuts = [2, 2, 2]
    assert (await asked(stage[1]))[0] == 1
    assert "run r may have ended" in capsys.readouterr().err.replace("\n", " ")


async def test_a_run_that_is_refused_when_it_is_come_back_to_was_asked(stage: Any, asked: Any, capsys: Any) -> None:
    """A refusal after the run began exits 1 and names the run: it is none of the question."""
    stage[0].cuts, stage[0].gone = [2], web.json_response({"code": "unknown_run"}, status=404)
    assert (await asked(stage[1]))[0] == 1
    assert "run r refused after that (404 unknown_run)." in capsys.readouterr().err


async def test_a_refusal_shows_its_code_and_detail_and_exits_with_two(stage: Any, asked: Any, capsys: Any) -> None:
    """A refusal exits 2 and shows the problem's detail, status, code and when to come back."""
    problem = {"code": "too_many_runs", "detail": "64 runs are live."}
    stage[0].refusal = web.json_response(problem, status=503, headers={"Retry-After": "2"})
    assert await asked(stage[1]) == (2, "")
    message = capsys.readouterr().err
    assert "64 runs are live. (503 too_many_runs) Try again in 2 s." in message


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "no address at all", "http://[", ""])
async def test_an_unreachable_server_is_named_with_what_to_do(asked: Any, capsys: Any, url: str) -> None:
    """Where no server answers, the message names the address and how to start one, and the exit code is 2."""
    assert await asked(url) == (2, "")
    message = capsys.readouterr().err
    assert f"No server answers at {url}." in message
    assert "tandem serve" in message
    assert "make run" in message


@pytest.mark.parametrize("width", [120, 80, 40])
def test_a_terminal_loses_nothing_of_a_number(width: int) -> None:
    """Both times of a lane are on the screen to their last digit: one that was cut would be another."""
    console = Console(file=io.StringIO(), width=width, color_system=None, record=True)
    progress = Progress()
    progress.apply(Event("lane_end", "r:1", ended("slow")[1] | {"latency_ms": 12340.0, "ttft_ms": 4560.0}))
    console.print(picture(progress, console))
    said = console.export_text()
    assert "completed, 12.34 s" in said
    assert "first token 4.56 s" in said


@pytest.mark.parametrize("width", [120, 80, 20])
def test_a_terminal_loses_nothing_of_a_word_that_is_longer_than_its_line(width: int) -> None:
    """An address in an answer is on the screen to its last letter, however narrow that is."""
    console = Console(file=io.StringIO(), width=width, color_system=None, record=True)
    progress = Progress()
    progress.apply(Event("final", "r:1", {"lane": "slow", "text": "https://example.org/" + "z" * 150}))
    console.print(picture(progress, console))
    assert console.export_text().count("z") == 150


@pytest.mark.parametrize("terminal", [True, False])
async def test_an_interrupt_cancels_the_run(stage: Any, asked: Any, capsys: Any, terminal: bool) -> None:
    """An interrupt tells the server to cancel the run, says so, and exits 130."""
    play, url = stage
    play.hang_after = 2
    task = asyncio.create_task(asked(url, terminal=terminal))
    await play.started.wait()
    await turns()
    task.cancel()
    assert (await task)[0] == 130
    assert play.calls == ["reason", "cancel"]
    assert "Run r was cancelled" in capsys.readouterr().err


async def test_who_joined_a_run_leaves_it_to_the_others(stage: Any, asked: Any, capsys: Any) -> None:
    """An interrupt of a client that joined another's run cancels nothing, says so, and exits 130."""
    play, url = stage
    play.source, play.hang_after = "attached", 2
    task = asyncio.create_task(asked(url))
    await play.started.wait()
    await turns()
    task.cancel()
    assert (await task)[0] == 130
    assert play.calls == ["reason"]
    assert "Run r goes on" in capsys.readouterr().err


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_parser_reads_a_stream_cut_at_any_byte(end: str) -> None:
    """A stream cut at any byte, with LF or CRLF, gives the same events, and a cut event is never delivered."""
    stream = b"".join(frame(seq, event) for seq, event in enumerate(CONFIRMED)).replace(b"\n", end.encode())
    expected = [Event(name, f"r:{seq}", data) for seq, (name, data) in enumerate(CONFIRMED)]
    for cut in range(len(stream) + 1):
        parser = Parser()
        assert [*parser.feed(stream[:cut]), *parser.feed(stream[cut:])] == expected
    assert list(Parser().feed(stream[: -len(end)])) == expected[:-1]


def test_a_models_words_do_not_steer_the_terminal() -> None:
    """Escape sequences and other control characters of an answer are not passed to the terminal."""
    assert safe("a\x1b]0;title\x07b\x9b2J\rc\td\ne") == "a]0;titleb2Jc\td\ne"


def test_colons_are_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    """A question or a label is printed with its colons, whatever stands between them."""
    screen().print("a model:x: of ours :smile:", markup=False)
    assert "a model:x: of ours :smile:" in capsys.readouterr().out


def test_what_is_unknown_is_never_a_number() -> None:
    """An unknown cost or count is called unknown; 0 is $0."""
    assert [dollars(None), dollars(0.0), dollars(0.00042)] == ["unknown", "$0", "$0.00042"]
    assert tokens({"source": "unknown", "input_tokens": 0}) == "unknown"
    assert tokens({"source": "estimated", "input_tokens": 3, "output_tokens": None}) == "3 in, unknown out (estimated)"


async def test_a_refusal_for_now_is_waited_for(stage: Any) -> None:
    """While the server says to come later, a race asks again after the time that it names."""
    waited: list[float] = []
    ends: list[Asked] = []
    stage[0].refusal = web.json_response({"code": "rate_limited"}, status=429, headers={"Retry-After": "3"})

    async def sleep(seconds: float) -> None:
        """Note it; by then there is room."""
        waited.append(seconds)
        stage[0].refusal = None

    async with client(stage[1], TIMEOUT) as http:
        await Race(http, {}, ends.append, sleep).run([{"input": "x"}], 1)
    assert ([one.status for one in ends], waited) == (["completed"], [3.0])


async def test_a_race_without_a_server_ends_at_once(stage: Any) -> None:
    """A refusal is told as the end of its question; no server at all ends the race."""
    ends: list[Asked] = []
    stage[0].refusal = web.json_response({"code": "unknown_policy", "detail": "no"}, status=422)
    async with client(stage[1], TIMEOUT) as http:
        await Race(http, {}, ends.append).run([{"input": "x"}], 1)
    assert [(one.status, one.why) for one in ends] == [("refused", "unknown_policy: no")]
    async with client("http://127.0.0.1:1", TIMEOUT) as http:
        with pytest.raises(Unreachable):
            await Race(http, {}, ends.append).run([{"input": "x"}, {"input": "y"}], 2)
