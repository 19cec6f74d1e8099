"""What /prometheus and /metrics say, that it is true, and that nobody can make it grow without end."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from cells import rows
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from servers import Server, serving

from app.breaker import State
from app.postgres.pool import Pool
from app.postgres.rollups import roll_up
from app.telemetry.labels import CODES_MAX, OTHER, Codes, Models, method_label
from app.telemetry.metrics import Copies
from app.telemetry.process import limits
from app.telemetry.tallies import Family, Tallies
from app.telemetry.vitals import STATES, Sources, readings

TOKEN = "a-token-that-scrapers-know"
HOSTILE = 'evil"\n\\name{x="y"} 1'

Sample = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Sample:
    """Every series by its name and labels, as prometheus-client's own parser reads them."""
    found: Sample = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            place = (sample.name, frozenset(sample.labels.items()))
            assert place not in found, place
            found[place] = sample.value
    return found


def written(families: Iterable[Family]) -> str:
    """The families as a scrape has them."""
    return generate_latest(Copies([family.copied() for family in families])).decode()


async def scrape(server: Server, **headers: str) -> Sample:
    """What a server says now."""
    response = await server.client.get("/prometheus", headers=headers)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return read(response.text)


def of(samples: Sample, name: str, **labels: str) -> float:
    """The sum of the series of that name which have these labels."""
    wanted = labels.items()
    return sum(value for (named, has), value in samples.items() if named == name and wanted <= dict(has).items())


async def ask(server: Server, text: str = "Why?", **body: object) -> None:
    """A question, and its whole answer."""
    await server.client.post("/v1/reason", json={"input": text, "stream": False, **body})


async def test_runs_lanes_and_tokens_are_counted() -> None:
    """A race and its replay are two runs, but only the race has lanes, tokens and first tokens."""
    async with serving() as server:
        await ask(server)
        await ask(server)
        samples = await scrape(server)
    assert of(samples, "tandem_runs_total", status="completed", policy="race", source="live") == 1
    assert of(samples, "tandem_runs_total", source="cache") == 1
    assert of(samples, "tandem_lane_outcomes_total", outcome="completed", provider="scripted") == 2
    assert of(samples, "tandem_time_to_first_token_seconds_count") == 2
    assert of(samples, "tandem_tokens_total", lane="slow", kind="output") > 0
    assert of(samples, "tandem_questions_total", source="cache") == 1
    assert (of(samples, "cache_hits_total"), of(samples, "cache_misses_total"), of(samples, "cache_size")) == (1, 1, 1)


async def test_events_are_counted_as_they_were_sent() -> None:
    """The events counted by name are those of the stream."""
    async with serving() as server:
        stream = (await server.client.post("/v1/reason", json={"input": "Why?"})).text
        samples = await scrape(server)
    for event in ("start", "delta", "preliminary", "lane_end", "final", "done"):
        assert of(samples, "tandem_events_total", event=event) == stream.count(f"event: {event}\n"), event


async def test_failures_have_their_reasons() -> None:
    """Lanes that fail and time out are counted by reason, their run as an error."""
    async with serving(
        fast_model="scripted:error", slow_model="scripted:hang", slow_first_token_timeout_s=0.05
    ) as server:
        await ask(server)
        samples = await scrape(server)
    assert of(samples, "tandem_lane_outcomes_total", lane="fast", outcome="failed") == 1
    assert of(samples, "timeouts_total", lane="slow", reason="first_token_timeout") == 1
    assert of(samples, "errors_total", where="run") == 1
    assert of(samples, "tandem_runs_total", status="completed") == 0


