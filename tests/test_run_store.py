"""The store of runs: one suite for PostgreSQL and for the store in memory, then what only PostgreSQL can show."""

import asyncio
from datetime import timedelta
from typing import Protocol

import asyncpg
import entries
import pytest
from filing import VisibleRunStore, filed, rows, value
from memory_store import MemoryStore
from msgspec.structs import replace

from app.errors import StartupError
from app.postgres.pool import Pool, translated
from app.postgres.queries import QUERIES
from app.postgres.rows import OfRun
from app.postgres.rows import rows as rows_of
from app.postgres.runs import RunStore
from app.question import Caller
from app.record.codec import stripped
from app.record.entry import LATE, ContentNote, Interruption
from app.record.prices import Tariff
from app.record.store import DeadLetter, EntryRejected, SchemaMismatch, Store, StoreUnavailable

ME = Caller("me")


class Visible(Store, Protocol):
    """A store whose content a test can see."""

    async def versions(self) -> dict[str, int]:
        """The version stored of every run."""
        ...


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Visible:
    """Each store in turn."""
    if request.param == "memory":
        return MemoryStore()
    return VisibleRunStore(request.getfixturevalue("pool"))


async def test_a_run_is_opened_and_closed(store: Visible) -> None:
    """An opening is version 1 of its run and a closing replaces it; both are stored."""
    start = entries.opening()
    assert await store.write(filed(start)) == ["stored"]
    assert await store.versions() == {start.run_id: 1}
    assert await store.write(filed(entries.closing(start))) == ["stored"]
    assert await store.versions() == {start.run_id: 3}


async def test_writing_twice_changes_nothing(store: Visible) -> None:
    """The same batch written again, as after a lost reply, is all duplicates and changes nothing."""
    batch = filed(*(entries.closing(entries.opening(at)) for at in range(3)))
    assert await store.write(batch) == ["stored"] * 3
    assert await store.write(batch) == ["duplicate"] * 3
    assert len(await store.versions()) == 3


async def test_a_lower_version_never_overwrites_a_higher(store: Visible) -> None:
    """An opening or a first closing that arrives late is a duplicate and leaves the later closing as it is."""
    start = entries.opening()
    await store.write(filed(entries.closing(start, version=LATE)))
    late = filed(start, Interruption(start, entries.EPOCH), entries.closing(start))
    assert await store.write(late) == ["duplicate"] * 3
    assert await store.versions() == {start.run_id: LATE}


async def test_one_batch_may_hold_a_whole_run(store: Visible) -> None:
    """Several words on one run in a batch, in any order, leave the last version."""
    start = entries.opening()
    fates = await store.write(filed(entries.closing(start, version=LATE), start, entries.closing(start)))
    assert fates == ["stored", "duplicate", "duplicate"]
    assert await store.versions() == {start.run_id: LATE}


async def test_two_contents_of_one_version_are_a_conflict(store: Visible) -> None:
    """A second content of a version is a conflict, whether it comes in the same batch or later, and the first stays."""
    first, second = (entries.closing(status=status) for status in ("completed", "partial"))
    second = replace(second, opening=first.opening)
    assert await store.write(filed(first, second, first)) == ["stored", "conflict", "duplicate"]
    assert await store.write(filed(second, first)) == ["conflict", "duplicate"]


async def test_a_batch_is_stored_whole_or_not_at_all(store: Visible) -> None:
    """A batch with an entry that cannot be stored is rejected, and nothing of it is stored."""
    with pytest.raises(EntryRejected):
        await store.write(filed(entries.opening(), entries.opening(run_id="no id")))
    assert await store.versions() == {}


async def test_two_drainers_of_the_same_runs_agree(store: Visible) -> None:
    """Two drainers with the same runs at the same time store each run once and see no conflict."""
    batch = filed(*(entries.closing(entries.opening(at)) for at in range(20)))
    fates = await asyncio.gather(store.write(batch), store.write(batch[::-1]))
    assert sorted([*fates[0], *fates[1]]) == ["duplicate"] * 20 + ["stored"] * 20
    assert len(await store.versions()) == 20


async def test_a_run_keeps_its_caller(run_store: RunStore) -> None:
    """An entry with a stranger's run id and a higher version does not touch the stranger's run."""
    start = entries.opening(caller="you")
    await run_store.write(filed(start))
    assert await run_store.write(filed(entries.closing(replace(start, caller="me")))) == ["conflict"]
    assert await run_store.get(ME, start.run_id) is None


