"""One run for a question, over all instances; and stopping it from wherever one is."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from fleets import FRIEND, IMMORTAL, OPENER, QUICK, STRANGER, Fleet, Instance, finish, fleet, flight, key, until

from app.errors import NothingToAccept, RunNotLive, RunShared
from app.reasoning.elsewhere import Flight, Used
from app.redis.flights import Flights
from app.redis.pace import Pace


@pytest.fixture
async def others(redis_url: str) -> AsyncIterator[Fleet]:
    """Instances over a healthy Redis."""
    async with fleet(redis_url, IMMORTAL) as instances:
        yield instances


@pytest.fixture
async def mortals(redis_url: str) -> AsyncIterator[Fleet]:
    """Instances that are soon taken for dead."""
    async with fleet(redis_url) as instances:
        yield instances


def wanted(run_id: str = "new") -> Flight:
    """A flight that is asked for."""
    return Flight(run_id, time.time() + 5, "experiment", "variant")


def about(flight: Flight, skew_s: float = 0.0) -> Flight:
    """A flight as another instance is told of it: its deadline on that one's clock, on a busy machine."""
    deadline_at = pytest.approx(flight.deadline_at + skew_s, abs=1.0)
    return flight._replace(deadline_at=deadline_at)  # type: ignore[arg-type]  # compares as a number


async def claimed(by: Instance) -> None:
    """Return once that instance has the question that another one gives back: Redis is told of that in a moment."""
    async with asyncio.timeout(2):
        while await by.others.claim(key(), wanted()) is not None:  # noqa: ASYNC110  # as who asks again would
            await asyncio.sleep(0.01)


# -- claims


@pytest.mark.parametrize("skew_s", [-5.0, 5.0])
async def test_clocks_that_differ(skew_s: float, others: Fleet) -> None:
    """How long a flight has left does not depend on whether the clocks of two instances agree."""
    a = await others.instance()
    ours = wanted("ours")
    await a.others.claim(key(), ours)
    skewed = Flights(a.client, "skewed", IMMORTAL, lambda: time.time() + skew_s)
    assert await skewed.claim(key(), wanted()._replace(deadline_at=ours.deadline_at)) == about(ours, skew_s)


async def test_first_come(others: Fleet) -> None:
    """The first to claim a question has it, and everybody else is told of it, as it was said."""
    a, b = await others.instance(), await others.instance()
    ours = wanted("ours")
    assert await a.others.claim(key(), ours) is None
    assert await b.others.claim(key(), wanted()) == about(ours)
    assert await a.others.claim(key(), wanted()) == about(ours)
    assert await b.others.claim(key("0" * 64), wanted()) is None
    assert await b.others.claim(key()._replace(scope="caller:x"), wanted()) is None


async def test_claims_at_once(others: Fleet) -> None:
    """Of many that claim a question at once, one has it."""
    a, b = await others.instance(), await others.instance()
    claims = [side.others.claim(key(), wanted(f"{n} {side}")) for n in range(20) for side in (a, b)]
    told = await asyncio.gather(*claims)
    assert sum(one is None for one in told) == 1
    assert len({one.run_id for one in told if one is not None}) == 1


async def test_given_back(others: Fleet) -> None:
    """A claim whose run was not opened is the next one's; one that is not ours cannot be given back."""
    a, b = await others.instance(), await others.instance()
    await a.others.claim(key(), wanted("ours"))
    await b.others.unclaim(key(), wanted("ours"))
    await asyncio.sleep(0.03)
    assert await b.others.claim(key(), wanted()) is not None
    await a.others.unclaim(key(), wanted("ours"))
    await claimed(b)


async def test_no_longer_ours(others: Fleet) -> None:
    """A claim that another instance has taken meanwhile is not given back with ours."""
    a, b = await others.instance(), await others.instance()
    await a.others.claim(key(), wanted("ours"))
    (name,) = await a.client.call("KEYS", "t:flight:*", timeout_s=1)
    await a.client.call("DEL", name, timeout_s=1)
    theirs = wanted("theirs")
    assert await b.others.claim(key(), theirs) is None
    await a.others.unclaim(key(), wanted("ours"))
    await asyncio.sleep(0.03)
    assert await a.others.claim(key(), wanted()) == about(theirs)


@pytest.mark.parametrize("stopped", [True, False])
async def test_over(others: Fleet, stopped: bool) -> None:
    """A run that has ended, or is being stopped, is shared with nobody any more; one that lives is."""
    a, b = await others.instance(), await others.instance()
    run = a.open()
    assert await a.others.claim(key(), flight(run)) is None
    await asyncio.sleep(0.04)
    assert await b.others.claim(key(), wanted("b")) is not None
    if stopped:
        run.stop("cancelled")
    else:
        finish(run)
    await claimed(b)


async def test_held_while_it_lives(mortals: Fleet) -> None:
    """A claim outlasts many leases while its instance lives."""
    a, b = await mortals.instance(), await mortals.instance()
    ours = wanted("ours")
    await a.others.claim(key(), ours)
    for _ in range(10):
        await asyncio.sleep(0.04)
        assert await b.others.claim(key(), wanted()) == about(ours)


