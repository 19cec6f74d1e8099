"""The gate that protects the server: who waits, who is let in, who is told what; and how its timer sees the strain."""

import asyncio
import sys
from collections.abc import Awaitable
from typing import Any

import pytest
from clock import jump
from races import ALICE, question

from app.admission.gate import Free, Gates, Pass, Spent
from app.admission.load import VISIT, Capacity, Load, Visit
from app.admission.queue import STANDING_S
from app.admission.streams import Streams
from app.errors import (
    BudgetExceeded,
    Overloaded,
    QueueFull,
    QueueTimeout,
    ShuttingDown,
    StartupError,
    TooManyStreams,
)
from app.question import Caller, Grant, Question
from app.settings import Settings
from app.telemetry.lag import LOOK_S, Lag
from app.wiring import load as wiring

BOB = Caller("bob")
NOTHING = Spent(0, 0)


def gate(races: int = 1, length: int = 10, timeout_s: float = 5.0) -> Load:
    """A gate before so many races."""
    return Load(Capacity(races, length, timeout_s))


def entering(load: Load, caller: Caller = ALICE, deadline_s: float = 60.0) -> asyncio.Task[Pass]:
    """Somebody who asks to be let in."""
    return asyncio.create_task(_enter(load, caller, question(deadline_s=deadline_s)))


async def _enter(load: Load, caller: Caller, asked: Question) -> Pass:
    return await load.enter(caller, asked)


async def refused(waiting: Awaitable[Any]) -> type[BaseException]:
    """How it was refused."""
    with pytest.raises((Overloaded, QueueFull, QueueTimeout, ShuttingDown)) as caught:
        await waiting
    return caught.type


def test_who_waits_is_let_in_when_a_race_ends() -> None:
    """A question that finds no place waits for one and tells how long; whoever finds one has not waited."""

    async def main() -> None:
        """The test, on a clock that jumps."""
        load = gate()
        first = await load.enter(ALICE, question())
        second = entering(load)
        await asyncio.sleep(1.5)
        assert (load.racing, load.waiting) == (1, 1)
        first.settle(NOTHING)
        assert (first.queued_ms, (await second).queued_ms) == (0, 1500)
        (await second).settle(NOTHING)
        assert (load.racing, load.waiting) == (0, 0)

    jump(main())


def test_who_waits_too_long_is_told() -> None:
    """A question waits for QUEUE_TIMEOUT_S or its own deadline, whichever comes first."""

    async def main() -> None:
        """The test, on a clock that jumps."""
        load, loop = gate(), asyncio.get_running_loop()
        held = await load.enter(ALICE, question())
        began = loop.time()
        hasty, patient = entering(load, deadline_s=2), entering(load)
        assert await refused(hasty) is QueueTimeout
        assert loop.time() - began == pytest.approx(2)
        assert await refused(patient) is QueueTimeout
        assert loop.time() - began == pytest.approx(5)
        assert load.refused == {"queue_timeout": 2}
        held.settle(NOTHING)

    jump(main())


def test_a_long_line_sends_away_at_once() -> None:
    """Where as many wait as may, the next is told without a wait, and a flood makes room for somebody else."""

    async def main() -> None:
        """The test, on a clock that jumps."""
        load, loop = gate(length=2), asyncio.get_running_loop()
        held = await load.enter(ALICE, question())
        began = loop.time()
        waiting = [entering(load) for _ in range(3)]
        assert await refused(waiting[2]) is QueueFull
        other = entering(load, BOB)
        assert await refused(waiting[1]) is QueueFull
        assert loop.time() == began
        held.settle(NOTHING)
        (await waiting[0]).settle(NOTHING)
        (await other).settle(NOTHING)

    jump(main())


def test_a_standing_line_tells_everybody_soon() -> None:
    """Once the line has stood for QUEUE_TIMEOUT_S nobody who comes waits longer than a moment."""

    async def main() -> None:
        """The test, on a clock that jumps."""
        load, loop = gate(timeout_s=1.0), asyncio.get_running_loop()
        held = await load.enter(ALICE, question())
        old = [entering(load)]
        for _ in range(9):
            await asyncio.sleep(0.125)
            old.append(entering(load))
        for _ in range(3):
            began = loop.time()
            assert await refused(load.enter(ALICE, question())) is QueueTimeout
            assert loop.time() - began == pytest.approx(STANDING_S)
        assert {await refused(each) for each in old} == {QueueTimeout}
        held.settle(NOTHING)

    jump(main())