async def test_a_leg_keeps_its_price_and_its_censoring(run_store: RunStore, dsn: str) -> None:
    """A lane's row has its cost in nano-dollars with the unit prices behind it, and says when it was cut short."""
    tariff = Tariff(100.0, 400.0, None, "book 2026-01-01")
    lanes = {"fast": replace(entries.lane("fast"), tariff=tariff), "slow": entries.lane("slow", outcome="timeout")}
    start = entries.opening()
    await run_store.write(filed(entries.closing(start, lanes=lanes, content=ContentNote("redacted", {"email": 2}))))
    legs = await rows(dsn, "SELECT cost_nano, input_nano, price_version, censored FROM legs ORDER BY lane")
    assert [tuple(leg) for leg in legs] == [(1800, 100.0, "book 2026-01-01", False), (1_000_000, None, None, True)]
    record = await run_store.get(ME, start.run_id)
    assert record is not None
    assert record["cost_usd"] == 0.002
    assert [lane["cost_usd"] for lane in record["lanes"].values()] == [1.8e-6, 0.001]
    assert (record["lanes"]["slow"]["censored"], record["lanes"]["slow"]["attempt"]) == (True, 1)
    assert record["content"] == {"mode": "redacted", "masked": {"email": 2}, "cut": [], "replaced": 0}


@pytest.mark.parametrize("together", [True, False])
async def test_a_second_attempt_takes_the_place_of_the_first(run_store: RunStore, dsn: str, *, together: bool) -> None:
    """A lane that was asked twice has the leg of its last attempt alone, stored with its start or after it."""
    start, other = entries.opening(1), entries.opening(2)
    lanes = {"fast": entries.lane("fast"), "slow": replace(entries.lane("slow"), attempt=2)}
    words = filed(start, other, entries.closing(start, lanes=lanes))
    for batch in [words] if together else [words[:2], words[2:]]:
        await run_store.write(batch)
    legs = await rows(dsn, "SELECT lane, attempt, outcome FROM legs WHERE run_id = $1 ORDER BY lane", start.run_id)
    assert [tuple(leg) for leg in legs] == [("fast", 1, "completed"), ("slow", 2, "completed")]
    assert await value(dsn, "SELECT count(*) FROM legs WHERE run_id = $1", other.run_id) == 2


async def test_a_batch_reads_no_table_whole(dsn: str) -> None:
    """To write some runs costs the same however many there are: nothing of what is stored is looked through."""
    connection = await asyncpg.connect(dsn)
    async with connection.transaction():
        for at in range(12):  # the first ones are planned each for itself
            word = entries.closing(entries.opening(at))
            arguments = rows_of([OfRun(0, word.opening.run_id, word, b"")])
            assert len(await connection.fetch(QUERIES["write_runs"], *arguments)) == 1
        looked = "SELECT relname FROM pg_stat_xact_user_tables WHERE seq_tup_read > 0"
        assert await connection.fetch(looked) == []
    await connection.close()


async def test_an_unknown_cost_is_null(run_store: RunStore) -> None:
    """A cost that is not known is null in the run and in its lanes, never 0."""
    start = entries.opening()
    lanes = {name: entries.lane(name, cost_usd=None) for name in entries.LANES}
    await run_store.write(filed(entries.closing(start, cost_nano=None, lanes=lanes)))
    record = await run_store.get(ME, start.run_id)
    assert record is not None
    assert [record["cost_usd"], *(lane["cost_usd"] for lane in record["lanes"].values())] == [None] * 3


async def test_a_comparison_is_kept_by_its_version(run_store: RunStore, dsn: str) -> None:
    """The agreement of a run is a row of comparisons too; a later closing replaces that of its version."""
    first = entries.closing()
    await run_store.write(filed(first, entries.closing(entries.opening(2), agreement=None)))
    assert first.agreement is not None
    revised = replace(first, version=LATE, agreement=replace(first.agreement, verdict="disagree"))
    await run_store.write(filed(revised))
    found = await rows(dsn, "SELECT run_id::text, version, verdict, method FROM comparisons")
    assert [tuple(row) for row in found] == [(first.opening.run_id, 1, "disagree", "exact")]


async def test_an_empty_log_is_not_kept(run_store: RunStore, dsn: str) -> None:
    """A closing without a log, as when texts are not to be kept, leaves no row in run_logs and reads as None."""
    start = entries.opening()
    await run_store.write(filed(entries.closing(start, log=b"", at_ms=())))
    assert await value(dsn, "SELECT count(*) FROM run_logs") == 0
    stored = await run_store.log(ME, start.run_id)
    assert stored is not None
    assert stored.log is None


