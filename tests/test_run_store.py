"""The store of runs: one suite for PostgreSQL and for the store in memory, then what only PostgreSQL can show."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import asyncpg
import entries
import pytest
from memory_store import MemoryStore
from msgspec.structs import replace
from proxy import Proxy

from app.errors import RecordUnavailable, StartupError
from app.experiments.list import Filters, Position, list_runs
from app.postgres import pool as pool_module
from app.postgres.pool import Pool
from app.postgres.queries import QUERIES
from app.postgres.runs import RunStore
from app.question import Caller, Labels
from app.record.store import EntryRejected, Store, StoreUnavailable

ME = Caller("me")


class Visible(Store, Protocol):
    """A store whose content a test can see."""

    async def versions(self) -> dict[str, int]:
        """The version stored of every run."""
        ...


class VisibleRunStore(RunStore):
    """The real store, and a look at its table."""

    async def versions(self) -> dict[str, int]:
        """The version stored of every run."""
        async with self._pool.connection() as connection:
            return {str(row[0]): row[1] for row in await connection.fetch("SELECT run_id, version FROM runs")}


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Visible:
    """Each store in turn."""
    if request.param == "memory":
        return MemoryStore()
    return VisibleRunStore(request.getfixturevalue("pool"), "test")


async def test_a_run_is_opened_and_closed(store: Visible) -> None:
    """An opening is version 1 of its run and a closing replaces it; both are new."""
    start = entries.opening()
    assert await store.write([start]) == 1
    assert await store.versions() == {start.run_id: 1}
    assert await store.write([entries.closing(start)]) == 1
    assert await store.versions() == {start.run_id: 2}


async def test_writing_twice_changes_nothing(store: Visible) -> None:
    """The same batch written again, as after a lost reply, changes nothing and counts nothing as new."""
    batch = [entries.closing(entries.opening(at)) for at in range(3)]
    assert await store.write(batch) == 3
    assert await store.write(batch) == 0
    assert len(await store.versions()) == 3


async def test_a_lower_version_never_overwrites_a_higher(store: Visible) -> None:
    """An opening or a first closing that arrives late leaves the second closing as it is."""
    start = entries.opening()
    await store.write([entries.closing(start, version=3)])
    assert await store.write([start]) == 0
    assert await store.write([entries.closing(start, version=2)]) == 0
    assert await store.versions() == {start.run_id: 3}


async def test_one_batch_may_hold_a_whole_run(store: Visible) -> None:
    """Several words on one run in a batch, in any order, leave the last version."""
    start = entries.opening()
    assert await store.write([entries.closing(start, version=3), start, entries.closing(start)]) == 1
    assert await store.versions() == {start.run_id: 3}


async def test_a_batch_is_stored_whole_or_not_at_all(store: Visible) -> None:
    """A batch with an entry that cannot be stored is rejected, and nothing of it is stored."""
    with pytest.raises(EntryRejected):
        await store.write([entries.opening(), entries.opening(run_id="no id")])
    assert await store.versions() == {}


async def test_two_writers_of_the_same_runs_agree(store: Visible) -> None:
    """Two writers with the same runs at the same time store each run once."""
    batch = [entries.closing(entries.opening(at)) for at in range(20)]
    new = await asyncio.gather(store.write(batch), store.write(batch[::-1]))
    assert sum(new) == 20
    assert len(await store.versions()) == 20


async def test_the_record_has_every_field_of_the_protocol(run_store: RunStore) -> None:
    """A closed run reads back as the protocol's record, with its lanes, labels and payload."""
    labels = Labels("speed", "b", "geography", ("x", "y"))
    start = entries.opening(1.5, question=entries.question(labels=labels))
    await run_store.write([entries.closing(start)])
    record = await run_store.get(ME, start.run_id)
    assert record is not None
    payload = record.pop("payload")
    assert set(record) == {
        "run_id", "created_at", "status", "reason", "policy", "source", "source_run_id", "fingerprint", "final_lane",
        "verified", "change", "agreement", "latency_ms", "cost_usd", "usage", "labels", "lanes", "audit",
    }  # fmt: skip
    assert record["created_at"] == "2026-01-01T00:00:01.500000Z"
    assert record["agreement"] == {"verdict": "agree", "method": "exact", "version": 1, "similarity": 1.0}
    assert record["labels"] == {"experiment": "speed", "variant": "b", "prompt_class": "geography", "tags": ["x", "y"]}
    assert record["lanes"]["slow"]["usage"]["output_tokens"] == 2
    assert record["lanes"]["fast"]["finish_reason"] == "stop"
    assert payload["messages"] == [{"role": "user", "content": "What is the capital of France?"}]
    assert payload["texts"] == {"fast": "Paris.", "slow": "Paris."}
    assert (payload["thinking"]["slow"], payload["at_ms"]) == ("Hm.", [0, 82])


