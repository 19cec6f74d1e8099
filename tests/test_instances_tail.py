"""Reading a run on another instance than the one it lives on."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from fleets import FRIEND, IMMORTAL, OPENER, QUICK, STRANGER, Fleet, finish, fleet, say, until
from races import read

from app.errors import RunNotLive
from app.redis import shown


@pytest.fixture
async def others(redis_url: str) -> AsyncIterator[Fleet]:
    """Instances over a healthy Redis."""
    async with fleet(redis_url, IMMORTAL) as instances:
        yield instances


async def test_read_while_written(others: Fleet) -> None:
    """A run that is read elsewhere while it is written is equal to the byte."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    mirror = await b.others.tail(run.run_id, OPENER)
    assert mirror is not None
    reading = asyncio.create_task(read(mirror.attach()))
    for number in range(20):
        say(run, f"{number}", "ü", "\u2028")
        await asyncio.sleep(0.003)
    finish(run)
    assert await reading == run.since(0)


async def test_read_after_the_end(others: Fleet) -> None:
    """A run that has ended may still be read elsewhere, whole, and its mirror has ended at once."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    finish(run)
    await until(lambda: not len(a.others._relay))
    mirror = await b.others.tail(run.run_id, OPENER)
    assert mirror is not None
    assert (mirror.closed, mirror.interrupted, mirror.since(0)) == (True, False, run.since(0))


async def test_a_mirror_is_as_its_run(others: Fleet) -> None:
    """A mirror tells of its run what a log tells: whose it is, its fingerprint, its source."""
    a, b = await others.instance(), await others.instance()
    run = await a.show(started=False)
    mirror = await b.others.tail(run.run_id, OPENER)
    assert mirror is not None
    assert (mirror.caller, mirror.fingerprint, mirror.source) == (OPENER, "f" * 64, "live")


async def test_resume_behind_an_event(others: Fleet) -> None:
    """A reader that saw event n elsewhere gets what is behind it, with no gap and no duplicate."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    say(run, "a", "b", "c")
    mirror = await b.others.tail(run.run_id, OPENER, after=2)
    assert mirror is not None
    reader = mirror.attach(2)
    finish(run)
    assert await read(reader) == run.since(run.begin_of(3))


async def test_what_was_seen_is_waited_for(others: Fleet) -> None:
    """A reader that has seen more than has come is not let in before it has come."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    tail = asyncio.create_task(b.others.tail(run.run_id, OPENER, after=3))
    await asyncio.sleep(0.04)
    assert not tail.done()
    say(run, "a", "b", "c")
    mirror = await tail
    assert mirror is not None
    assert len(mirror) == 4


async def test_what_was_seen_may_never_come(others: Fleet) -> None:
    """A reader that has seen what does not come is told to ask again, in time."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    b.others._mirrors._pace = replace(IMMORTAL, arrival_s=0.05)  # only theirs: the run itself is to be found
    with pytest.raises(RunNotLive):
        await b.others.tail(run.run_id, OPENER, after=99)


async def test_known_though_not_shown(others: Fleet) -> None:
    """A run of another instance is known here to who may read it, and to nobody else, also when nothing is shown; for
    its record, which a guest does not have, to who opened it.
    """
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    run.admit(FRIEND)
    await until(lambda: a.others._relay._shown[run.run_id].admitted)
    await b.others.drain(0)
    assert await b.others.tail(run.run_id, OPENER) is None
    callers = (OPENER, FRIEND, STRANGER)
    assert [await b.others.knows(run.run_id, caller, guest=True) for caller in callers] == [True, True, False]
    assert [await b.others.knows(run.run_id, caller) for caller in callers] == [True, False, False]


async def test_many_readers_one_mirror(redis_url: str) -> None:
    """Two hundred readers on one instance share one mirror and read the same bytes, with no task for each."""
    async with fleet(redis_url, replace(IMMORTAL, linger_s=5.0)) as others:  # for as long as two hundred ask
        await _share_a_mirror(others)


async def _share_a_mirror(others: Fleet) -> None:
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    mirrors = await asyncio.gather(*(b.others.tail(run.run_id, OPENER) for _ in range(200)))
    assert len({id(mirror) for mirror in mirrors}) == 1
    before = asyncio.all_tasks()
    readings = [asyncio.create_task(read(mirror.attach())) for mirror in mirrors if mirror is not None]
    say(run, "a")
    await asyncio.sleep(0.03)
    assert len(asyncio.all_tasks() - before - set(readings)) < 20  # now and then one that opens a connection
    finish(run)
    assert set(await asyncio.gather(*readings)) == {run.since(0)}


async def test_publishing_is_not_reading(others: Fleet) -> None:
    """A run that is shown has no reader for that, and does not live longer for it."""
    a = await others.instance()
    run = await a.show()
    assert run.readers == 0
    finish(run)
    await until(lambda: not len(a.others._relay))


