"""What the record knows of the last hour's and day's spending: whose, when, and by whom it was run."""

from datetime import UTC, datetime, timedelta
from typing import Any

from entries import closing, id_at, lane, opening
from filing import filed
from keyring import issued
from msgspec.structs import replace

from app.admission.allowance import NANO
from app.admission.purse import Account, MemoryPurse
from app.postgres.pool import Pool
from app.postgres.runs import RunStore
from app.postgres.spending import Spending
from app.record.entry import Closing

NOW = datetime(2026, 11, 22, 12, 30, 30, tzinfo=UTC)
ADA = Account("caller", "ada", "usd")


def ended(before_s: float, cost_nano: int | None = NANO, caller: str = "ada", **changes: Any) -> Closing:
    """A run that ended so long ago, a second after it was opened."""
    at = NOW - timedelta(seconds=before_s + 1)
    start = replace(opening(caller=caller, **changes), run_id=id_at(at), created_at=at)
    return closing(start, cost_nano=cost_nano, latency_ms=1000.0)


async def spent(pool: Pool, account: Account = ADA, **bounds: Any) -> tuple[int, int]:
    """What that account spent in the last hour and in the last day."""
    now = NOW.timestamp()
    past = await Spending(pool).past(now, bounds.get("opened_before", now), bounds.get("but_of", ""))
    purse = MemoryPurse()
    purse.learn(past)
    (standing,) = purse.standing([account], now)
    return standing.spent["hour"], standing.spent["day"]


async def test_the_windows_of_the_record(pool: Pool) -> None:
    """What ended within the hour counts there, what ended within the day in the day, and what was before in neither."""
    await RunStore(pool).write(filed(*(ended(s) for s in (5, 3590, 3700, 86_000, 91_000))))
    assert await spent(pool) == (2 * NANO, 4 * NANO)


async def test_everybodys_accounts(pool: Pool) -> None:
    """A run counts for its caller, for the caller's tenant and for everybody, in money and in tokens."""
    for caller in ("ada", "bob"):
        await issued(pool, caller, tenant="acme")
    await RunStore(pool).write(filed(ended(5), ended(6, caller="bob"), ended(7, caller="eve")))
    assert await spent(pool, Account("tenant", "acme", "usd")) == (2 * NANO, 2 * NANO)
    assert await spent(pool, Account("global", "", "usd")) == (3 * NANO, 3 * NANO)
    usage = closing().usage
    tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    assert await spent(pool, ADA._replace(unit="tokens")) == (tokens, tokens)


async def test_what_did_not_cost_anything_here(pool: Pool) -> None:
    """Replays and imported runs cost nothing here; of a run whose cost is not known its lanes' known costs count."""
    unknown = ended(5, None)
    lanes = {"fast": lane("fast", cost_usd=0.25), "slow": lane("slow", cost_usd=None)}
    known = replace(unknown, lanes=lanes)
    await RunStore(pool).write(filed(ended(6, source="cache"), ended(7, source="import"), known))
    assert await spent(pool) == (NANO // 4, NANO // 4)


async def test_an_instance_leaves_out_its_own(pool: Pool) -> None:
    """What an instance has run itself, or what was opened after a moment, is left out where that is counted already."""
    await RunStore(pool).write(filed(ended(5, instance="me"), ended(600, instance="other")))
    assert await spent(pool, but_of="me") == (NANO, NANO)
    assert await spent(pool, opened_before=NOW.timestamp() - 60) == (NANO, NANO)