async def test_a_fault_of_ours_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that a bug of ours ended is a failed run and an error, and its lanes are counted."""

    def broken(*_: object) -> None:
        """Fail where a race compares its answers."""
        raise RuntimeError("a bug")

    monkeypatch.setattr("app.reasoning.race.compare", broken)
    async with serving() as server:
        await ask(server)
        samples = await scrape(server)
    assert of(samples, "tandem_runs_total", status="failed", source="live") == 1
    assert of(samples, "errors_total", where="run", code="internal") == 1
    assert of(samples, "tandem_lane_outcomes_total", outcome="completed") == 2


async def test_requests_are_counted_by_template() -> None:
    """A request counts under its route's template, method and class of status; one under way is in progress."""
    async with serving(slow_model="scripted:hang", disconnect_grace_s=0) as server:
        before = await scrape(server)
        async with server.client.stream("POST", "/v1/reason", json={"input": "Why?"}) as response:
            chunks = response.aiter_bytes()  # held: a generator that is forgotten closes its stream
            await anext(chunks)
            during = await scrape(server)
        assert (await server.client.get("/v1/runs/no-such-run")).status_code == 404
        after = await scrape(server)
    assert of(before, "http_requests_in_progress", route="/v1/reason") == 0
    assert of(during, "http_requests_in_progress", route="/v1/reason", method="POST") == 1
    assert (of(during, "tandem_live_runs"), of(during, "tandem_open_streams")) == (1, 1)
    assert of(after, "http_requests_total", route="/v1/runs/{run_id}", method="GET", status="4xx") == 1
    assert of(after, "http_request_duration_seconds_count", route="/v1/runs/{run_id}", method="GET") == 1
    assert of(after, "tandem_refusals_total", code="run_not_found") == 1


async def test_a_client_that_leaves_is_counted_and_in_progress_no_more() -> None:
    """A stream that its client leaves is over for the meters too."""
    async with serving(slow_model="scripted:hang", disconnect_grace_s=0) as server:
        async with server.client.stream("POST", "/v1/reason", json={"input": "Why?"}) as response:
            chunks = response.aiter_bytes()  # held: a generator that is forgotten closes its stream
            await anext(chunks)
        async with asyncio.timeout(2):
            samples = await scrape(server)
            while of(samples, "tandem_runs_total", status="cancelled") < 1:
                samples = await scrape(server)
    assert of(samples, "http_requests_in_progress", route="/v1/reason") == 0
    assert of(samples, "http_requests_total", route="/v1/reason") == 1


async def test_no_client_makes_series() -> None:
    """A model, route, method, id, label or policy of the client's own choice is in no series."""
    async with serving() as server:
        for n in range(1, 5):
            await server.client.get(f"/strange/{n}", headers={"X-Request-ID": f"strange-{n}"})
            await server.client.get(f"/v1/runs/strange-{n}")
            await server.client.request(["MKCOL", "LOCK", "REPORT", "PROPFIND"][n % 4], f"/strange{n}")
            await server.client.request(["PUT", "PATCH", "DELETE", "HEAD"][n % 4], "/v1/reason")
            await ask(server, f"{n}?", fast={"model": f"scripted:fast?gap=0.0077{n}"}, tags=[f"strange-{n}"])
            await ask(server, "Why?", slow={"model": f"strange{HOSTILE}{n}:x"}, experiment=f"strange-{n}")
            await ask(server, f"How {n}?", policy=f"strange-{n}")
        samples = await scrape(server)
        routes = set((await server.client.get("/openapi.json")).json()["paths"])
    labels = [labels for _, labels in samples]
    assert not [each for each in labels if any(word in repr(each) for word in ("strange", "evil", "0077"))]
    assert {value for each in labels for name, value in each if name == "route"} <= routes | {"none"}
    assert of(samples, "tandem_lane_outcomes_total", model=OTHER, provider="scripted") == 4
    assert of(samples, "http_requests_total", method=OTHER, route="none") == 4
    assert {dict(each)["method"] for each in labels if ("route", "/v1/reason") in each} == {"POST"}


def test_what_is_not_known_is_other() -> None:
    """A method, a code or a model that nobody configured gets the one label for all such, however many come."""
    codes, models = Codes(), Models(["openai:a", "deliberate:5@local:b"], {"openai", "local"})
    assert {codes.label(f"code_{n}") for n in range(1000)} == {*(f"code_{n}" for n in range(CODES_MAX)), OTHER}
    assert (codes.label("No Code\n"), codes.label(None), method_label("BREW")) == (OTHER, "", OTHER)
    assert models.labels("deliberate:5@local:b") == ("local", "deliberate:5@local:b")
    assert {models.labels(f"openai:{n}") for n in range(9)} == {("openai", OTHER)}
    assert models.labels(HOSTILE) == (OTHER, OTHER)
    names = ("redis.limits", "openai:a", "fast/openai:a", "local:b", "openai:z", "slow/openai:z")
    assert [models.breaker_label(name) for name in names] == [*names[:4], OTHER, OTHER]


