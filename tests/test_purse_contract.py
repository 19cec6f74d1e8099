"""What is held and spent, in this process and in Redis alike: the rules of a purse."""

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from cells import rows
from purses import A_DOLLAR_AN_HOUR, A_SET_CLOCK, NOW, TWO_A_DAY, USD, Memory, Shared, hold
from redises import RedisServer

from app.admission.allowance import NANO, Limit
from app.admission.purse import SWEEP, Account, Ask, MemoryPurse, Settlement, SharedPurse
from app.redis.client import Client
from app.redis.purse import RedisPurse

HALF = NANO // 2
TENANT = Account("tenant", "acme", "usd")


@pytest_asyncio.fixture(params=["memory", "redis"])
async def purse(request: pytest.FixtureRequest) -> AsyncIterator[SharedPurse]:
    """An empty purse of either kind."""
    if request.param == "memory":
        yield Memory()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    async with Client(server.url, "t") as client:
        yield Shared(client)


async def stands(purse: SharedPurse, now: float = NOW, account: Account = USD) -> tuple[int, int, int]:
    """What an account spent in an hour, in a day, and what it holds."""
    (standing,) = await purse.standing([account], now)
    return standing.spent["hour"], standing.spent["day"], standing.held


async def test_what_is_held_counts(purse: SharedPurse) -> None:
    """Two halves fill a limit; a third is told what is held, and to come again in a moment."""
    assert [await purse.reserve(hold(HALF), NOW) for _ in range(2)] == [None, None]
    short = await purse.reserve(hold(HALF), NOW)
    assert short is not None
    assert (short.account, short.limit, short.spent, short.held) == (USD, A_DOLLAR_AN_HOUR, 0, NANO)
    assert short.retry_after_s == 2
    assert await stands(purse) == (0, 0, NANO)


async def test_what_was_spent_takes_the_place_of_what_was_held(purse: SharedPurse) -> None:
    """A settled run leaves what it spent, more or less than was held, and nothing is held any more."""
    for amount, spent in ((HALF, 10), (HALF, 0), (HALF, NANO)):
        kept = hold(amount)
        assert await purse.reserve(kept, NOW) is None
        await purse.settle([Settlement(kept, (spent,), NOW)], NOW)
    assert await stands(purse) == (NANO + 10, NANO + 10, 0)


async def test_a_second_settlement_does_nothing(purse: SharedPurse) -> None:
    """A run that is settled twice, as after a reply that was lost, has spent once."""
    kept = hold(HALF)
    await purse.reserve(kept, NOW)
    for _ in range(2):
        await purse.settle([Settlement(kept, (7,), NOW)], NOW)
    assert await stands(purse) == (7, 7, 0)


async def test_what_nobody_settles_in_time_is_spent(purse: SharedPurse) -> None:
    """What a server held that died is spent from when its run could not go on any more, and for an hour, no longer."""
    assert await purse.reserve(hold(NANO, until=NOW + 30), NOW) is None
    assert await stands(purse, NOW + 29) == (0, 0, NANO)
    assert await purse.reserve(hold(1, until=NOW + 99), NOW + 31) is not None
    assert await stands(purse, NOW + 31) == (NANO, NANO, 0)
    assert await purse.reserve(hold(1), NOW + 3659) is not None
    assert await purse.reserve(hold(1, until=NOW + 3700), NOW + 3660) is None


async def test_a_late_settlement_takes_the_place_of_the_estimate(purse: SharedPurse) -> None:
    """What a run really spent counts when it is told after all, once, and takes nothing from what others hold."""
    late = hold(HALF, until=NOW + 1)
    await purse.reserve(late, NOW)
    assert await purse.reserve(hold(HALF), NOW + 2) is None
    assert await stands(purse, NOW + 2) == (HALF, HALF, HALF)
    for _ in range(2):
        await purse.settle([Settlement(late, (9,), NOW + 120)], NOW + 120)
    assert await stands(purse, NOW + 120) == (HALF + 9, HALF + 9, 0)


