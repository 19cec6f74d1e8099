"""The run as a log: appending, reading, leaving, coming back."""

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest
from cells import rows
from clock import jump
from races import ALICE, events, question, read

from app.events import Done, FinalAnswer, LaneEnd, Preliminary, Start, Usage
from app.llm.model import Pieces
from app.reasoning.log import Reader, split
from app.reasoning.run import OutOfOrder, Run

GRACE_S = 2.0
START = Start("r", "race", {"fast": {"model": "a"}, "slow": {"model": "b"}}, 7000, "durable")
END = LaneEnd("fast", "completed", None, None, False, 1.0, 2.0, Usage(), None, None)
DRAFT = Preliminary("fast", "x", "stop", 1.0, 2.0, Usage(), None)
FINAL = FinalAnswer("slow", True, "x", None, "unopposed")
DONE = Done("completed", "slow", True, None, Usage(), None, 3.0, False, "f", "durable")


def words(*texts: str) -> Pieces:
    """Pieces of an answer that arrived together."""
    return Pieces("answer", [*texts])


def new(**more: Any) -> Run:
    """A run with nothing in its log."""
    run = Run("r", question(**more), ALICE, "f" * 64)
    run.grace_s = GRACE_S
    return run


def told(run: Run) -> Run:
    """A run with start, blocks of one and of many deltas, an end, a final and `done`."""
    run.append(START)
    run.say("fast", words("a", "b", "c"))
    run.say("slow", words("d"))
    run.say("slow", words(*"efghijk"))
    finish(run)
    return run


def finish(run: Run) -> None:
    """The last three events."""
    for payload in (END, FINAL, DONE):
        run.append(payload)