def test_waiting_before_the_gate_counts() -> None:
    """The wait of a question began when its request came, wherever it was spent."""

    async def main() -> None:
        """The test, on a clock that jumps."""
        load, loop = gate(), asyncio.get_running_loop()
        held = await load.enter(ALICE, question())
        VISIT.set(Visit(loop.time() - 4))
        began = loop.time()
        assert await refused(load.enter(ALICE, question())) is QueueTimeout
        assert loop.time() - began == pytest.approx(1)
        held.settle(NOTHING)

    jump(main())


def test_who_leaves_is_not_waited_for() -> None:
    """A client that leaves is out of the line at once, also one that had left before."""

    async def main() -> None:
        """The test, on a clock that jumps."""
        load, loop = gate(), asyncio.get_running_loop()
        held = await load.enter(ALICE, question())
        lost: asyncio.Future[None] = loop.create_future()
        VISIT.set(Visit(loop.time(), lost))
        leaving, began = entering(load), loop.time()
        loop.call_later(0.5, lost.set_result, None)
        assert await refused(leaving) is QueueTimeout
        assert await refused(load.enter(ALICE, question())) is QueueTimeout
        assert loop.time() - began == pytest.approx(0.5)
        assert load.waiting == 0
        held.settle(NOTHING)

    jump(main())


def test_a_cancelled_wait_leaves_nothing() -> None:
    """Who is cancelled while it waits leaves the line; when it was let in just then, the place goes to the next."""

    async def main() -> None:
        """The test, on a clock that jumps."""
        load = gate()
        held = await load.enter(ALICE, question())
        unlucky, late, third = entering(load), entering(load), entering(load)
        await asyncio.sleep(0)
        late.cancel()
        await asyncio.wait([late])
        held.settle(NOTHING)  # unlucky has the place, and does not know it yet
        unlucky.cancel()
        await asyncio.wait([unlucky])
        assert unlucky.cancelled()
        (await third).settle(NOTHING)
        assert (load.racing, load.waiting) == (0, 0)

    jump(main())


def test_a_place_passes_over_who_is_being_cancelled() -> None:
    """A place that is free right after a wait was cancelled goes to whoever waits next, and none is lost."""

    async def main() -> None:
        """The test, on a clock that jumps."""
        load = gate()
        first = await load.enter(ALICE, question())
        second, third = entering(load), entering(load, BOB)
        await asyncio.sleep(1)
        second.cancel()
        first.settle(NOTHING)
        (await third).settle(NOTHING)
        assert second.cancelled()
        assert (load.racing, load.waiting) == (0, 0)

    jump(main())


def test_the_end_empties_the_line() -> None:
    """When the server drains, everybody who waits is told, and so is who comes later; live races keep their places."""

    async def main() -> None:
        """The test, on a clock that jumps."""
        load = gate()
        held = await load.enter(ALICE, question())
        waiting = [entering(load) for _ in range(3)]
        await asyncio.sleep(0)
        load.close()
        assert {await refused(each) for each in waiting} == {ShuttingDown}
        assert await refused(load.enter(ALICE, question())) is ShuttingDown
        held.settle(NOTHING)
        assert load.racing == 0

    jump(main())


def test_a_strained_server_begins_nothing() -> None:
    """While the server is strained nobody is let in, and it says why; what is live goes on, and so does who waits."""

    async def main() -> None:
        """The test, on a clock that jumps."""
        strain: list[str | None] = [None]
        load = Load(Capacity(1, 10, 5.0), lambda: strain[0])
        held, waiting = await load.enter(ALICE, question()), entering(load)
        await asyncio.sleep(0)
        strain[0] = "the server is 2.00 s late"
        with pytest.raises(Overloaded, match=r"2\.00 s late"):
            await load.enter(ALICE, question())
        held.settle(NOTHING)
        (await waiting).settle(NOTHING)
        strain[0] = None
        (await load.enter(ALICE, question())).settle(NOTHING)
        assert load.refused == {"overloaded": 1}

    jump(main())


def test_a_later_gate_gives_the_place_back() -> None:
    """Who is refused behind this gate holds no place."""

    class Poor:
        """A gate that lets nobody in."""

        async def enter(self, caller: Caller, question: Question) -> Free:  # noqa: ARG002  # as Gate has it
            raise BudgetExceeded("nothing is left")

    async def main() -> None:
        """The test, on a clock that jumps."""
        load = gate()
        for _ in range(3):
            with pytest.raises(BudgetExceeded):
                await Gates([load, Poor()]).enter(ALICE, question())
        assert load.racing == 0

    jump(main())


