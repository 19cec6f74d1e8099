"""`tandem runs`, `stats`, `top` and `race` as people type them, against a real server."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from cells import rows
from processes import environment
from servers import Server, eventually, serving, turns
from typer.testing import CliRunner, Result

from app.cli import app
from app.commands import runs as commands
from app.commands.race import raced
from app.errors import MalformedRequest
from app.terminal import race, runs
from app.terminal.server import server as running_server
from app.terminal.words import since

Tandem = Callable[..., Awaitable[Result]]
QUICK = "scripted:fast?first=0.005&gap=0&tokens=5"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
async def server(dsn: str) -> AsyncIterator[Server]:
    """A server with quick models and a record."""
    async with serving(dsn, fast_model=QUICK, slow_model=QUICK) as running:
        yield running


@pytest.fixture
def tandem(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tandem:
    """The program beside the server, in a thread of its own."""
    for name, value in environment(tmp_path, {"TANDEM_URL": server.url}).items():
        monkeypatch.setenv(name, value)

    async def run(*arguments: str, typed: str | None = None) -> Result:
        """The command, as if typed."""
        return await asyncio.to_thread(CliRunner().invoke, app, [*arguments], typed)

    return run


async def ask(server: Server, question: str, **more: Any) -> str:
    """One question, recorded; its run."""
    body = {"input": question, "stream": False, "cache": "off", **more}
    run_id = (await server.client.post("/v1/reason", json=body)).json()["start"]["run_id"]
    await eventually(lambda: not server.parts.readiness.ledger()["spooled"], 5)
    await eventually(lambda: not server.parts.readiness.ledger()["in_flight"], 5)
    return str(run_id)


async def test_runs_are_listed_with_their_ids_whole(server: Server, tandem: Tandem) -> None:
    """The list has a row a run, newest first, with the whole id, the outcome, and the question where it is wanted."""
    first, second = await ask(server, "one \x1b[2J\ntwo"), await ask(server, "three")
    said = await tandem("runs", "--questions")
    rows = said.stdout.splitlines()[1:]
    assert (said.exit_code, [row.split()[2] for row in rows]) == (0, [second, first])
    assert rows[1].rstrip().endswith("one [2J two")
    assert "one" not in (await tandem("runs")).stdout.split()


async def test_runs_are_filtered_by_the_server(server: Server, tandem: Tandem) -> None:
    """A filter is the server's: it narrows the list, and one that it does not know is refused with its words."""
    run_id = await ask(server, "here", prompt_class="geo", tags=["a"])
    await ask(server, "there")
    found = await tandem("runs", "--class", "geo", "--tag", "a", "--since", "1h", "--status", "completed", "--json")
    assert [json.loads(line)["run_id"] for line in found.stdout.splitlines()] == [run_id]
    refused = await tandem("runs", "--status", "perhaps")
    assert (refused.exit_code, "status" in refused.stderr) == (2, True)
    assert "No runs match" in (await tandem("runs", "--model", "scripted:none")).stdout


@rows("option", ["source", "agreement"])
async def test_a_filter_takes_what_its_help_names(tandem: Tandem, option: str) -> None:
    """Each value that the help names is one of the server's."""
    words = get_type_hints(commands.runs, include_extras=True)[option].__metadata__[0].help
    for value in re.split(", | or ", words.rstrip(".")):
        assert (await tandem("runs", f"--{option}", value)).exit_code == 0


