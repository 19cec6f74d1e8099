"""The records of runs as they are read back: whole, in pages, by every filter, never by a stranger."""

from datetime import timedelta
from typing import Any

import asyncpg
import entries
from filing import filed
from msgspec.structs import replace

from app.experiments.list import Filters, list_runs
from app.postgres.runs import RunStore
from app.question import Caller, Labels

ME = Caller("me")


async def test_the_record_has_every_field_of_the_protocol(run_store: RunStore) -> None:
    """A closed run reads back as the protocol's record, with its lanes, labels and payload."""
    labels = Labels("speed", "b", "geography", ("x", "y"))
    start = entries.opening(1.5, question=entries.question(labels=labels))
    await run_store.write(filed(entries.closing(start)))
    record = await run_store.get(ME, start.run_id)
    assert record is not None
    payload = record.pop("payload")
    assert set(record) == {
        "run_id", "created_at", "status", "reason", "policy", "source", "source_run_id", "fingerprint", "final_lane",
        "verified", "change", "agreement", "latency_ms", "cost_usd", "usage", "labels", "lanes", "audit", "content",
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
    await run_store.write(filed(start))
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
    await run_store.write(filed(open_run, entries.closing(closed_run, log=log, status="partial")))
    stored = await run_store.log(ME, closed_run.run_id)
    assert stored is not None
    assert (stored.log, stored.status) == (log, "partial")
    unfinished = await run_store.log(ME, open_run.run_id)
    assert unfinished is not None
    assert unfinished.log is None


async def test_nobody_reads_another_callers_runs(run_store: RunStore) -> None:
    """Another caller's run is neither listed nor found, and neither is a word that is no id."""
    start = entries.opening(caller="you")
    await run_store.write(filed(entries.closing(start)))
    assert await run_store.page(ME, Filters(), 10, None) == []
    for run_id in (start.run_id, "no id"):
        assert await run_store.get(ME, run_id) is None
        assert await run_store.log(ME, run_id) is None


async def test_pages_follow_each_other(run_store: RunStore) -> None:
    """The list is newest first, runs of one instant included, and its pages join without gap or double."""
    starts = [entries.opening(at) for at in (3, 1, 2, 2, 2)]
    await run_store.write(filed(*starts))
    seen: list[str] = []
    cursor = None
    while True:
        page = await list_runs(run_store, ME, Filters(), 2, cursor)
        seen += [record["run_id"] for record in page["experiments"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == sorted((start.run_id for start in starts), reverse=True)


FILTERS: list[dict[str, Any]] = [
    {"since": entries.EPOCH + timedelta(seconds=50)}, {"status": "timeout"}, {"outcome": "timeout"},
    {"experiment": "speed"}, {"variant": "b"}, {"prompt_class": "geography"}, {"model": "scripted:other"},
    {"source": "cache"}, {"agreement": "disagree"}, {"min_latency_ms": 5000}, {"tag": "y"},
    {"tag": "y", "status": "timeout", "until": entries.EPOCH + timedelta(seconds=101)},
]  # fmt: skip


async def test_each_filter_finds_its_run(run_store: RunStore) -> None:
    """Of two runs that differ in everything each filter finds the one it describes."""
    question = entries.question(labels=Labels("speed", "b", "geography", ("x", "y")))
    start = entries.opening(100, source="cache", question=question)
    ended = entries.lane("fast", outcome="timeout")
    odd = entries.closing(
        start, status="timeout", latency_ms=5000.0, lanes={"fast": replace(ended, model="scripted:other")}
    )
    assert odd.agreement is not None
    odd = replace(odd, agreement=replace(odd.agreement, verdict="disagree"))
    await run_store.write(filed(entries.closing(), odd))
    for wanted in FILTERS:
        found = await run_store.page(ME, Filters(**wanted), 10, None)
        assert [record["run_id"] for record in found] == [start.run_id], wanted
    assert await run_store.page(ME, Filters(until=entries.EPOCH), 10, None) == []
    assert await run_store.page(ME, Filters(tag="\x00\ud800"), 10, None) == []


async def test_the_view_has_one_row_a_run(run_store: RunStore, dsn: str) -> None:
    """The view experiment_runs shows both lanes side by side, flash for fast and pro for slow."""
    await run_store.write(filed(entries.closing(), entries.opening(9)))
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