async def test_large_logs(others: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log, and an event, that is larger than what is sent at once arrives whole."""
    monkeypatch.setattr(shown, "BLOCK_BYTES", 5000)
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    say(run, *("word" for _ in range(300)))
    say(run, "x" * 20_000, *("y" for _ in range(100)))
    finish(run)
    mirror = await b.others.tail(run.run_id, OPENER)
    assert mirror is not None
    assert await read(mirror.attach()) == run.since(0)


async def test_nobody_elsewhere_can_tell(others: Fleet) -> None:
    """A run that nobody knows has no mirror."""
    b = await others.instance()
    assert await b.others.tail("0190", OPENER) is None


# -- who may read


async def test_strangers(others: Fleet) -> None:
    """A run is another caller's to read only from when it attaches with an identical question."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    for caller in (STRANGER, FRIEND):
        assert await b.others.tail(run.run_id, caller) is None
    assert await b.others.tail(run.run_id, OPENER) is not None
    assert await b.others.tail(run.run_id, STRANGER) is None
    assert await b.others.tail(run.run_id, FRIEND, guest=True) is not None
    assert await b.others.tail(run.run_id, FRIEND) is not None
    assert await b.others.tail(run.run_id, STRANGER) is None


async def test_guests_come_back_anywhere(others: Fleet) -> None:
    """A caller that attached on one instance may come back on any, the owner's included."""
    a, b, c = [await others.instance() for _ in range(3)]
    run = await a.show()
    await b.others.tail(run.run_id, FRIEND, guest=True)
    assert await c.others.tail(run.run_id, FRIEND) is not None
    assert a.registry.find(run.run_id, FRIEND) is None
    assert await a.others.tail(run.run_id, FRIEND) is run
    assert await a.others.tail(run.run_id, STRANGER) is None


async def test_guests_of_the_owner_come_back_elsewhere(others: Fleet) -> None:
    """A caller that attached where the run lives may come back elsewhere, also when that was all that was new."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    run.admit(FRIEND)
    await until(lambda: a.others._relay._shown[run.run_id].admitted)
    assert await b.others.tail(run.run_id, FRIEND) is not None


# -- what the owner knows


async def test_readers_elsewhere_keep_a_run(others: Fleet) -> None:
    """A run that is read elsewhere goes on when its last reader here leaves, and ends when that one has left too."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    here = run.attach()
    mirror = await b.others.tail(run.run_id, OPENER)
    assert mirror is not None
    there = mirror.attach()
    await until(lambda: run.readers == 2)
    here.close()
    await asyncio.sleep(0.04)
    assert (run.readers, run.stopping.done()) == (1, False)
    there.close()
    assert await asyncio.wait_for(run.stopping, 10) == "client_gone"


async def test_being_read_is_said_again(redis_url: str) -> None:
    """A run stays known as read elsewhere for as long as it is, and no longer when that instance has died."""
    async with fleet(redis_url, replace(IMMORTAL, lease_s=QUICK.lease_s)) as mortals:
        await _said_again(mortals)


async def _said_again(mortals: Fleet) -> None:
    a, b = await mortals.instance(), await mortals.instance()
    run = await a.show()
    mirror = await b.others.tail(run.run_id, OPENER)
    assert mirror is not None
    mirror.attach()
    await until(lambda: run.readers)
    for _ in range(10):
        await asyncio.sleep(0.04)
        assert run.readers == 1
    await b.die()
    await until(lambda: not run.readers)


async def test_unread_mirrors_go(others: Fleet) -> None:
    """A mirror that nobody reads is forgotten, while its run lives and after."""
    a, b = await others.instance(), await others.instance()
    for ended in (False, True):
        run = await a.show()
        if ended:
            finish(run)
        mirror = await b.others.tail(run.run_id, OPENER)
        assert mirror is not None
        mirror.attach().close()
        await until(lambda: not b.others.state["mirrors"])
        assert run.readers == 0


async def test_guests_elsewhere_are_guests(others: Fleet) -> None:
    """A guest on another instance is a guest of the run for as long as it reads; who opened the run is none."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    mirror = await b.others.tail(run.run_id, OPENER)
    assert mirror is not None
    mirror.attach()
    await until(lambda: run.readers)
    assert run.guests == 0
    await b.others.tail(run.run_id, FRIEND, guest=True)
    guest = mirror.attach(guest=True)
    await until(lambda: run.guests)
    await asyncio.sleep(0.04)
    guest.close()
    await until(lambda: not run.guests)
    assert (run.readers, run.stopping.done()) == (1, False)


@pytest.mark.parametrize("finishes", [True, False])
async def test_guests_may_want_the_rest(others: Fleet, finishes: bool) -> None:
    """A run goes on without readers when a guest elsewhere wants it to."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    mirror = await b.others.tail(run.run_id, FRIEND, guest=True, finish=finishes)
    assert mirror is not None
    reader = mirror.attach(guest=True)
    await until(lambda: run.readers)
    reader.close()
    await until(lambda: not run.readers)
    await asyncio.sleep(0.01)
    await until(lambda: run.stopping.done() is not finishes)


async def test_what_ends_leaves_nothing(others: Fleet) -> None:
    """A run that was read elsewhere and has ended has no reader left, and no instance speaks of it."""
    a, b = await others.instance(), await others.instance()
    run = await a.show()
    mirror = await b.others.tail(run.run_id, OPENER)
    assert mirror is not None
    reading = asyncio.create_task(read(mirror.attach()))
    await until(lambda: run.readers)
    finish(run)
    assert (await reading).endswith(b"\n\n")
    await until(lambda: not run.readers and not b.others.state["mirrors"])
    assert (a.others.state["shown"], a.others.state["read_elsewhere"]) == (0, 0)
