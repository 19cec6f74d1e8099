"""The benchmark runs, counts right, and says what it must. Nothing here looks at a time: machines differ."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bench.answers import Timed, body_of
from bench.attacks import ATTACKS
from bench.dashboard import filled, queries
from bench.hostile import Felt, counted
from bench.load import Job, Load
from bench.plan import read_answer
from bench.processes import environment
from bench.servers import Target
from bench.upstream import Counters, Stream, Wheel

ROOT = Path(__file__).parent.parent
MODEL = "5t-3ms-5ttft"
STREAMS = 3
COSTS = {
    "server_us_per_event", "database_us_per_event", "cpu_us_per_event", "server_ms_per_request", "cpu_ms_per_request",
    "added_first_token_us_p50", "added_first_token_us_p99", "added_token_us_p50", "added_token_us_p99",
    "open_kib_per_stream", "peak_kib_per_stream",
}  # fmt: skip


def run_bench(out: Path) -> dict[str, Any]:
    """The result of the whole command, run small."""
    options = ["--workloads", MODEL, "--streams", str(STREAMS), "--repeats", "1", "--seconds", "0.1", "--no-pin"]
    command = [sys.executable, "-m", "bench", *options, "--out", str(out)]
    elsewhere = {"SLOW_OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "SLOW_OPENAI_API_KEY": "exported"}
    env = {**os.environ, **elsewhere}  # must change nothing
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(out.read_text())
    return result


@pytest.mark.long
def test_the_benchmark_counts_every_event_of_every_target(tmp_path: Path) -> None:
    """A run of the benchmark writes where it ran and, for each target, its costs and the events that were due."""
    result = run_bench(tmp_path / "result.json")
    assert {"processor", "cores", "python", "packages", "commit", "system"} <= result["where"].keys()
    assert [cell["target"] for cell in result["cells"]] == ["direct", "baseline", "tandem"]
    for cell in result["cells"]:
        (block,) = cell["repeats"]
        assert block["asked"] >= STREAMS
        assert block["whole"] == block["asked"]
        assert block["events"] == block["expected_events"] > block["tokens"] > 0
        if cell["target"] != "direct":
            assert COSTS - {name for name, value in cell["median"].items() if value is not None} == set()


def test_no_setting_of_the_shell_reaches_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is measured sees only what the benchmark sets, so that no load goes to a real provider."""
    for name in ("SLOW_OPENAI_BASE_URL", "OPENAI_API_KEY", "FAST_OPENAI_API_KEY", "DATABASE_URL", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://provider.example")
    seen = environment({"PORT": "1"})
    assert seen.keys() <= {"PATH", "HOME", "LANG", "TMPDIR", "PORT"}
    assert seen["PORT"] == "1"


@pytest_asyncio.fixture
async def upstream_port() -> Any:
    """The fake upstream on this test's own loop."""
    loop = asyncio.get_running_loop()
    wheel, counters = Wheel(loop), Counters()
    server = await loop.create_server(lambda: Stream(wheel, counters), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def load(port: int, model: str, expected_tokens: int) -> dict[str, Any]:
    """One request that expects so many tokens."""
    target, answer = Target("direct", port, None), read_answer(model)
    body = target.body(answer)
    job = Job(port, target.path, body, "openai", expected_tokens, streams=1, seconds=0, ramp_s=0, limit_s=5)
    return await Load(job).run()


async def test_an_answer_with_too_few_tokens_is_not_whole(upstream_port: int) -> None:
    """A stream that lacks a token is counted as wrong, never as whole."""
    seen = await load(upstream_port, "4t-1ms", expected_tokens=5)
    assert (seen["whole"], seen["count_errors"], seen["tokens"]) == (0, 1, 4)


@pytest.mark.parametrize("model", ["7t-0ms", "7t-2ms-3ttft"])
async def test_upstream_answers_as_its_models_name_says(upstream_port: int, model: str) -> None:
    """Upstream sends as many tokens as the name of the model says, with or without gaps."""
    seen = await load(upstream_port, model, expected_tokens=7)
    assert (seen["whole"], seen["tokens"], seen["events"]) == (1, 7, 11)


def test_a_model_without_tokens_is_no_workload() -> None:
    """A name that says no number of tokens is refused."""
    with pytest.raises(ValueError, match="no workload"):
        read_answer("W7")


def test_a_response_is_whole_only_at_its_end() -> None:
    """A chunked body and one of a given length are read when their last byte is there, and not before."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    given = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"
    for response in (chunked, given):
        assert body_of(response) == b"abcde"
        assert {body_of(response[:cut]) for cut in range(len(response))} == {b""}


def test_a_hit_from_another_level_is_no_hit() -> None:
    """A level is good when all hits were its own and the median is below the goal, less what every request takes."""
    assert Timed("memory", [3.0, 3.1, 9.0], [2.5, 2.6, 2.7], misses=0).good
    assert not Timed("memory", [3.0, 3.1, 9.0], [2.5, 2.6, 2.7], misses=1).good
    assert not Timed("memory", [3.0, 3.7, 9.0], [2.5, 2.6, 2.7], misses=0).good


def test_an_attack_that_leaves_something_is_told() -> None:
    """Each bound of an attack is held by itself: what an honest client felt, and what was left behind."""
    good: dict[str, Any] = {
        "name": "x", "lasted_s": 2.0, "calm_ms": 50.0, "first_ms": 120.0, "answered": 9, "failed": 0,
        "grown_mib": 10.0, "files_left": 0, "busy_left": 0, "lines": 3, "counted": 5.0,
    }  # fmt: skip
    assert Felt(**good).broken() == []
    worse = {"first_ms": 900.0, "failed": 1, "grown_mib": 500.0, "files_left": 30, "busy_left": 1, "lines": 90}
    for name, value in {**worse, "counted": 0.0}.items():
        assert len(Felt(**{**good, name: value}).broken()) == 1


def test_what_is_counted_is_the_sum_of_its_samples() -> None:
    """A scrape is read by a part of a line; comments and buckets do not count, nor does any other reason."""
    scraped = b"""# TYPE t_total counter
t_total{reason="a"} 2.0
t_total{reason="a",more="b"} 3.0
t_total{reason="b"} 7.0
"""
    assert counted(scraped, 'reason="a"') == 5.0
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 18


def test_a_query_of_the_dashboard_has_no_variable_left() -> None:
    """Every query of every panel is filled in, and a variable that nobody knows is no query."""
    board = json.loads((ROOT / "deploy" / "monitoring" / "dashboard.json").read_text())
    assert len(queries(board)) > 50
    assert filled('rate(x{instance=~"$instance"}[$__rate_interval])') == 'rate(x{instance=~".*"}[20s])'
    with pytest.raises(ValueError, match="not known"):
        filled("x{a=$other}")
