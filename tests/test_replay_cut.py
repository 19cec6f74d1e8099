"""A paced replay of any answer, stopped anywhere, for any cause: its log keeps the protocol, its `done` is true."""

import itertools
from typing import Any, get_args

from cells import rows
from clock import jump
from hypothesis import given, settings
from hypothesis import strategies as st
from journals import MemoryJournal
from races import ends, events, named, order, question, read, registry, said
from test_replay import plain, stored
from wire import valid_stream

from app.answers.answer import Answer
from app.events import FOLLOWS
from app.question import Question
from app.reasoning.verdict import Cause
from app.record.entry import Closing

CAUSES: tuple[Cause, ...] = get_args(Cause)
# Who ends first, who has said what by then, and a fast lane that fails, is cut off or says nothing.
FAST = ("fast?tokens=3", "fast?tokens=3&first=0.9", "error", "cut?tokens=3")
SLOW = ("slow?tokens=3", "slow?tokens=2&first=0.1&gap=0.4", "slow?tokens=4&first=0&gap=0.05")


def asked(fast: str, slow: str) -> Question:
    """The question that the answer is told again to."""
    return question(f"scripted:{fast}", f"scripted:{slow}", replay="paced")


async def cut(answer: Answer, again: Question, at: int, cause: Cause) -> tuple[bytes, Closing]:
    """What readers see and the record keeps of a replay that is stopped when it has said so many events."""
    journal = MemoryJournal()
    run = registry(journal).replay(order(again), answer)
    reader = run.attach()
    while len(run) < at and not run.closed:
        reader.take()
        await reader.wait()
    run.stop(cause)
    await read(reader)
    return run.since(0), journal.closings[-1]


def check(log: bytes, closing: Closing, live: bytes, at: int, cause: Cause) -> None:
    """The order of events, what `done` says of them, and what the record says of both."""
    valid_stream(log)
    told = events(log)
    names = [None, *(name for name, _, _ in told)]
    assert all(after in FOLLOWS[before] for before, after in itertools.pairwise(names) if after is not None)
    (done,) = named(told, "done")
    if done["status"] == "completed":
        assert plain(log) == plain(live)
    else:
        assert cause != "shutdown"
        assert plain(log)[:at] == plain(live)[:at]
        accepted = cause == "accepted" and ends(told)["fast"]["outcome"] == "completed"
        reason = cause if accepted or cause != "accepted" else "cancelled"
        assert (done["status"], done["reason"]) == ("partial" if accepted else "cancelled", reason)
        assert ends(told)["slow"]["outcome"] == "cancelled"
    assert (closing.log, closing.status) == (log, done["status"])
    assert {lane: record.text for lane, record in closing.lanes.items()} == {
        lane: said(told, lane) for lane in ("fast", "slow")
    }


@rows("cause", CAUSES)
@rows("slow", SLOW)
@rows("fast", FAST)
def test_cut_anywhere(fast: str, slow: str, cause: Cause) -> None:
    """Stopped behind any of its events, a replay ends as the rules of a race have it."""

    async def everywhere() -> None:
        """Cut it at every event."""
        _, answer, live = await stored(fast, slow)
        for at in range(len(answer.at_ms) + 3):
            check(*await cut(answer, asked(fast, slow), at, cause), live, at, cause)

    jump(everywhere())


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_cut_at_any_time(data: st.DataObject) -> None:
    """The same for events that came at any times, many at one, in any rhythm."""

    async def once() -> None:
        """One replay, cut at that time."""
        first, gap = (data.draw(st.sampled_from((0, 0.001, 0.02, 0.3))) for _ in range(2))
        tokens: Any = data.draw(st.integers(1, 6))
        fast, slow = f"fast?first={gap}&gap={first}&tokens={tokens}", f"slow?first={first}&gap={gap}&tokens=5"
        _, answer, live = await stored(fast, slow)
        at, cause = data.draw(st.integers(0, len(answer.at_ms) + 2)), data.draw(st.sampled_from(CAUSES))
        check(*await cut(answer, asked(fast, slow), at, cause), live, at, cause)

    jump(once())
