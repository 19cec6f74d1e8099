"""The request log of the past: a caller's requests, each once, in order, by every filter; nothing of a stranger's."""

import random
import re
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import asyncpg
import entries
import httpx
import pytest
import pytest_asyncio
from cells import rows
from fastapi import FastAPI
from filing import filed
from servers import serving
from starlette.datastructures import Headers
from starlette.types import Scope

from app.errors import MalformedRequest
from app.experiments.list import Position
from app.experiments.logs import Requests, Wanted, list_requests
from app.http import door, edge, logs, problems
from app.http.given import give
from app.postgres.logs import RequestLog, page_of
from app.postgres.pool import Pool
from app.postgres.runs import RunStore
from app.question import Caller, Labels
from app.record.entry import Entry, Interruption, Opening, RunEntry
from app.record.redaction import Redactor

ME, GUEST = Caller("me"), Caller("guest")
SLOW_MS = 500.0
STATUSES = ("ok", "slow", "cache_hit", "check_failed", "error")
FIELDS = {
    "id", "created_at", "run_id", "source", "fingerprint", "status", "duration_ms", "experiment", "variant",
    "prompt_class", "tags",
}  # fmt: skip
POSITION = (50, entries.EPOCH, entries.opening().run_id)


def run(at_s: float, labels: Labels = Labels(), **changes: Any) -> Opening:  # noqa: B008  # frozen
    """A run that was opened then, with these labels."""
    return entries.opening(at_s, question=entries.question(labels=labels), **changes)


class Log:
    """The route over the real store on a fresh database."""

    def __init__(self, client: httpx.AsyncClient, store: RunStore) -> None:
        self.client = client
        self.store = store

    async def keep(self, *some: Entry) -> None:
        """Store these."""
        await self.store.write(filed(*some))

    async def get(self, caller: Caller = ME, /, **params: Any) -> list[dict[str, Any]]:
        """The requests of one page."""
        answer = await self.client.get("/api/logs", params=params, headers={"Caller": caller.id})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["logs"]
        return found

    async def ids(self, caller: Caller = ME, /, **params: Any) -> list[str]:
        """Their ids."""
        return [entry["id"] for entry in await self.get(caller, **params)]

    async def all_pages(self, limit: int) -> list[str]:
        """The ids of every page."""
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            params: dict[str, Any] = {"limit": limit, **cursor}
            page = (await self.client.get("/api/logs", params=params, headers={"Caller": "me"})).json()
            found += [entry["id"] for entry in page["logs"]]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}


def asking(requests: Requests) -> httpx.AsyncClient:
    """A client of the route over these requests; a header that only this test knows says who asks."""
    app = FastAPI()
    problems.install(app)
    give(app, SimpleNamespace(requests=requests, mask=Redactor("redacted", 1000).remark))
    app.include_router(logs.routes)

    async def identify(headers: Headers, _: Scope) -> Caller:
        """By that header."""
        return Caller(headers.get("caller", "me"))

    asgi: Any = edge.Edge(app, door=door.Door(identify, guard_loopback=False))
    return httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://log")


class NoRequests:
    """Nothing was ever asked."""

    async def page(self, caller: Caller, wanted: Wanted, limit: int, before: Position | None) -> list[dict[str, Any]]:  # noqa: ARG002  # the protocol of requests
        """As the protocol says."""
        return []


@pytest_asyncio.fixture
async def log(pool: Pool, run_store: RunStore) -> AsyncIterator[Log]:
    """A request log without any request yet."""
    async with asking(RequestLog(pool, SLOW_MS)) as client:
        yield Log(client, run_store)