def test_three_thousand_in_disorder_leave_nothing() -> None:
    """After any mix of ends, refusals and cancels no place is taken, nobody waits, and no bound was passed."""

    async def main() -> None:
        """The test, on a clock that jumps."""
        load, most = gate(races=7, length=20, timeout_s=0.5), 0

        async def visitor(number: int) -> None:
            """Comes, stays or leaves, and goes."""
            nonlocal most
            await asyncio.sleep(number * 0.0037)
            admitted = await load.enter(Caller(str(number % 11), grant=Grant(priority=number % 10)), question())
            most = max(most, load.racing)
            try:
                await asyncio.sleep(number % 13 * 0.03)
            finally:
                admitted.settle(NOTHING)

        visitors = [asyncio.create_task(visitor(number)) for number in range(3000)]
        for number in range(0, 3000, 17):
            asyncio.get_running_loop().call_later(number * 0.0037 + 0.01, visitors[number].cancel)
        await asyncio.wait(visitors)
        told = [v.exception() for v in visitors if not v.cancelled()]
        assert {type(error) for error in told} == {type(None), QueueFull, QueueTimeout}
        assert (most, load.racing, load.waiting) == (7, 0, 0)

    jump(main())


def test_streams_of_one_caller_are_bounded() -> None:
    """A caller may have as many streams open as its grant says, or the server; another one has its own."""
    streams = Streams(2)
    rich, poor = Caller("rich", grant=Grant(streams=3)), Caller("poor")
    for who, most in ((rich, 3), (poor, 2)):
        for _ in range(most):
            streams.open(who)
        with pytest.raises(TooManyStreams, match=f"^{most} streams"):
            streams.open(who)
    streams.close(poor)
    streams.open(poor)
    assert streams.refused == 2
    Streams().open(poor)


def _lag(memory: list[int]) -> Lag:
    lag = Lag(lambda: memory[0])
    lag.begin()
    return lag


def test_a_late_loop_is_seen() -> None:
    """One late look is none; lateness that lasts is what the server feels, and one good look ends it."""

    async def main() -> None:
        """The test, on a clock that jumps."""
        lag, loop = _lag([7]), asyncio.get_running_loop()
        await asyncio.sleep(LOOK_S * 1.5)
        for late_s in (0.02, 0.03, 0.04):
            assert lag.now_s == pytest.approx(0)
            lag._due = loop.time() - late_s
            lag._look()
            lag.end()
        assert (lag.now_s, lag.p99_s) == pytest.approx((0.02, 0.04))
        lag._due = loop.time() + 1
        lag._look()
        lag.end()
        assert lag.now_s == 0

    jump(main())


def test_memory_is_looked_at_once_a_second() -> None:
    """The memory is read when the looking begins and then with every twentieth look; the timer ends with it."""

    async def main() -> None:
        """The test, on a clock that jumps."""
        memory = [100]
        lag = _lag(memory)
        memory[0] = 200
        await asyncio.sleep(0.9)
        assert lag.memory_bytes == 100
        await asyncio.sleep(0.2)
        assert lag.memory_bytes == 200
        lag.end()
        memory[0] = 300
        await asyncio.sleep(5)
        assert lag.memory_bytes == 200

    jump(main())


async def test_strain_is_lag_or_memory() -> None:
    """A server is strained while it is later than LOAD_MAX_LAG_S or holds more than LOAD_MAX_MEMORY_BYTES."""
    lag = _lag([50 << 20])
    lag.end()
    assert wiring.strain_of(lag, 0.5, None)() is None
    assert wiring.strain_of(lag, 0.5, 50 << 20)() is None
    assert "LOAD_MAX_MEMORY_BYTES" in str(wiring.strain_of(lag, 0.5, (50 << 20) - 1)())
    lag._lately.extend([0.6, 0.7, 0.8])
    assert "0.60 s late (LOAD_MAX_LAG_S)" in str(wiring.strain_of(lag, 0.5, None)())


async def test_a_bound_on_memory_that_cannot_be_held_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not tell the memory of now, the server says so instead of refusing for ever."""
    monkeypatch.setattr(sys, "platform", "darwin")
    stack: Any = None
    with pytest.raises(StartupError, match="only Linux"):
        wiring.open_load(Settings(load_max_memory_bytes=1 << 30), stack)