async def test_a_long_list_is_read_page_by_page(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """More records than a page may have are read from the pages after it, none twice."""
    monkeypatch.setattr(runs, "PAGE", 2)
    asked = [await ask(server, str(number)) for number in range(5)]
    async with running_server(server.url) as running:
        found = await runs.listed(running, {}, 5, questions=False)
    assert [record["run_id"] for record in found] == asked[::-1]


async def test_one_run_is_shown_whole(server: Server, tandem: Tandem) -> None:
    """A run by its id is shown with both answers; what is no id, or of nobody, is refused with 2."""
    run_id = await ask(server, "What is here?")
    shown = await tandem("runs", run_id)
    assert shown.exit_code == 0
    for words in (run_id, "What is here?", "fast answer", "slow answer", "durable", "cost    unknown"):
        assert words in shown.stdout
    assert (await tandem("runs", "../keys")).exit_code == 2
    assert (await tandem("runs", run_id.replace("a", "b"))).exit_code == 2


async def test_a_run_that_ends_while_one_follows_is_shown_once(server: Server) -> None:
    """Following shows what ends from now on, in order, each once, and nothing that ended before."""
    await ask(server, "before")
    shown: list[str] = []
    asked: list[str] = []

    async def turn(seconds: float) -> None:
        """Two runs end before the next two looks, then it is enough."""
        if len(asked) >= 4:
            raise asyncio.CancelledError
        asked.extend([await ask(server, "a"), await ask(server, "b")])

    async with running_server(server.url) as running:
        with pytest.raises(asyncio.CancelledError):
            await runs.follow(
                running,
                {},
                lambda record: shown.append(record["run_id"]),
                lambda error: pytest.fail(error.message),
                turn,
            )
    assert shown == asked


async def test_stats_tell_lanes_and_agreement(server: Server, tandem: Tandem) -> None:
    """The statistics show both lanes and the agreement with its interval; the JSON is what the server says."""
    await ask(server, "x", experiment="e")
    said = (await tandem("stats", "--experiment", "e", "--by", "variant")).stdout
    for words in ("1 runs: 1 completed", "fast", "slow", "usable head start", "(none)"):
        assert words in said
    told = json.loads((await tandem("stats", "--json")).stdout)
    path = "/api/experiments/agreement"
    assert told["agreement"]["total"] == (await server.client.get(path)).json()["total"]
    assert "No runs match" in (await tandem("stats", "--experiment", "none")).stdout


async def test_top_shows_what_the_server_does(server: Server, tandem: Tandem) -> None:
    """One look shows the state, the lanes of the window, the balanced record and the breakers."""
    await ask(server, "x")
    said = await tandem("top", "--once")
    for words in ("ok", "live runs 0 of", "scripted:fast", "balanced", "all closed", "runs 1 completed"):
        assert words in said.stdout, words
    assert json.loads((await tandem("top", "--json")).stdout)["health"]["status"] == "ok"


async def test_a_race_asks_every_question_and_prints_the_agreement(tandem: Tandem, tmp_path: Path) -> None:
    """Every line is asked with its class; the agreement of the record follows, and each end stands in the file."""
    questions = tmp_path / "questions.txt"
    questions.write_text('one\n\n{"input": "two", "prompt_class": "geo"}\nthree\n')
    said = await tandem("race", str(questions), "--out", str(tmp_path / "ends.jsonl"), "--experiment", "e")
    assert said.exit_code == 0, said.output
    assert "3 asked: 3 completed" in said.stdout
    assert [line.split()[0] for line in said.stdout.splitlines()[-5:-2]] == ["geo", "(no", "all"]
    ends = [json.loads(line) for line in (tmp_path / "ends.jsonl").read_text().splitlines()]
    assert {end["input"]: end["status"] for end in ends} == dict.fromkeys(("one", "two", "three"), "completed")
    assert (await tandem("race", str(questions), "--out", str(tmp_path / "ends.jsonl"))).exit_code == 2


async def test_a_race_reads_standard_input_and_only_so_many(tandem: Tandem) -> None:
    """A dash reads standard input, and --n asks the first so many."""
    said = await tandem("race", "-", "--n", "2", typed="a\nb\nc\n")
    assert "2 asked: 2 completed" in said.stdout


async def test_a_race_exits_with_one_unless_all_have_an_answer(tandem: Tandem) -> None:
    """A question without an answer is told with its reason, and makes the exit status 1."""
    error = "scripted:error?first=0.005&gap=0"
    said = await tandem("race", "-", "--fast", error, "--slow", error, typed="[bold]why[/bold]\n")
    assert (said.exit_code, "failed: '[bold]why[/bold]'" in said.stdout) == (1, True)


@rows(
    ("text", "words"),
    [("", "holds no question"), ('{"input": 1', "is no JSON"), ('{"a": 1}', "is none of"), ('{"tags": []}', "either")],
)
def test_a_line_that_is_no_question_is_named(text: str, words: str) -> None:
    """A file without a question, or a line that is none, is refused before anything is asked, and named."""
    with pytest.raises(MalformedRequest, match=words):
        race.questions_of([text], "file", 9)


def test_spans_count_back_from_now() -> None:
    """90m, 24h and 7d count back from now; what is no moment, or names its zone, is left to the server."""
    assert since("90m", NOW) == "2026-01-01T22:30:00+00:00"
    assert since("1d", NOW) == "2026-01-01T00:00:00+00:00"
    assert since("yesterday", NOW) == "yesterday"
    assert since("2026-01-01T00:00Z", NOW) == "2026-01-01T00:00Z"
    assert since(None, NOW) is None
    with pytest.raises(MalformedRequest):
        since("999999999d", NOW)


def test_a_moment_as_the_list_prints_it_is_taken_as_it_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment without a zone is one of this machine's, as those in the list are; the ends of time are no traceback."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert since("2026-01-01 09:30:00", NOW) == "2026-01-01T09:30:00-05:00"
        assert since("2026-07-01", NOW) == "2026-07-01T00:00:00-04:00"
        assert str(since("0001-01-01", NOW)).startswith("0001-01-01T00:00:00")
        assert str(since("9999-12-31T23:59", NOW)).startswith("9999-12-31T23:59:00")
    finally:
        monkeypatch.undo()
        time.tzset()


async def test_an_interrupted_race_stops_its_runs(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C cancels what is under way on the server, tells what was asked, and exits with 130."""
    shared = {"experiment": "e", "slow": {"model": "scripted:hang"}}
    racing = asyncio.ensure_future(raced(server.url, [{"input": "hang"}], shared, 1, None))
    await eventually(lambda: any(map(len, server.parts.runs._live.values())), 5)
    await turns()
    racing.cancel()
    assert await racing == 130
    assert "0 asked" in capsys.readouterr().out
    await eventually(lambda: server.parts.runs.live == 0, 2)


async def test_a_question_is_read_from_standard_input(tandem: Tandem) -> None:
    """Without a question, or with a dash, standard input is the question; an empty one is refused with 2."""
    assert "“hi there”" in (await tandem("ask", typed="hi\nthere\n")).stdout.replace("\n", " ")
    assert "“again”" in (await tandem("ask", "-", typed="again\n")).stdout
    assert (await tandem("ask", typed="\n")).exit_code == 2


@pytest.mark.parametrize("command", [("ask", "Only this?"), ("runs",), ("top", "--once")])
async def test_a_pipe_is_a_pipe_whatever_the_environment_says(
    tandem: Tandem, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """Where FORCE_COLOR is set, as many a build system does, what is piped is the same as without."""
    await tandem("ask", "Only this?")
    monkeypatch.setenv("FORCE_COLOR", "1")
    said = (await tandem(*command)).stdout
    assert "Only this?" in said or command[0] != "ask"
    assert "\x1b" not in said


async def test_models_and_limits_are_chosen_per_question(tandem: Tandem) -> None:
    """The options choose a lane's model and its limit; the exit status says that the slow lane did not check."""
    said = await tandem("ask", "x", "--fast", QUICK, "--slow", "scripted:hang", "--slow-timeout-s", "0.05", "--json")
    events = [json.loads(line) for line in said.stdout.splitlines()]
    assert (said.exit_code, events[0]["data"]["lanes"]["slow"]["model"]) == (3, "scripted:hang")
    assert events[-1]["data"]["reason"] == "lane_timeout"
    assert (await tandem("ask", "x", "--policy", "none")).exit_code == 2