def every_kind() -> dict[str | None, list[RunEntry]]:
    """Runs by the status that a request for each has, a minute apart."""
    at = iter(range(0, 6000, 60))
    asked: dict[str | None, list[dict[str, Any]]] = {
        "ok": [
            {},
            {"status": "cancelled"},
            {"status": "partial", "reason": "accepted"},
            {"latency_ms": SLOW_MS},
            {"latency_ms": None},
        ],
        "slow": [{"latency_ms": SLOW_MS + 1}, {"status": "cancelled", "latency_ms": 900.0}],
        "check_failed": [{"status": "partial", "reason": "lane_failed"}, {"status": "partial", "latency_ms": 900.0}],
        "error": [{"status": status, "latency_ms": 900.0} for status in ("timeout", "failed", "shutdown")],
        "cache_hit": [{"source": "cache"}, {"source": "cache", "latency_ms": 900.0}],
    }
    found: dict[str | None, list[RunEntry]] = {}
    for status, some in asked.items():
        found[status] = [
            entries.closing(run(next(at), source=changes.pop("source", "live")), **changes) for changes in some
        ]
    found["error"].append(Interruption(run(next(at)), entries.EPOCH))
    found["error"].append(entries.closing(run(next(at), source="cache"), status="failed"))
    found[None] = [run(next(at))]
    return found


async def test_labels_are_looked_for_as_they_are_kept(log: Log) -> None:
    """A label that is masked in the record is found by the word it was asked with."""
    word = "for jane.doe@example.org"
    one = run(0, Labels(word, word, word, (word,)))
    await log.keep(Redactor("redacted", 1000)(one))
    for name in ("experiment", "variant", "prompt_class", "tag"):
        assert await log.ids(**{name: word}) == [one.run_id]
        assert await log.ids(**{name: f"not {word}"}) == []


async def test_a_request_is_shown_with_what_became_of_it(log: Log) -> None:
    """An entry has the run, the way to it, the status, the time it took and the labels, and no text."""
    labels = Labels("e", "v", "c", ("t",))
    start = run(1.5, labels)
    await log.keep(entries.closing(start))
    assert await log.get() == [
        {
            "id": start.run_id,
            "created_at": "2026-01-01T00:00:01.500000Z",
            "run_id": start.run_id,
            "source": "live",
            "fingerprint": "f" * 64,
            "status": "ok",
            "duration_ms": 81.5,
            "experiment": "e",
            "variant": "v",
            "prompt_class": "c",
            "tags": ["t"],
        }
    ]


async def test_who_shared_a_run_sees_the_request_alone(log: Log) -> None:
    """A stranger's run is shown by how and when it ended, counted from the request, under the request's own labels."""
    secret = run(10, Labels("secret", "secret", "secret", ("secret",)), fingerprint="a" * 64)
    shared = entries.attachment(secret, 10.03, "guest", labels=Labels("mine"))
    await log.keep(entries.closing(secret, reason="secret", latency_ms=130.25), shared)
    (entry,) = await log.get(GUEST)
    assert set(entry) == FIELDS
    assert (entry["id"], entry["run_id"], entry["source"]) == (shared.request_id, secret.run_id, "attached")
    assert (entry["status"], entry["duration_ms"], entry["fingerprint"]) == ("ok", 100.25, "a" * 64)
    assert (entry["experiment"], entry["variant"], entry["tags"]) == ("mine", None, [])
    assert "secret" not in str(entry)
    assert await log.ids(ME) == [secret.run_id]


async def test_a_run_that_goes_on_has_no_status(log: Log) -> None:
    """While the run lives, or its row is not there, its requests have neither status nor time; later they have."""
    start, unknown = run(1), run(2)
    guests = [entries.attachment(start, 1.01, "me"), entries.attachment(unknown, 2.01, "me")]
    await log.keep(start, *guests)
    assert [(entry["status"], entry["duration_ms"]) for entry in await log.get()] == [(None, None)] * 3
    assert await log.ids(min_duration_ms=0) == []
    await log.keep(entries.closing(start))
    assert [(entry["status"], entry["duration_ms"]) for entry in await log.get()] == [
        (None, None), ("ok", 71.5), ("ok", 81.5),
    ]  # fmt: skip
    await log.keep(Interruption(unknown, entries.EPOCH))
    assert [entry["status"] for entry in await log.get()] == ["error", "error", "ok", "ok"]