def test_what_is_read_keeps_its_sense() -> None:
    """Breakers are numbers, the worst of those that share a label; limits come by both names; the loop's lag by two."""
    sources = Sources("1", 10, lambda name: name[:1])
    sources.board, sources.doorman, sources.lag = Breakers(), Exceeded(), Late()
    samples = read(written(readings(sources)))
    assert of(samples, "tandem_breaker_state", breaker="a") == STATES["open"] == 2
    assert of(samples, "tandem_breaker_state", breaker="b") == STATES["closed"] == 0
    for name in ("tandem_limit_exceeded_total", "rate_limit_exceeded_total"):
        assert of(samples, name, scope="caller", limit="usd_per_hour") == 3
    assert of(samples, "tandem_loop_lag_seconds", stat="p99") == 0.25


class Breakers:
    """A board of three."""

    def states(self) -> dict[str, State]:
        """One of them is open."""
        return {"a1": "open", "a2": "half_open", "b": "closed"}


class Exceeded:
    """A doorman who refused three times."""

    exceeded: Counter[tuple[str, str]] = Counter({("caller", "usd_per_hour"): 3})  # noqa: RUF012  # never changed


class Late:
    """A loop that is late."""

    now_s, p99_s = 0.125, 0.25


def test_hostile_labels_are_escaped() -> None:
    """A label with quotes, line ends and backslashes in it reads back as it was."""
    tallies = Tallies()
    tallies.count("a_total", "A.", "model")[(HOSTILE,)].add(3)
    tallies.times("b_seconds", "B.", ("model",), (0.1, 1.0))[(HOSTILE,)].observe(500)
    samples = read(written(tallies.families))
    assert samples["a_total", frozenset({("model", HOSTILE)})] == 3
    assert of(samples, "b_seconds_bucket", le="0.1") == 0
    assert of(samples, "b_seconds_bucket", le="1.0") == of(samples, "b_seconds_count", model=HOSTILE) == 1
    assert of(samples, "b_seconds_sum") == 0.5


async def test_metrics_for_people() -> None:
    """/metrics has the cache, the numbers of now and three spans with percentiles, in plain JSON."""
    async with serving() as server:
        await ask(server)
        await ask(server)
        told = (await server.client.get("/metrics")).json()
    assert told["cache"]["hits"] == told["cache"]["levels"]["memory"]["hits"] == 1
    assert told["now"]["tandem_ready"] == 1
    assert list(told["windows"]) == ["5m", "1h", "24h"]
    for span in told["windows"].values():
        assert (span["runs"]["n"], span["runs"]["cache_hit_rate"], span["requests"]["error_rate"]) == (2, 0.5, 0.0)
        lane = next(lane for name, lane in span["lanes"].items() if name.startswith("slow "))
        assert lane["first_token_ms"]["p50"] <= lane["first_token_ms"]["p99"] < lane["total_ms"]["p99"]
        assert lane["cost_usd"] is span["cost_usd"] is None


async def test_a_server_without_a_cache_says_so() -> None:
    """CACHE=false: no level, no look, no fault."""
    async with serving(cache=False) as server:
        assert (await server.client.get("/metrics")).json()["cache"] is None
        assert of(await scrape(server), "cache_size") == 0


@pytest.mark.parametrize("path", ["/prometheus", "/metrics"])
async def test_token_opens_the_numbers_and_nothing_else(dsn: str, path: str) -> None:
    """Under AUTH=keys METRICS_TOKEN reads what is scraped; without it 401, and it is good for nothing else."""
    async with serving(dsn, auth="keys", key_pepper="p" * 32, metrics_token=TOKEN) as server:
        shown = {"Authorization": f"Bearer {TOKEN}"}
        assert (await server.client.get(path, headers=shown)).status_code == 200
        assert (await server.client.get(path)).status_code == 401
        assert (await server.client.get(path, headers={"Authorization": f"Bearer {TOKEN}x"})).status_code == 401
        for other in ("/api/metrics/summary", "/health/detailed", "/api/experiments"):
            assert (await server.client.get(other, headers=shown)).status_code == 401