async def test_a_settlement_waits_for_its_purse(purse: SharedPurse) -> None:
    """What was settled while the purse was away counts for when it was, not for when that was told."""
    kept = hold(HALF, until=NOW + 9999)
    await purse.reserve(kept, NOW)
    await purse.settle([Settlement(kept, (7,), NOW + 60)], NOW + 1800)
    assert await stands(purse, NOW + 3719) == (7, 7, 0)
    assert await stands(purse, NOW + 3720) == (0, 7, 0)


async def test_a_late_settlement_of_long_ago(purse: SharedPurse) -> None:
    """What is settled when neither the estimate nor the hour of it counts any more takes nothing from what does."""
    late = hold(HALF, until=NOW + 1)
    await purse.reserve(late, NOW)
    assert await stands(purse, NOW + 4000) == (0, HALF, 0)
    await purse.settle([Settlement(late, (9,), NOW + 1)], NOW + 4000)
    assert await stands(purse, NOW + 4000) == (0, 9, 0)


async def test_who_is_short_in_one_account_holds_nothing_in_any(purse: SharedPurse) -> None:
    """An amount is held in all its accounts or in none."""
    full = hold(NANO, account=TENANT)
    await purse.reserve(full, NOW)
    short = await purse.reserve(hold(1, others=[Ask(TENANT, 1, (A_DOLLAR_AN_HOUR,))]), NOW)
    assert short is not None
    assert short.account == TENANT
    assert await stands(purse) == (0, 0, 0)


async def test_an_hour_slides_by_minutes(purse: SharedPurse) -> None:
    """What was spent stays spent for a whole hour and at most a minute more, and the refusal says until when."""
    kept = hold(NANO)
    await purse.reserve(kept, NOW)
    await purse.settle([Settlement(kept, (NANO,), NOW + 59)], NOW + 59)
    short = await purse.reserve(hold(1), NOW + 60)
    assert short is not None
    assert short.retry_after_s == 3600
    assert await purse.reserve(hold(1), NOW + 3659) is not None
    assert await purse.reserve(hold(1), NOW + 3660) is None


async def test_a_day_slides_by_hours(purse: SharedPurse) -> None:
    """A limit of a day holds beside one of an hour, for a day and at most an hour more."""
    for hour in range(2):
        kept = hold(NANO, A_DOLLAR_AN_HOUR, TWO_A_DAY)
        assert await purse.reserve(kept, NOW + 7200 * hour) is None
        await purse.settle([Settlement(kept, (NANO,), NOW + 7200 * hour)], NOW + 7200 * hour)
    short = await purse.reserve(hold(1, A_DOLLAR_AN_HOUR, TWO_A_DAY), NOW + 14_400)
    assert short is not None
    assert (short.limit, short.spent, short.retry_after_s) == (TWO_A_DAY, 2 * NANO, 25 * 3600 - 14_400)
    assert await purse.reserve(hold(1, A_DOLLAR_AN_HOUR, TWO_A_DAY), NOW + 25 * 3600) is None


@rows(("most", "amount"), [(NANO, NANO + 1), (0, 0)])
async def test_what_never_fits_is_told_so(purse: SharedPurse, most: int, amount: int) -> None:
    """Nobody is told to wait for what is never allowed: more than a limit, and anything where nothing is."""
    short = await purse.reserve(hold(amount, Limit("usd", "hour", most)), NOW)
    assert short is not None
    assert short.retry_after_s is None


async def test_nothing_more_once_a_limit_is_reached(purse: SharedPurse) -> None:
    """A run that is estimated to cost nothing is refused too when the money is spent."""
    kept = hold(HALF)
    await purse.reserve(kept, NOW)
    assert await purse.reserve(hold(0), NOW) is None
    await purse.settle([Settlement(kept, (NANO,), NOW)], NOW)
    assert await purse.reserve(hold(0), NOW) is not None