async def test_every_status_is_found_by_its_filter(log: Log) -> None:
    """A filter by status finds exactly those that are shown with it, of runs and of who shared them."""
    expected: dict[Caller, dict[str, str | None]] = {ME: {}, GUEST: {}}
    for status, some in every_kind().items():
        shared = [entries.attachment(one.opening, 9000 + at) for at, one in enumerate(some)]
        await log.keep(*some, *shared)
        expected[ME] |= {one.id: status for one in some}
        expected[GUEST] |= {one.id: status for one in shared}
    for caller, statuses in expected.items():
        assert {entry["id"]: entry["status"] for entry in await log.get(caller)} == statuses
        for wanted in STATUSES:
            found = await log.ids(caller, status=wanted)
            assert set(found) == {id_ for id_, status in statuses.items() if status == wanted}
            assert len(found) > 1


SPECIAL: dict[str, Any] = {
    "fingerprint": "a" * 64, "experiment": "e", "variant": "v", "prompt_class": "c", "tag": "u", "min_duration_ms": 100,
}  # fmt: skip
SPAN = {"since": "2026-01-01T01:00:00Z", "until": "2026-01-01T03:00:00Z"}


@pytest.mark.parametrize("source", ["live", "cache", "attached"])
async def test_every_filter_finds_its_requests(log: Log, source: str) -> None:
    """Each filter by itself, and all together, find what is asked for, of each kind of request, and no other."""
    attached, status = source == "attached", "cache_hit" if source == "cache" else "ok"
    how: Any = {"source": "cache" if source == "cache" else "live", "caller": "you" if attached else "me"}
    plain = [run(600, **how), run(20_000, **how)]
    special = run(7200, Labels("e", "v", "c", ("t", "u")), fingerprint="a" * 64, **how)
    runs = [entries.closing(one, latency_ms=20.0, status="failed") for one in plain]
    runs.append(entries.closing(special, latency_ms=400.0))
    moments = zip((*plain, special), (600, 20_000, 7200.01), strict=True)
    shared = [entries.attachment(one, at, "me") for one, at in moments]
    await log.keep(*runs, *shared)
    early, late, wanted = (one.id for one in (shared if attached else runs))
    for name, value in {**SPECIAL, "status": status}.items():
        assert await log.ids(source=source, **{name: value}) == [wanted]
        assert wanted in await log.ids(**{name: value})
    assert await log.ids(source=source, since=SPAN["since"]) == [late, wanted]
    assert await log.ids(source=source, until=SPAN["until"]) == [wanted, early]
    assert await log.ids(source=source, status=status, **SPECIAL, **SPAN) == [wanted]