async def test_a_payload_that_is_no_longer_kept_is_null(run_store: RunStore, dsn: str) -> None:
    """When retention took a run's texts its record is still there, with payload null."""
    start = entries.opening()
    await run_store.write(filed(entries.closing(start)))
    await rows(dsn, "DELETE FROM run_payloads")
    record = await run_store.get(ME, start.run_id)
    assert record is not None
    assert (record["status"], record["payload"]) == ("completed", None)


async def test_an_interruption_closes_a_run(run_store: RunStore) -> None:
    """An interrupted run is failed with its lanes and keeps its question; a late closing has the last word."""
    start = entries.opening()
    assert await run_store.write(filed(start, Interruption(start, entries.EPOCH))) == ["duplicate", "stored"]
    record = await run_store.get(ME, start.run_id)
    assert record is not None
    assert (record["status"], record["reason"]) == ("failed", "interrupted")
    assert {(lane["outcome"], lane["reason"]) for lane in record["lanes"].values()} == {("failed", "interrupted")}
    assert record["payload"]["messages"][0]["content"] == "What is the capital of France?"
    assert await run_store.write(filed(entries.closing(start))) == ["stored"]
    stored = await run_store.log(ME, start.run_id)
    assert stored is not None
    assert stored.status == "completed"


async def test_an_interruption_noticed_twice_is_no_conflict(run_store: RunStore) -> None:
    """Two who notice at different times that a server died say the same, so that the second is a duplicate."""
    start = entries.opening()
    first, second = (Interruption(start, entries.EPOCH + timedelta(seconds=at)) for at in (1, 2))
    assert await run_store.write(filed(first)) == ["stored"]
    assert await run_store.write(filed(second)) == ["duplicate"]


async def test_the_hash_of_the_content_is_in_the_row(run_store: RunStore, dsn: str) -> None:
    """A row carries the digest of the entry that made it."""
    batch = filed(entries.closing())
    await run_store.write(batch)
    assert await value(dsn, "SELECT content_hash FROM runs") == batch[0].digest


async def test_a_dead_letter_is_kept_once(run_store: RunStore, dsn: str) -> None:
    """What could not be stored is kept as it was, each digest and reason once."""
    letter = DeadLetter(b"d" * 32, "no id", 3, "rejected", "a\x00b", b"\x00encoded")
    await run_store.bury([letter, letter._replace(reason="conflict", run_id=None, version=None)])
    await run_store.bury([letter._replace(error="again")])
    await run_store.bury([])
    found = await rows(dsn, "SELECT run_id, version, reason, error, encoded FROM dead_letters ORDER BY reason")
    assert [tuple(row) for row in found] == [
        (None, None, "conflict", "a\ufffdb", b"\x00encoded"),
        ("no id", 3, "rejected", "a\ufffdb", b"\x00encoded"),
    ]


@pytest.mark.parametrize("version", [3, LATE])
async def test_a_stripped_outcome_takes_no_payload_away(run_store: RunStore, version: int) -> None:
    """An outcome that lost its payload on the way replaces the numbers, and leaves the texts that are there."""
    start = entries.opening()
    await run_store.write(filed(entries.closing(start) if version == LATE else start))
    assert await run_store.write(filed(stripped(entries.closing(start, version=version)))) == ["stored"]
    record = await run_store.get(ME, start.run_id)
    assert record is not None
    assert (record["status"], record["content"]["cut"]) == ("completed", ["payload"])
    assert record["payload"]["messages"][0]["content"] == "What is the capital of France?"
    texts = record["payload"]["texts"]
    assert texts.get("slow", "Paris.") == "Paris."


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


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (asyncpg.UndefinedColumnError, SchemaMismatch),
        (asyncpg.InsufficientPrivilegeError, SchemaMismatch),
        (asyncpg.UntranslatableCharacterError, EntryRejected),
        (asyncpg.UniqueViolationError, EntryRejected),
        (asyncpg.ProgramLimitExceededError, EntryRejected),
        (asyncpg.ReadOnlySQLTransactionError, StoreUnavailable),
        (asyncpg.TooManyConnectionsError, StoreUnavailable),
        (asyncpg.CheckViolationError, StoreUnavailable),
    ],
)
def test_an_error_of_postgresql_blames_what_is_at_fault(error: type[Exception], expected: type[Exception]) -> None:
    """The class of SQLSTATE decides whether the data, the schema or the moment is to blame."""
    with pytest.raises(expected) as caught, translated():
        raise error
    assert type(caught.value) is expected
