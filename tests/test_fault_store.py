"""What the store of runs does when the network, the server or the data are ill."""

import asyncio
import random
from urllib.parse import urlsplit

import entries
import msgspec
import pytest
from filing import VisibleRunStore, do, filed, poisoned, value

from app.errors import RecordUnavailable
from app.experiments.list import Filters
from app.postgres import pool as pool_module
from app.postgres.pool import Pool
from app.postgres.runs import RunStore
from app.question import Caller, Labels
from app.record.entry import Entry
from app.record.store import EntryRejected, SchemaMismatch, StoreUnavailable
from bench.proxy import Proxy

ME = Caller("me")
NOISE = random.Random(1).randbytes(4000).hex()
POISON = "a\x00b\ud800c"


async def test_poison_text_is_stored_clean(run_store: RunStore) -> None:
    """NUL and lone surrogates anywhere in an entry become U+FFFD and harm neither it nor its neighbours."""
    question = entries.question(POISON, Labels(POISON, POISON, POISON, (POISON, "\U0001f600")))
    bad = entries.opening(1, question=question)
    lanes = {"slow": entries.lane("slow", POISON, message=POISON)}
    fates = await run_store.write(poisoned(entries.closing(bad, reason=POISON, lanes=lanes), entries.opening(2)))
    assert fates == ["stored", "stored"]
    record = await run_store.get(ME, bad.run_id)
    assert record is not None
    assert record["labels"]["tags"] == ["a\ufffdb\ufffdc", "\U0001f600"]
    assert record["payload"]["texts"]["slow"] == record["payload"]["messages"][0]["content"] == "a\ufffdb\ufffdc"


HARMLESS = {
    "no number": entries.closing(latency_ms=float("nan")),
    "infinite": entries.closing(latency_ms=float("inf")),
    "deep text": entries.closing(lanes={"slow": entries.lane("slow", "[" * 100_000)}),
    "ten megabytes": entries.closing(lanes={"slow": entries.lane("slow", "x" * 10_000_000)}),
    "a long label": entries.opening(question=entries.question(labels=Labels(prompt_class="x", tags=("", "t", "t")))),
}


@pytest.mark.parametrize("entry", HARMLESS.values(), ids=HARMLESS)
async def test_what_looks_like_poison_is_stored(run_store: RunStore, entry: Entry) -> None:
    """No number, deep JSON inside a text, ten megabytes and a tag given twice are stored beside their neighbours."""
    assert await run_store.write(filed(entry, entries.opening(9))) == ["stored", "stored"]
    assert await run_store.get(ME, entry.run_id) is not None


POISONOUS = {
    "no id": entries.opening(run_id="no id"),
    "a number beyond 64 bits": entries.closing(cost_nano=2**70),
    "a number beyond the column": entries.closing(at_ms=(2**40,)),
    "a deadline that is no number": entries.opening(
        question=msgspec.structs.replace(entries.question(), deadline_s=float("nan"))
    ),
    "a label beyond an index": entries.opening(question=entries.question(labels=Labels(experiment=NOISE))),
}


@pytest.mark.parametrize("entry", POISONOUS.values(), ids=POISONOUS)
async def test_a_poisonous_entry_is_rejected_alone(run_store: RunStore, entry: Entry, dsn: str) -> None:
    """An entry that no row can hold is rejected with its whole batch; its neighbours without it are stored."""
    neighbours: list[Entry] = [entries.opening(1), entries.closing(entries.opening(2))]
    with pytest.raises(EntryRejected):
        await run_store.write(poisoned(*neighbours, entry))
    assert await value(dsn, "SELECT count(*) FROM runs") == 0
    assert await run_store.write(filed(*neighbours)) == ["stored", "stored"]


async def test_one_run_in_two_spellings_is_one_run(run_store: RunStore, dsn: str) -> None:
    """Two spellings of one id in a batch are one run, not two rows that PostgreSQL refuses for ever."""
    start = entries.opening()
    loud = entries.opening(run_id=start.run_id.upper())
    assert await run_store.write(filed(start, entries.closing(loud))) == ["duplicate", "stored"]
    assert await value(dsn, "SELECT count(*) FROM runs") == 1


async def test_a_renamed_column_is_a_schema_mismatch(run_store: RunStore, dsn: str) -> None:
    """A column renamed under the server holds every entry back without blaming it; named back, all is stored."""
    await do(dsn, "ALTER TABLE legs RENAME COLUMN censored TO cut")
    with pytest.raises(SchemaMismatch):
        await run_store.write(filed(entries.opening()))
    await do(dsn, "ALTER TABLE legs RENAME COLUMN cut TO censored")
    assert await run_store.write(filed(entries.opening())) == ["stored"]


async def test_a_read_only_database_is_unavailable(dsn: str) -> None:
    """A database that takes no writes is to be tried again later, not to be blamed on the entries."""
    name = urlsplit(dsn).path.strip("/")
    await do(dsn, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with Pool(dsn) as pool:
        with pytest.raises(StoreUnavailable, match="25006"):
            await RunStore(pool).write(filed(entries.opening()))


async def test_a_lost_reply_leaves_one_row(proxy: tuple[Proxy, str]) -> None:
    """A reply lost after the commit is an error to the writer, the row is there, and writing again is harmless."""
    network, address = proxy
    async with Pool(address, max_size=1) as pool:
        store = VisibleRunStore(pool)
        await store.write(filed(entries.opening(1)))
        network.lose_next_reply = True
        late = entries.opening(2)
        with pytest.raises(StoreUnavailable):
            await store.write(filed(late))
        assert late.run_id in await store.versions()
        assert await store.write(filed(late)) == ["duplicate"]


async def test_a_database_that_is_down_is_unavailable(proxy: tuple[Proxy, str]) -> None:
    """A cut network is StoreUnavailable to the writer and RecordUnavailable to a reader, and heals by itself."""
    network, address = proxy
    async with Pool(address) as pool:
        store = RunStore(pool)
        await store.write(filed(entries.opening(1)))
        await network.down()
        with pytest.raises(StoreUnavailable):
            await store.write(filed(entries.opening(2)))
        with pytest.raises(RecordUnavailable):
            await store.page(ME, Filters(), 10, None)
        await network.up()
        assert await store.write(filed(entries.opening(2))) == ["stored"]


async def test_a_black_hole_holds_nobody_for_long(proxy: tuple[Proxy, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that swallows everything ends every wait within its bound, and the pool comes back afterwards."""
    monkeypatch.setattr(pool_module, "COMMAND_S", 0.5)  # asyncpg is told when the pool is made
    network, address = proxy
    async with Pool(address, max_size=1) as pool:
        store = RunStore(pool)
        await store.write(filed(entries.opening(1)))
        for name in ("ACQUIRE_S", "CLOSE_S"):
            monkeypatch.setattr(pool_module, name, 0.1)
        network.swallow = True
        async with asyncio.timeout(2):
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await store.write(filed(entries.opening(2)))
        network.swallow = False
        monkeypatch.undo()
        async with asyncio.timeout(5):
            await _until_written(store)


async def _until_written(store: RunStore) -> None:
    """Write until the pool has healed."""
    while True:
        try:
            await store.write(filed(entries.opening(3)))
        except StoreUnavailable:
            continue
        return