async def test_pages_merge_both_kinds_in_order(log: Log) -> None:
    """However many a page has, every request comes once, newest first, also where times are equal."""
    dice, some = random.Random(1), []
    for at in range(40):
        start = run(at // 3, source=dice.choice(["live", "cache"]))
        some.append(start if dice.random() < 0.5 else entries.attachment(start, at // 3, "me"))
    await log.keep(*some)
    newest = sorted(some, key=lambda one: (one.created_at, one.id), reverse=True)  # as UUIDs are sorted
    for limit in (7, 40, 41, 1):
        assert await log.all_pages(limit) == [one.id for one in newest]


async def test_imported_runs_are_no_requests(log: Log) -> None:
    """What was imported was never asked here."""
    await log.keep(entries.closing(run(1, source="import")))
    assert [await log.ids(**some) for some in ({}, {"status": "ok"}, {"tag": "x"})] == [[], [], []]


async def test_no_stranger_sees_a_request(log: Log) -> None:
    """Whatever is asked for, a caller gets own requests alone."""
    labels = Labels("e", "v", "c", ("t",))
    start = run(1, labels)
    await log.keep(entries.closing(start), entries.attachment(start, 2, "guest"))
    stranger = Caller("stranger")
    for params in ({}, *({name: value} for name, value in (("tag", "t"), ("experiment", "e"), ("status", "ok")))):
        assert await log.ids(stranger, **params) == []


@rows(
    ("name", "value"),
    [
        ("status", "failed"), ("status", ""), ("source", "import"), ("fingerprint", "f"), ("fingerprint", "F" * 64),
        ("since", "yesterday"), ("min_duration_ms", "-1"), ("min_duration_ms", "nan"), ("limit", "0"), ("limit", "201"),
        ("cursor", "x"), ("model", "a:b"), ("min_latency_ms", "1"),
    ],
)  # fmt: skip
async def test_a_wrong_or_unknown_parameter_is_refused(name: str, value: str) -> None:
    """Every parameter is checked, and one that is not known, or given twice, is refused by its name."""
    async with asking(NoRequests()) as client:
        answer = await client.get("/api/logs", params={name: value})
        twice = await client.get("/api/logs?tag=a&tag=b")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert name in str(answer.json())
    assert "tag: a query parameter was given twice" in twice.json()["detail"]


async def test_a_cursor_is_bound_to_its_filters(log: Log) -> None:
    """A cursor of other filters, or of the list of runs, is refused."""
    await log.keep(*(run(at) for at in range(3)))
    page = (await log.client.get("/api/logs?limit=1", headers={"Caller": "me"})).json()
    other = await log.client.get(f"/api/logs?source=live&cursor={page['next_cursor']}", headers={"Caller": "me"})
    assert "other filters" in other.json()["detail"]
    with pytest.raises(MalformedRequest, match="limit"):
        await list_requests(RequestLog(log.store._pool), ME, Wanted(), 0)


INDEXED = [
    (Wanted(), "runs_by_source"),
    (Wanted(status="error"), "runs_by_status"),
    (Wanted(status="check_failed"), "runs_by_status"),
    (Wanted(status="cache_hit"), "runs_by_source"),
    (Wanted(experiment="x"), "runs_by_experiment"),
    (Wanted(variant="x"), "runs_by_variant"),
    (Wanted(prompt_class="x"), "runs_by_class"),
    (Wanted(tag="x"), "run_tags_by_tag"),
]


def test_every_branch_is_scoped_to_its_caller() -> None:
    """Every branch of every page names the caller in each table whose rows it gives."""
    for wanted, _ in [*INDEXED, (Wanted(status="ok", tag="x"), "")]:
        statement = page_of(ME, wanted, SLOW_MS, POSITION)
        assert statement is not None
        sql = statement.sql
        for letter, table in (("r", "FROM runs AS r|JOIN runs AS r ON r.run_id = t"), ("a", "FROM attachments AS a")):
            assert len(re.findall(table, sql)) == sql.count(f"{letter}.caller = $1")
    assert page_of(ME, Wanted(source="live", status="cache_hit"), SLOW_MS, POSITION) is None


async def test_a_page_is_read_from_indexes_in_order(dsn: str) -> None:
    """Each branch of a page, however deep, comes from an index in order of time, and nothing but the page is sorted."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off")
    for wanted, index in INDEXED:
        statement = page_of(ME, wanted, SLOW_MS, POSITION)
        assert statement is not None
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement.sql}", *statement.arguments))
        branches = plan.split("->  Limit")[1:]
        assert len(branches) == statement.sql.count("LIMIT $2") - 1
        assert all("Sort Key" not in branch for branch in branches)
        assert all(f"using {index}" in branch or "attachments_newest_of_caller" in branch for branch in branches)
    await connection.close()


async def test_a_server_shows_its_own_requests(dsn: str) -> None:
    """What a server answered is in its log: the run, and the replay of the same question."""
    async with serving(dsn) as server:
        runs = [(await server.client.post("/v1/reason", json={"input": "Why?"})).headers["x-run-id"] for _ in range(2)]
        for run_id in runs:
            await server.parts.pending.arrival(run_id, 5)
        shown = (await server.client.get("/api/logs")).json()["logs"]
    assert [(entry["id"], entry["source"], entry["status"]) for entry in shown] == [
        (runs[1], "cache", "cache_hit"), (runs[0], "live", "ok"),
    ]  # fmt: skip
    assert shown[0]["fingerprint"] == shown[1]["fingerprint"]