async def test_the_past_counts(purse: SharedPurse) -> None:
    """What was spent before there was this purse counts; what is learnt later takes the place of what was learnt."""
    minute, hour = int(NOW // 60), int(NOW // 3600)
    for spent in (NANO, HALF):
        await purse.learn({USD: {"hour": {minute - 30: spent, minute - 61: 5}, "day": {hour: spent, hour - 25: 5}}})
    assert await stands(purse) == (HALF, HALF, 0)
    short = await purse.reserve(hold(HALF + 1), NOW)
    assert short is not None
    assert (short.spent, short.retry_after_s) == (HALF, 31 * 60)


async def test_a_reservation_that_comes_after_its_settlement_holds_nothing(purse: SharedPurse) -> None:
    """A reservation that was given up while it was on its way holds nothing when it arrives."""
    kept = hold(HALF)
    await purse.settle([Settlement(kept, (0,), NOW)], NOW)
    await purse.reserve(kept, NOW)
    assert await stands(purse) == (0, 0, 0)


async def test_accounts_are_apart(purse: SharedPurse) -> None:
    """What one caller holds is no other's, nor is it of another unit or scope."""
    await purse.reserve(hold(NANO), NOW)
    for other in (but(id="bob"), but(unit="tokens"), but(scope="tenant")):
        assert await purse.reserve(hold(NANO, account=other), NOW) is None


def but(**changes: str) -> Account:
    """Ada's account of money, changed."""
    return USD._replace(**changes)  # type: ignore[arg-type]


def test_a_sweep_frees_nothing_before_its_time() -> None:
    """A run that may last long takes nothing of what is held for shorter ones, however many accounts there are."""
    purse, shorter = MemoryPurse(), hold(HALF)
    purse.keep(shorter, NOW)
    for number in range(SWEEP):
        purse.keep(hold(HALF, account=Account("caller", f"c{number}", "usd"), until=NOW + 3600), NOW)
    assert purse.held == SWEEP + 1


async def test_a_forgetful_redis_lends_nothing(redis_server: RedisServer) -> None:
    """A Redis that forgot how much is held, as when it is short of memory, takes nothing off it that is not there."""
    async with Client(redis_server.url, "t") as client:
        purse, kept = Shared(client), (hold(HALF), hold(HALF, until=NOW + 1))
        for each in kept:
            await purse.reserve(each, NOW)
        await client.call("DEL", purse.purse._names(USD)[0], timeout_s=1.0)
        await purse.settle([Settlement(kept[0], (0,), NOW)], NOW)
        assert await stands(purse, NOW + 2) == (HALF, HALF, 0)


async def test_nobodys_clock_matters(redis_server: RedisServer) -> None:
    """Two instances whose clocks are ten minutes apart hold, spend and wait by one clock, that of Redis."""
    async with Client(redis_server.url, "t") as client:
        at = Shared(client)
        early, right, late = (RedisPurse(client, 1.0, clock=A_SET_CLOCK) for _ in range(3))
        await at.set(NOW)
        slow, fast = hold(HALF, until=NOW - 600 + 30), hold(HALF, until=NOW + 600 + 30)
        assert await early.reserve(slow, NOW - 600) is None
        assert await late.reserve(fast, NOW + 600) is None
        await at.set(NOW + 29)
        assert (await right.standing([USD], NOW + 29))[0].held == NANO
        await early.settle([Settlement(slow, (HALF,), NOW - 600 + 29)], NOW - 600 + 29)
        await late.settle([Settlement(fast, (HALF,), NOW + 600 + 29)], NOW + 600 + 29)
        for skew in (-600, 600):
            short = await early.reserve(hold(1, until=NOW + skew + 60), NOW + 29 + skew)
            assert short is not None
            assert short.retry_after_s == 61 * 60 - 29
        assert await early.began() == (NOW + 29, NOW + 29)


async def test_the_clock_of_a_real_redis(redis_server: RedisServer) -> None:
    """Without being told otherwise a purse goes by the time of its Redis, whatever its caller takes it for."""
    async with Client(redis_server.url, "t") as client:
        purse = RedisPurse(client, 1.0)
        kept = hold(HALF, until=60.0)
        assert await purse.reserve(kept, 0.0) is None
        began, now = await purse.began()
        assert began == now == pytest.approx(time.time(), abs=60)
        await purse.settle([Settlement(kept, (7,), 1.0)], 1.0)
        (standing,) = await purse.standing([USD], 1.0)
        assert (standing.spent["hour"], standing.held) == (7, 0)