@pytest.mark.parametrize("token", [f"{TOKEN}\n", f"{TOKEN}-für-alle", f"{TOKEN}-voilà"])
async def test_a_token_is_good_however_it_was_written(token: str) -> None:
    """A token from a file with a line end, or with letters beyond ASCII, opens the numbers as the scraper sends it."""
    shown = {b"Authorization": f"Bearer {token.strip()}".encode()}
    async with serving(host="0.0.0.0", allow_anonymous=True, metrics_token=token) as server:
        assert (await server.client.get("/prometheus", headers=shown)).status_code == 200
        assert (await server.client.get("/prometheus")).status_code == 401


@rows(
    ("host", "token", "status"),
    [("127.0.0.1", TOKEN, 200), ("0.0.0.0", TOKEN, 401), ("0.0.0.0", None, 200), ("127.0.0.1", None, 200)],
)
async def test_without_keys_the_numbers_are_as_open_as_the_server(host: str, token: str | None, status: int) -> None:
    """Under AUTH=off they are open on loopback; on a public bind as open as the rest, unless there is a token."""
    async with serving(host=host, allow_anonymous=True, metrics_token=token) as server:
        assert (await server.client.get("/prometheus")).status_code == status
        shown = {"Authorization": f"bearer {TOKEN}"}
        assert (await server.client.get("/metrics", headers=shown)).status_code == 200
        assert (await server.client.get("/health/")).status_code == 200


async def test_summary_is_of_all_callers(dsn: str) -> None:
    """The summary counts the runs of every caller in the record, by model; hours beyond its bounds are refused."""
    async with serving(dsn) as server:
        await ask(server)
        await ask(server)
        assert await server.parts.readiness.journal.drain(5)  # type: ignore[attr-defined]  # the real one has it
        async with Pool(dsn, 1) as pool, pool.connection() as connection:
            await connection.execute("UPDATE runs SET caller = 'somebody else' WHERE source = 'live'")
            await connection.execute(
                "INSERT INTO rollup_dirty SELECT caller, date_bin('1 hour', created_at, 'epoch') FROM runs"
            )
        async with Pool(dsn, 1) as pool:
            while not await roll_up(pool, 8000.0):
                pass  # the server's own chore is at it
        found = (await server.client.get("/api/metrics/summary?hours=24")).json()
        assert (await server.client.get("/api/metrics/summary?hours=0")).status_code == 422
    assert (found["total"]["n"], found["total"]["source"]) == (1, {"live": 1, "cache": 1})
    assert found["groups"][0]["key"]["fast_model"].startswith("scripted:")
    assert found["total"]["lanes"]["slow"]["outcome"] == {"completed": 1}


def _groups(folder: Path) -> Iterator[tuple[str, str]]:
    yield "cpu.max", "50000 100000\n"
    yield "memory.max", "max\n"
    (folder / "inner").mkdir()
    yield "inner/memory.max", "1048576\n"
    yield "inner/cpu.max", "max 100000\n"


def test_limits_of_a_container_are_found(tmp_path: Path) -> None:
    """The smallest bound of a control group and those around it counts; without any it is the machine's."""
    own = tmp_path / "own"
    own.write_text("0::/inner\n")
    for name, text in _groups(tmp_path):
        (tmp_path / name).write_text(text)
    assert limits(own, tmp_path) == (1048576, 0.5)
    machine = limits(tmp_path / "nothing", tmp_path / "nothing")
    assert machine.memory_bytes > 1 << 28
    assert machine.cores == 1.0


async def test_a_scrape_takes_a_few_milliseconds(dsn: str) -> None:
    """The text of a server that answers questions is written in far less than 20 ms of the processor's time."""
    async with serving(dsn) as server:
        await ask(server)
        await ask(server)
        numbers, taken = server.parts.numbers, []
        assert numbers is not None
        for _ in range(5):
            began = time.process_time()
            await numbers.scraped()
            taken.append(time.process_time() - began)
    assert min(taken) < 0.02


@pytest.mark.long
async def test_a_scrape_stays_short(dsn: str) -> None:
    """A server of which everything was asked, by every method, has at most a thousand lines to write."""
    async with serving(dsn) as server:
        await ask(server)
        for path, taken in (await server.client.get("/openapi.json")).json()["paths"].items():
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "LOCK"):
                await server.client.request(method, path, json={})
            for method in taken:
                await server.client.request(method, path, params={"limit": "-1"})
        lines = (await server.client.get("/prometheus")).text.count("\n")
    assert 500 < lines < 1000