def on_a_jumping_clock(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test on the loop whose clock jumps."""

    def run() -> None:
        jump(test())

    run.__doc__, run.__name__ = test.__doc__, test.__name__
    return run


def log_of(run: Run) -> bytes:
    """The whole log, by a reader that leaves at once."""
    reader = run.attach()
    log = reader.take()
    reader.close()
    return log


# -- appending


@rows("payload", [DRAFT, END, FINAL, DONE])
async def test_start_comes_first(payload: Any) -> None:
    """No event is appended before `start`."""
    run = new()
    with pytest.raises(OutOfOrder):
        run.append(payload)
    assert len(run) == 0


@rows(
    ("before", "payload"),
    [
        ([START], START),
        ([START, DRAFT], DONE),
        ([START, DRAFT], FINAL),
        ([START, END, FINAL], END),
        ([START, END, FINAL], FINAL),
        ([START, DONE], DONE),
        ([START, DONE], END),
    ],
)
async def test_order_is_enforced(before: list[Any], payload: Any) -> None:
    """An event where the protocol has none is refused, and the log is as it was."""
    run = new()
    for each in before:
        run.append(each)
    log, count = log_of(run), len(run)
    with pytest.raises(OutOfOrder):
        run.append(payload)
    assert (log_of(run), len(run)) == (log, count)


@pytest.mark.parametrize("last", [FINAL, DONE, DRAFT])
async def test_no_delta_after_the_end(last: Any) -> None:
    """No delta follows the preliminary, the final or `done`."""
    run = new()
    run.append(START)
    run.append(last)
    with pytest.raises(OutOfOrder):
        run.say("slow", words("late"))


async def test_ids_count_from_zero() -> None:
    """Every event has the run's id and the next number, those that arrived together too."""
    log = events(log_of(told(new())))
    assert [seq for _, seq, _ in log] == list(range(15))
    assert "".join(data["text"] for name, _, data in log if name == "delta") == "abcdefghijk"


async def test_deltas_wait_for_start() -> None:
    """What lanes say before `start` is held back and follows it at once, in the order it was said."""
    run = new()
    reader = run.attach()
    run.say("slow", words("a", "b"))
    run.say("fast", words("c"))
    assert (reader.take(), len(run)) == (b"", 0)
    run.append(START)
    run.say("slow", words("d"))
    found = events(reader.take())
    assert [(name, data.get("text")) for name, _, data in found] == [
        ("start", None),
        *(("delta", text) for text in "abcd"),
    ]


async def test_closing_is_once() -> None:
    """`done` closes the log once; nothing said or asked afterwards changes it."""
    run = told(new())
    log = log_of(run)
    run.stop("cancelled")
    for late in (DONE, START, END):
        with pytest.raises(OutOfOrder):
            run.append(late)
    assert run.closed
    assert run.stopping.cancelled()
    assert log_of(run) == log


async def test_first_stop_stands() -> None:
    """The first cause to stop a run stands."""
    run = new()
    run.stop("shutdown")
    run.stop("cancelled")
    assert run.stopping.result() == "shutdown"


async def test_preview_is_the_log_to_come() -> None:
    """The preview of an event is the log with it, as it will be, and changes nothing."""
    run = new()
    run.append(START)
    log, at_ms = run.preview(DONE)
    assert len(run) == 1
    run.append(DONE)
    assert (log_of(run), len(run.at_ms)) == (log, len(at_ms))


async def test_size_counts_every_byte() -> None:
    """A run knows how many bytes its log has."""
    run = told(new())
    assert run.size == len(log_of(run))


# -- reading


async def test_readers_see_equal_bytes() -> None:
    """Any number of readers, whenever they take, get the same bytes."""
    run = new()
    readers = [run.attach() for _ in range(20)]
    tails = [asyncio.create_task(read(reader)) for reader in readers]
    await asyncio.sleep(0)
    run.append(START)
    for text in "abcdef":
        run.say("fast", words(text, text))
        if text in "bd":
            await asyncio.sleep(0)
    finish(run)
    logs = await asyncio.gather(*tails)
    assert set(logs) == {log_of(run)}


async def test_waking_makes_no_task() -> None:
    """A waiting reader is woken by an append without a task."""
    run = new()
    tails = [asyncio.create_task(read(run.attach())) for _ in range(5)]
    await asyncio.sleep(0)
    before = asyncio.all_tasks()
    run.append(START)
    run.say("fast", words("a"))
    assert asyncio.all_tasks() == before
    finish(run)
    await asyncio.gather(*tails)


async def test_a_reader_that_is_behind_takes_all_at_once() -> None:
    """A reader that is behind gets everything it missed in one piece, and then nothing."""
    run = new()
    reader = run.attach()
    told(run)
    assert reader.take() == log_of(run)
    assert reader.ended
    assert reader.take() == b""


async def test_not_ended_before_done_was_taken() -> None:
    """A reader has ended when it has taken `done`, not when it was appended."""
    run = new()
    reader = run.attach()
    run.append(START)
    reader.take()
    run.append(DONE)
    assert not reader.ended
    reader.take()
    assert reader.ended


async def test_wait_can_be_cancelled() -> None:
    """A wait that is cancelled loses nothing."""
    run = new()
    reader = run.attach()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await reader.wait()
    run.append(START)
    assert reader.take() == log_of(run)


async def test_wake_lets_wait_return() -> None:
    """Anybody may wake a reader; it then finds nothing new."""
    run = new()
    reader = run.attach()
    waiting = asyncio.ensure_future(reader.wait())
    await asyncio.sleep(0)
    reader.wake()
    await waiting
    assert reader.take() == b""


@pytest.mark.parametrize("compact", [False, True])
async def test_resume_at_every_number(compact: bool) -> None:
    """A reader that resumes behind any event gets exactly the rest, from a compacted log too."""
    run = told(new())
    whole = run.attach()
    log = list(split(whole.take()))
    if compact:
        whole.close()
    for after in range(-1, len(log)):
        reader = run.attach(after)
        assert reader.take() == b"".join(log[after + 1 :])
        assert reader.ended
        if compact:
            reader.close()


async def test_resume_in_a_live_run() -> None:
    """A reader that resumes behind any event of a live log gets the rest, then what comes, with no gap."""
    run = new()
    run.append(START)
    run.say("fast", words(*"abc"))
    run.say("slow", words(*"de"))
    readers = [run.attach(after) for after in range(-1, len(run))]
    early = [reader.take() if after % 2 else b"" for after, reader in enumerate(readers)]
    run.say("fast", words(*"fg"))
    finish(run)
    log = list(split(log_of(run)))
    for first, (reader, got) in enumerate(zip(readers, early, strict=True)):
        assert got + reader.take() == b"".join(log[first:])


async def test_a_closed_log_stays() -> None:
    """Those who come after the end read the same bytes, as often as they like."""
    run = told(new())
    log = log_of(run)
    assert [log_of(run), await read(run.attach())] == [log, log]
    assert run.size == len(log)


async def test_a_reader_behind_keeps_its_place() -> None:
    """A reader that is still behind keeps its place when another one leaves a closed log."""
    run = new()
    slow, quick = run.attach(), run.attach()
    run.append(START)
    begun = slow.take()
    run.say("fast", words("a", "b"))
    finish(run)
    log = quick.take()
    quick.close()
    assert begun + slow.take() == log


# -- leaving


async def ended_by_absence(run: Run, after_s: float) -> bool:
    """Whether the run was stopped by then because its readers had gone."""
    await asyncio.sleep(after_s)
    return run.stopping.done()


@on_a_jumping_clock
async def test_last_reader_gone_stops_the_run() -> None:
    """The run stops with `client_gone` when nobody came back within the grace after the last reader left."""
    run = new()
    one, other = run.attach(), run.attach()
    one.close()
    assert not await ended_by_absence(run, 10 * GRACE_S)
    other.close()
    assert not await ended_by_absence(run, GRACE_S - 0.01)
    assert await ended_by_absence(run, 0.02)
    assert run.stopping.result() == "client_gone"


@on_a_jumping_clock
async def test_coming_back_calls_it_off() -> None:
    """A reader that comes back within the grace keeps the run going, and the next grace is a whole one."""
    run = new()
    run.attach().close()
    await asyncio.sleep(GRACE_S - 0.01)
    back = run.attach()
    assert not await ended_by_absence(run, 10 * GRACE_S)
    back.close()
    assert not await ended_by_absence(run, GRACE_S - 0.01)
    assert await ended_by_absence(run, 0.02)


@on_a_jumping_clock
async def test_leaving_twice_grants_no_second_grace() -> None:
    """A reader that is closed twice left once: the grace is not begun anew."""
    run = new()
    reader = run.attach()
    reader.close()
    await asyncio.sleep(GRACE_S - 0.01)
    reader.close()
    assert await ended_by_absence(run, 0.02)


@on_a_jumping_clock
async def test_finish_goes_on_without_readers() -> None:
    """A run that is to finish goes on when every reader has left."""
    run = new(on_disconnect="finish")
    run.attach().close()
    assert not await ended_by_absence(run, 1000)


@on_a_jumping_clock
async def test_an_ended_run_has_no_timer() -> None:
    """`done` calls off the grace, and a reader that leaves afterwards begins none."""
    run = new()
    run.attach().close()
    told(run)
    run.attach().close()
    loop: Any = asyncio.get_running_loop()
    assert all(handle.cancelled() for handle in loop._scheduled)


async def test_a_reader_costs_little() -> None:
    """A reader of a long log costs a cursor, not a copy."""
    run = new()
    run.append(START)
    for _ in range(200):
        run.say("fast", words(*"abcdefghij"))
    gc.collect()
    tracemalloc.start()
    readers: list[Reader] = [run.attach(len(run) - 1) for _ in range(100)]
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used / len(readers) < 1024


async def test_times_never_run_backwards() -> None:
    """Every event has the time since the run was opened, in whole milliseconds."""
    run = told(new())
    assert len(run.at_ms) == len(run)
    assert all(one <= other for one, other in pairwise(run.at_ms))