async def test_an_open_run_reads_as_running(run_store: RunStore) -> None:
    """A run that was only opened has status running, its models, and null for every number."""
    start = entries.opening()
    await run_store.write([start])
    record = await run_store.get(ME, start.run_id)
    assert record is not None
    assert (record["status"], record["latency_ms"], record["cost_usd"], record["usage"]) == (
        "running",
        None,
        None,
        None,
    )
    assert record["lanes"]["fast"]["model"] == "scripted:fast"
    assert record["lanes"]["fast"]["outcome"] is None


async def test_the_log_comes_back_byte_for_byte(run_store: RunStore) -> None:
    """The stored stream equals what the readers saw; an open run has none."""
    open_run, closed_run = entries.opening(1), entries.opening(2)
    log = b"event: start\n" * 20_000
    await run_store.write([open_run, entries.closing(closed_run, log=log, status="partial")])
    stored = await run_store.log(ME, closed_run.run_id)
    assert stored is not None
    assert (stored.log, stored.status) == (log, "partial")
    unfinished = await run_store.log(ME, open_run.run_id)
    assert unfinished is not None
    assert unfinished.log is None


async def test_nobody_reads_another_callers_runs(run_store: RunStore) -> None:
    """Another caller's run is neither listed nor found, and neither is a word that is no id."""
    start = entries.opening(caller="you")
    await run_store.write([entries.closing(start)])
    assert await run_store.page(ME, Filters(), 10, None) == []
    for run_id in (start.run_id, "no id"):
        assert await run_store.get(ME, run_id) is None
        assert await run_store.log(ME, run_id) is None


async def test_a_run_keeps_its_caller(run_store: RunStore) -> None:
    """An entry with a stranger's run id and a higher version does not touch the stranger's run."""
    start = entries.opening(caller="you")
    await run_store.write([start])
    assert await run_store.write([entries.closing(replace(start, caller="me"))]) == 0
    assert await run_store.get(ME, start.run_id) is None