async def test_taken_over(mortals: Fleet) -> None:
    """What a dead instance had claimed is the next one's as soon as its lease has run out."""
    a, b = await mortals.instance(), await mortals.instance()
    ours = wanted("ours")
    await a.others.claim(key(), ours)
    await a.die()
    assert await b.others.claim(key(), wanted("b")) == about(ours)
    async with asyncio.timeout(1):
        while await b.others.claim(key(), wanted("b")) is not None:  # noqa: ASYNC110  # as who asks again would
            await asyncio.sleep(0.01)
    assert (await a.others.claim(key(), ours)) is None


async def test_left_in_order(others: Fleet) -> None:
    """An instance that shuts down leaves no claim behind: its lease goes with it."""
    a, b = await others.instance(), await others.instance()
    await a.others.claim(key(), wanted("ours"))
    await a.others.__aexit__(None, None, None)
    assert await b.others.claim(key(), wanted("b")) is None


async def test_joined_the_moment_it_is_claimed(others: Fleet) -> None:
    """A run may be joined as soon as it is claimed, before its instance has shown it."""
    a, b = await others.instance(), await others.instance()
    run = a.open()
    await a.others.claim(key(), flight(run))
    joined = await b.others.claim(key(), wanted())
    assert joined is not None
    assert await b.others.tail(joined.run_id, FRIEND, guest=True) is not None


# -- idempotency keys


async def test_first_use(others: Fleet) -> None:
    """The first use of an idempotency key is the same for all instances, and each caller has keys of its own."""
    a, b = await others.instance(), await others.instance()
    first, second = Used("1", "f"), Used("2", "g")
    assert await a.others.first(OPENER, "k", first) == first
    assert await b.others.first(OPENER, "k", second) == first
    assert await b.others.first(STRANGER, "k", second) == second


# -- stopping


async def test_cancelled_from_elsewhere(others: Fleet) -> None:
    """Who opened a run may cancel it on any instance, also again when it has ended."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    assert await b.others.stop(run.run_id, OPENER, "cancelled") is False
    assert run.stopping.result() == "cancelled"
    finish(run)
    await until(lambda: not a.others.state["shown"])
    assert await b.others.stop(run.run_id, OPENER, "cancelled") is True


async def test_accepted_from_elsewhere(others: Fleet) -> None:
    """The preliminary may be accepted on any instance, when there is one and the run has not ended."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    with pytest.raises(NothingToAccept):
        await b.others.stop(run.run_id, OPENER, "accepted")
    run.acceptable = True
    assert await b.others.stop(run.run_id, OPENER, "accepted") is False
    assert run.stopping.result() == "accepted"
    finish(run)
    await until(lambda: not a.others.state["shown"])
    with pytest.raises(NothingToAccept):
        await b.others.stop(run.run_id, OPENER, "accepted")


async def test_shared_runs_are_not_stopped(others: Fleet) -> None:
    """A run with a guest on one instance is cancelled from no other, and never by the guest."""
    a, b, c = [await others.instance() for _ in range(3)]
    run = await a.show()
    mirror = await b.others.tail(run.run_id, FRIEND, guest=True)
    assert mirror is not None
    guest = mirror.attach(guest=True)
    await until(lambda: run.guests)
    for side in (b, c):
        for caller in (OPENER, FRIEND):
            with pytest.raises(RunShared):
                await side.others.stop(run.run_id, caller, "cancelled")
    guest.close()
    await until(lambda: not run.guests)
    with pytest.raises(RunShared):
        await c.others.stop(run.run_id, FRIEND, "cancelled")
    assert await c.others.stop(run.run_id, OPENER, "cancelled") is False


async def test_strangers_stop_nothing(others: Fleet) -> None:
    """A run that is not the caller's is as unknown as one that is not there."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    assert await b.others.stop(run.run_id, STRANGER, "cancelled") is None
    assert await b.others.stop("0190", OPENER, "cancelled") is None
    assert not run.stopping.done()


async def test_owners_that_do_not_answer(redis_url: str) -> None:
    """Who stops a run of an instance that is dead, or that does not answer, is told so in time."""
    patient = Pace(tick_s=0.01, idle_s=0.02, answer_s=1.0, lease_s=30.0)
    async with fleet(redis_url, patient) as others:
        a, b = await others.instance(), await others.instance()
        run = await a.show()
        await a.die()
        with pytest.raises(RunNotLive):
            await b.others.stop(run.run_id, OPENER, "cancelled")
        await b.client.call("DEL", "t:instance:A", timeout_s=1)
        began = time.monotonic()
        with pytest.raises(RunNotLive):
            await b.others.stop(run.run_id, OPENER, "cancelled")
        assert time.monotonic() - began < patient.answer_s


async def test_runs_the_owner_has_forgotten(others: Fleet) -> None:
    """A run whose owner does not know it any more is unknown, though Redis still has it."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    a.registry.runs.clear()
    assert await b.others.stop(run.run_id, OPENER, "cancelled") is None


def test_paces_fit() -> None:
    """The times that depend on each other do, in the tests as in the product."""
    for pace in (Pace(), QUICK):
        assert pace.lease_s / 4 < pace.patience_s
        assert pace.hold_s / 3 < pace.patience_s
        assert pace.tick_s <= pace.idle_s < pace.arrival_s