async def test_pages_follow_each_other(run_store: RunStore) -> None:
    """The list is newest first, runs of one instant included, and its pages join without gap or double."""
    starts = [entries.opening(at) for at in (3, 1, 2, 2, 2)]
    await run_store.write(starts)
    seen: list[str] = []
    cursor = None
    while True:
        page = await list_runs(run_store, ME, Filters(), 2, cursor)
        seen += [record["run_id"] for record in page["experiments"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == sorted((start.run_id for start in starts), reverse=True)


@pytest.mark.parametrize(
    "wanted",
    [
        {"since": entries.EPOCH + timedelta(seconds=50)},
        {"status": "timeout"},
        {"outcome": "timeout"},
        {"experiment": "speed"},
        {"variant": "b"},
        {"prompt_class": "geography"},
        {"model": "scripted:other"},
        {"source": "cache"},
        {"agreement": "disagree"},
        {"min_latency_ms": 5000},
        {"tag": "y"},
        {"tag": "y", "status": "timeout", "until": entries.EPOCH + timedelta(seconds=101)},
    ],
    ids=str,
)
async def test_each_filter_finds_its_run(run_store: RunStore, wanted: dict[str, Any]) -> None:
    """Of two runs that differ in everything each filter finds the one it describes."""
    question = entries.question(labels=Labels("speed", "b", "geography", ("x", "y")))
    start = entries.opening(100, source="cache", question=question)
    ended = entries.lane("fast", outcome="timeout")
    odd = entries.closing(
        start, status="timeout", latency_ms=5000.0, lanes={"fast": replace(ended, model="scripted:other")}
    )
    assert odd.agreement is not None
    odd = replace(odd, agreement=replace(odd.agreement, verdict="disagree"))
    await run_store.write([entries.closing(), odd])
    found = await run_store.page(ME, Filters(**wanted), 10, None)
    assert [record["run_id"] for record in found] == [start.run_id]
    assert await run_store.page(ME, Filters(until=entries.EPOCH), 10, None) == []
    assert await run_store.page(ME, Filters(tag="\x00\ud800"), 10, None) == []


async def test_poison_text_is_stored_clean(run_store: RunStore) -> None:
    """NUL and lone surrogates anywhere in an entry become U+FFFD and harm neither it nor its neighbours."""
    poison = "a\x00b\ud800c"
    question = entries.question(poison, Labels(poison, poison, poison, (poison, "\U0001f600")))
    bad = entries.opening(1, question=question)
    lanes = {"slow": entries.lane("slow", poison, message=poison)}
    assert await run_store.write([entries.closing(bad, reason=poison, lanes=lanes), entries.opening(2)]) == 2
    record = await run_store.get(ME, bad.run_id)
    assert record is not None
    assert record["labels"]["tags"] == ["a\ufffdb\ufffdc", "\U0001f600"]
    assert record["payload"]["texts"]["slow"] == record["payload"]["messages"][0]["content"] == "a\ufffdb\ufffdc"


async def test_interrupted_runs_are_closed(run_store: RunStore) -> None:
    """Runs left open before the start become failed and interrupted; a late closing still has the last word."""
    old, young, closed = entries.opening(1), entries.opening(9), entries.closing(entries.opening(2))
    await run_store.write([old, young, closed])
    assert await run_store.close_interrupted(entries.EPOCH + timedelta(seconds=5)) == 1
    record = await run_store.get(ME, old.run_id)
    assert record is not None
    assert (record["status"], record["reason"], record["lanes"]["slow"]["outcome"]) == (
        "failed",
        "interrupted",
        "failed",
    )
    assert await run_store.write([entries.closing(old)]) == 1
    stored = await run_store.log(ME, old.run_id)
    assert stored is not None
    assert stored.status == "completed"


async def test_the_view_has_one_row_a_run(run_store: RunStore, dsn: str) -> None:
    """The view experiment_runs shows both lanes side by side, flash for fast and pro for slow."""
    await run_store.write([entries.closing(), entries.opening(9)])
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT * FROM experiment_runs ORDER BY created_at")
    await connection.close()
    assert list(rows[0].keys()) == [
        "id", "created_at", "status", "flash_latency_ms", "pro_latency_ms", "flash_ttft_ms", "pro_ttft_ms", "agreement",
        "cost_usd",
    ]  # fmt: skip
    assert rows[0]["flash_latency_ms"] == 20.0
    assert (rows[0]["pro_latency_ms"], rows[0]["agreement"]) == (80.0, "agree")
    assert (rows[1]["status"], rows[1]["pro_latency_ms"]) == ("running", None)


async def test_a_page_uses_the_index(run_store: RunStore, dsn: str) -> None:
    """A page deep in the past is found through the index and never sorted."""
    await run_store.write([entries.opening(at) for at in range(200)])
    plan = await _plan(dsn, Position(entries.EPOCH + timedelta(seconds=100), entries.opening(100).run_id))
    assert "Index Scan using runs_newest_of_caller" in plan
    assert "Sort" not in plan


async def _plan(dsn: str, before: Position) -> str:
    """How PostgreSQL would find a page, when it does not think the table small."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan"
    )
    await connection.execute("ANALYZE runs")
    types = "text, int, timestamptz, uuid, timestamptz, timestamptz" + ", text" * 8 + ", float8, text"
    await connection.execute(f"PREPARE page ({types}) AS {QUERIES['list_runs']}")
    values = f"'me', 50, '{before.created_at.isoformat()}', '{before.run_id}'" + ", NULL" * 12
    rows = await connection.fetch(f"EXPLAIN EXECUTE page ({values})")
    await connection.close()
    return "\n".join(row[0] for row in rows)


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A network to the database that can be cut, and the address through it."""
    parts = urlsplit(dsn)
    socket = parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432"
    async with Proxy(socket) as proxy:
        yield proxy, f"postgresql://tandem@127.0.0.1:{proxy.port}{parts.path}?sslmode=disable"


async def test_a_lost_reply_leaves_one_row(proxy: tuple[Proxy, str]) -> None:
    """A reply lost after the commit is an error to the writer, the row is there, and writing again is harmless."""
    network, address = proxy
    async with Pool(address, max_size=1) as pool:
        store = VisibleRunStore(pool, "test")
        await store.write([entries.opening(1)])
        network.lose_next_reply = True
        late = entries.opening(2)
        with pytest.raises(StoreUnavailable):
            await store.write([late])
        assert late.run_id in await store.versions()
        assert await store.write([late]) == 0


async def test_a_database_that_is_down_is_unavailable(proxy: tuple[Proxy, str]) -> None:
    """A cut network is StoreUnavailable to the writer and RecordUnavailable to a reader, and heals by itself."""
    network, address = proxy
    async with Pool(address) as pool:
        store = RunStore(pool, "test")
        await store.write([entries.opening(1)])
        await network.down()
        with pytest.raises(StoreUnavailable):
            await store.write([entries.opening(2)])
        with pytest.raises(RecordUnavailable):
            await store.page(ME, Filters(), 10, None)
        await network.up()
        assert await store.write([entries.opening(2)]) == 1


async def test_a_black_hole_holds_nobody_for_long(proxy: tuple[Proxy, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that swallows everything ends every wait within its bound, and the pool comes back afterwards."""
    monkeypatch.setattr(pool_module, "COMMAND_S", 0.5)  # asyncpg is told when the pool is made
    network, address = proxy
    async with Pool(address, max_size=1) as pool:
        store = RunStore(pool, "test")
        await store.write([entries.opening(1)])
        for name in ("ACQUIRE_S", "CLOSE_S"):
            monkeypatch.setattr(pool_module, name, 0.1)
        network.swallow = True
        async with asyncio.timeout(2):
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await store.write([entries.opening(2)])
        network.swallow = False
        monkeypatch.undo()
        async with asyncio.timeout(5):
            await _until_written(store)


async def _until_written(store: RunStore) -> None:
    """Write until the pool has healed."""
    while True:
        try:
            await store.write([entries.opening(3)])
        except StoreUnavailable:
            continue
        return


@pytest.mark.parametrize("dsn_text", ["", "nonsense", "mysql://me:secret@host/x", "postgresql://me:secret@host:port/x"])
def test_an_address_that_cannot_be_is_refused_at_once(dsn_text: str) -> None:
    """A DATABASE_URL of another form is refused at the start by the setting's name, and its password is not shown."""
    with pytest.raises(StartupError, match="DATABASE_URL") as caught:
        Pool(dsn_text)
    assert "secret" not in str(caught.value)


async def test_opening_a_pool_needs_no_database() -> None:
    """A pool opens at once while its database is down; only using it fails."""
    async with Pool("postgresql://me@127.0.0.1:1/x") as pool:
        with pytest.raises(StoreUnavailable):
            async with pool.connection():
                pass
    with pytest.raises(StoreUnavailable):
        async with pool.connection():
            pass
