"""The registry of runs: stopping, accepting, draining, its bounds, its privacy, and faults of our own."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final

import pytest
from cells import rows
from clock import jump
from journals import MemoryJournal
from races import (
    ALICE,
    Event,
    Pair,
    ask,
    ends,
    events,
    named,
    nothing_left,
    order,
    question,
    read,
    registry,
    said,
    whole,
)

from app.errors import NoSuchRun, NothingToAccept, ShuttingDown, TooManyRuns, UnknownModel
from app.events import Done, FinalAnswer, LaneEnd, Preliminary, Usage, frame
from app.llm.model import Finish, Item, Pieces, Prompt
from app.question import Caller, Question
from app.reasoning import run as run_module
from app.reasoning.run import Run
from app.reasoning.runs import Runs
from app.record.entry import CLOSED, Opening

BOB: Final = Caller("bob")
QUICK: Final = "scripted:fast?first=0.1&gap=0&tokens=2"
HANG: Final = "scripted:hang"
ERROR: Final = "scripted:error?first=0.1"
LAZY: Final = "scripted:slow?first=1.9&gap=0.5&tokens=3"


def played(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test on the loop whose clock jumps; a task left behind fails it."""

    def run() -> None:
        jump(test())

    run.__doc__, run.__name__ = test.__doc__, test.__name__
    return run


async def shown(run: Run) -> None:
    """Wait until there is a preliminary answer."""
    reader = run.attach()
    while not run.acceptable:
        await reader.wait()
    reader.close()


def statuses(log: list[Event]) -> tuple[str, str | None, str | None]:
    """Status, reason and final lane of `done`, which is the only one and the last event."""
    assert [name for name, _, _ in log].count("done") == 1
    name, _, done = log[-1]
    assert name == "done"
    return done["status"], done["reason"], done["final_lane"]


def outcomes(log: list[Event]) -> dict[str, tuple[str, str | None]]:
    """How each lane ended."""
    return {lane: (end["outcome"], end["reason"]) for lane, end in ends(log).items()}


# -- cancel, accept


@played
async def test_cancel_ends_the_run_at_once() -> None:
    """A cancelled run ends at once, both lanes with it, and cancelling again is harmless, after its end too."""
    runs = registry()
    run = runs.open(order(question(HANG, HANG)))
    await asyncio.sleep(0.3)
    assert runs.cancel(run.run_id, ALICE) is runs.cancel(run.run_id, ALICE) is run
    log = await whole(run)
    assert statuses(log) == ("cancelled", "cancelled", None)
    assert outcomes(log) == {"fast": ("cancelled", "cancelled"), "slow": ("cancelled", "cancelled")}
    assert run.at_ms[-1] == pytest.approx(300, abs=1)
    assert runs.cancel(run.run_id, ALICE) is run
    await nothing_left(runs)


@played
async def test_a_run_is_found_before_it_says_start() -> None:
    """A run can be found and cancelled while it still waits for its start record and its log is empty."""
    runs = registry(MemoryJournal(None))
    run = runs.open(order(question(HANG, HANG)))
    await asyncio.sleep(0)
    assert (len(run), runs.find(run.run_id, ALICE)) == (0, run)
    runs.cancel(run.run_id, ALICE)
    assert statuses(await whole(run)) == ("cancelled", "cancelled", None)


@played
async def test_cancel_keeps_a_shown_preliminary() -> None:
    """A preliminary that was shown stands as an unverified final when the run is cancelled."""
    runs = registry()
    run = runs.open(order(question(QUICK, HANG)))
    await shown(run)
    runs.cancel(run.run_id, ALICE)
    log = await whole(run)
    assert statuses(log) == ("cancelled", "cancelled", "fast")
    [final] = named(log, "final")
    assert (final["text"], final["verified"], final["change"]) == (said(log, "fast"), False, "unverified")


@played
async def test_accept_takes_the_preliminary() -> None:
    """Accepting the preliminary ends the slow lane; the fast answer is final, unverified, the run partial."""
    runs = registry()
    run = runs.open(order(question(QUICK, LAZY)))
    await shown(run)
    runs.accept(run.run_id, ALICE)
    log = await whole(run)
    assert statuses(log) == ("partial", "accepted", "fast")
    assert outcomes(log) == {"fast": ("completed", None), "slow": ("cancelled", "accepted")}
    assert run.at_ms[-1] == pytest.approx(100, abs=1)
    await nothing_left(runs)


@played
async def test_nothing_to_accept() -> None:
    """There is nothing to accept before the preliminary, after the end, or when the fast lane failed."""
    runs = registry()
    early, failed = (runs.open(order(question(fast, LAZY))) for fast in (QUICK, ERROR))
    await asyncio.sleep(0.05)
    with pytest.raises(NothingToAccept):
        runs.accept(early.run_id, ALICE)
    await asyncio.sleep(0.5)
    with pytest.raises(NothingToAccept):
        runs.accept(failed.run_id, ALICE)
    assert statuses(await whole(early)) == statuses(await whole(failed)) == ("completed", None, "slow")
    with pytest.raises(NothingToAccept):
        runs.accept(early.run_id, ALICE)


@played
async def test_a_verified_answer_beats_a_stop() -> None:
    """A slow lane that completes in the very moment of a stop is the verified final."""
    runs = registry()
    run = runs.open(order(question(QUICK, "scripted:slow?first=1&gap=0")))
    asyncio.get_running_loop().call_at(run.opened_at + 1.0, runs.cancel, run.run_id, ALICE)
    log = await whole(run)
    assert statuses(log) == ("completed", None, "slow")


@played
async def test_strangers_find_nothing() -> None:
    """A caller finds, cancels and accepts only runs of its own, live or ended."""
    runs = registry()
    run = runs.open(order(question(QUICK, LAZY)))
    for _ in range(2):
        await asyncio.sleep(0.5)
        assert runs.find(run.run_id, BOB) is None
        for act in (runs.cancel, runs.accept):
            with pytest.raises(NoSuchRun):
                act(run.run_id, BOB)
        assert runs.find(run.run_id, ALICE) is run
        await whole(run)
    with pytest.raises(NoSuchRun):
        runs.cancel("no such id", ALICE)


# -- time


@played
async def test_a_short_deadline_ends_both_lanes() -> None:
    """A deadline shorter than every lane's limit ends the run, and the lanes say that it was the deadline."""
    runs = registry()
    log = await whole(runs.open(order(question(HANG, HANG, deadline_s=0.5))))
    assert statuses(log) == ("timeout", "deadline", None)
    assert set(outcomes(log).values()) == {("timeout", "deadline")}


@rows("deadline_s", [0.001, 0.05, 0.1, 0.3, 2.0])
@rows("delay_s", [0.0, 0.09, 0.11, 0.49, 0.51, None])
def test_done_is_in_time(deadline_s: float, delay_s: float | None) -> None:
    """With lanes that do not stop and any journal, `done` comes within the deadline and a second."""

    async def run() -> None:
        """Two lanes that do not stop at the deadline."""
        runs = registry(MemoryJournal(delay_s))
        stubborn = "scripted:stubborn?first=0&gap=0&hold=9"
        opened = runs.open(order(question(stubborn, stubborn, deadline_s)))
        log = await whole(opened)
        assert opened.at_ms[-1] <= 1000 * (deadline_s + 0.85)
        assert statuses(log)[0] == "timeout"
        assert len(runs.strays) == 2
        await asyncio.sleep(9.0)
        await nothing_left(runs)

    jump(run())


@played
async def test_the_final_answer_does_not_wait_for_a_loser() -> None:
    """The final answer is said when it is there, although the losing lane does not stop when it is cancelled."""
    runs = registry()
    stubborn = "scripted:stubborn?first=0&gap=0.1&hold=2"
    run = runs.open(order(question(stubborn, "scripted:slow?first=0.6&gap=0&tokens=2")))
    log = await whole(run)
    assert statuses(log) == ("completed", None, "slow")
    at = {name: run.at_ms[seq] for name, seq, _ in log}
    assert [at["final"], at["done"]] == pytest.approx([600, 850], abs=1)
    await asyncio.sleep(2.0)


@played
async def test_words_before_start_are_kept() -> None:
    """What a lane says, and how it ends, before the start record was waited for comes behind `start`."""
    runs = registry(MemoryJournal(None))
    log = await whole(runs.open(order(question("scripted:fast?first=0&gap=0", "scripted:break?first=0&gap=0"))))
    assert log[0][0] == "start"
    assert statuses(log) == ("partial", "scripted_error", "fast")
    assert said(log, "fast") == named(log, "final")[0]["text"] != ""
    assert said(log, "slow") != ""


@played
async def test_lane_ends_are_said_in_their_order() -> None:
    """Lanes that ended while the start record was waited for are told in the order in which they ended."""
    runs = registry(MemoryJournal(None))
    asked = ask(question("scripted:hang?first=0", "scripted:error?first=0.02"), "fast", first_token_timeout_s=0.05)
    log = await whole(runs.open(order(asked)))
    assert [end["lane"] for end in named(log, "lane_end")] == ["slow", "fast"]
    assert statuses(log) == ("timeout", "first_token_timeout", None)


@played
async def test_nobody_comes() -> None:
    """A run whose first reader never comes is cancelled after five seconds; one that is to finish is not."""
    runs = registry()
    slow = "scripted:slow?first=1.9&gap=0.9&tokens=5"
    left, kept = (runs.open(order(question(HANG, slow, on_disconnect=how))) for how in ("cancel", "finish"))
    await asyncio.sleep(7.0)
    assert [left.at_ms[-1], kept.at_ms[-1]] == pytest.approx([5000, 5500], abs=1)
    assert statuses(await whole(left)) == ("cancelled", "client_gone", None)
    assert statuses(await whole(kept)) == ("completed", None, "slow")


# -- drain


@played
async def test_drain_lets_runs_finish() -> None:
    """A run that ends within the grace of a shutdown ends as if there were none; no new one is opened meanwhile."""
    runs = registry()
    run = runs.open(order(question(QUICK, LAZY)))
    draining = asyncio.create_task(runs.drain(5.0))
    await asyncio.sleep(0.1)
    with pytest.raises(ShuttingDown):
        runs.open(order(question()))
    await draining
    assert statuses(await whole(run)) == ("completed", None, "slow")
    assert run.at_ms[-1] < 5000
    await nothing_left(runs)


@played
async def test_drain_ends_what_is_left() -> None:
    """After the grace every live run ends with `done`, status shutdown, its shown preliminary kept, stubborn or not."""
    runs = registry(MemoryJournal(None))
    loop = asyncio.get_running_loop()
    slow = (HANG, LAZY, "scripted:stubborn?hold=9", "scripted:endless")
    live = [runs.open(order(question(QUICK, each))) for each in slow]
    began = loop.time()
    await runs.drain(0.3)
    assert loop.time() - began <= 0.3 + 0.75 + 1e-6
    for run in live:
        assert statuses(await whole(run)) == ("shutdown", "shutdown", "fast")
    await asyncio.sleep(10.0)
    await nothing_left(runs)


@played
async def test_drain_twice() -> None:
    """A second drain, and one without runs, ends at once."""
    runs = registry()
    await runs.drain(100.0)
    before = asyncio.get_running_loop().time()
    await runs.drain(100.0)
    assert asyncio.get_running_loop().time() == before


# -- bounds


@played
async def test_live_cap() -> None:
    """A run beyond the cap is refused before anything has begun; when one ends there is room again."""
    journal = MemoryJournal()
    runs = registry(journal, live=2)
    first, _ = [runs.open(order(question(HANG, HANG))) for _ in range(2)]
    with pytest.raises(TooManyRuns):
        runs.open(order(question()))
    runs.cancel(first.run_id, ALICE)
    await whole(first)
    await asyncio.sleep(0)
    await whole(runs.open(order(question(QUICK, ERROR))))
    await runs.drain(0.0)
    assert len(journal.openings) == 3


@played
async def test_an_unknown_model_begins_nothing() -> None:
    """A question to a model that does not exist is refused with no run, task or record."""
    journal = MemoryJournal()
    runs = registry(journal)
    with pytest.raises(UnknownModel):
        runs.open(order(question(QUICK, "scripted:nobody")))
    await nothing_left(runs)
    assert journal.openings == []


async def end_some(runs: Runs, count: int, **more: Any) -> list[Run]:
    """Runs that ended one after the other."""
    ended = []
    for _ in range(count):
        ended.append(runs.open(order(question(QUICK, ERROR, **more))))
        [supervisor] = runs._tasks
        await supervisor
    return ended


def found(runs: Runs, ended: list[Run]) -> list[bool]:
    """Which of these runs can still be found."""
    return [runs.find(run.run_id, ALICE) is run for run in ended]


@played
async def test_kept_by_count() -> None:
    """Of finished runs only so many are kept, the latest; with a bound of none there are none."""
    for bound in (0, 1, 3):
        runs = registry(kept=bound)
        ended = await end_some(runs, 5)
        assert found(runs, ended) == [False] * (5 - bound) + [True] * bound


@played
async def test_kept_by_bytes() -> None:
    """Finished runs are kept up to a number of bytes, questions counted in; a run above it is not kept at all."""
    [one] = await end_some(registry(), 1)
    runs = registry(kept_bytes=int(2.5 * (one.size + 50)))
    assert found(runs, await end_some(runs, 4)) == [False, False, True, True]
    small = registry(kept_bytes=one.size - 200)
    assert found(small, await end_some(small, 1)) == [False]
    big = Question(
        tuple(type(message)(message.role, "x" * 5000) for message in question().messages),
        question(QUICK).fast,
        question(QUICK, ERROR).slow,
        7.0,
    )
    run = runs.open(order(big))
    await whole(run)
    await asyncio.sleep(0)
    assert runs.find(run.run_id, ALICE) is None


@played
async def test_kept_by_time() -> None:
    """A finished run is forgotten after its time."""
    runs = registry(kept_s=60.0)
    ended = await end_some(runs, 1)
    await asyncio.sleep(59.0)
    assert found(runs, ended) == [True]
    await asyncio.sleep(2.0)
    assert found(runs, ended) == [False]


@played
async def test_many_runs_leave_nothing() -> None:
    """Two runs of every pair of fates at once leave nothing behind."""
    await leave_nothing(128)


@pytest.mark.long
@played
async def test_a_thousand_runs_leave_nothing() -> None:
    """Nor do a thousand."""
    await leave_nothing(1000)


async def leave_nothing(live: int) -> None:
    """So many runs at once, of every pair of fates, each end with one `done` and leave nothing behind."""
    runs = registry(live=live)
    more = ("cut", "endless?gap=0.3", "stubborn?hold=3", "empty")
    fates = [QUICK, LAZY, HANG, ERROR, *(f"scripted:{each}" for each in more)]
    pairs = [(fates[n % 8], fates[n // 8 % 8]) for n in range(live)]
    opened = [runs.open(order(question(*pair))) for pair in pairs]
    tails = [asyncio.create_task(read(run.attach())) for run in opened]
    await asyncio.sleep(0.2)
    for run in opened[::10]:
        runs.cancel(run.run_id, ALICE)
    logs = await asyncio.gather(*tails)
    assert all(events(log)[-1][0] == "done" and log.count(b"event: done\n") == 1 for log in logs)
    await asyncio.sleep(10.0)
    await nothing_left(runs)


@played
async def test_usage_of_every_lane_is_recorded() -> None:
    """The record has the usage of losing, failed and cancelled lanes, each with its source, and `done` their sum."""
    journal = MemoryJournal()
    runs = registry(journal)
    log = await whole(runs.open(order(question("scripted:stall?first=0.1&gap=0", LAZY))))
    lanes = journal.closings[-1].lanes
    assert lanes["fast"].end.usage.source == "estimated"
    assert lanes["slow"].end.usage.source == "reported"
    total = log[-1][2]["usage"]
    sums = [lanes[name].end.usage.output_tokens or 0 for name in ("fast", "slow")]
    assert (total["source"], total["output_tokens"]) == ("estimated", sum(sums))
    assert min(sums) > 0


# -- faults of our own


class BrokenJournal(MemoryJournal):
    """A journal with a fault in one of its calls, or in the receipt of the first."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def opened(self, opening: Opening) -> Any:
        """Fail if that is the fault."""
        if self.fault == "opened":
            raise RuntimeError("a fault of ours")
        receipt = super().opened(opening)
        return self if self.fault == "receipt" else receipt

    async def durable(self, within_s: float) -> bool:
        """Be a receipt that fails after half its time."""
        await asyncio.sleep(within_s / 2)
        raise RuntimeError("a fault of ours")

    def closed(self, closing: Any) -> Any:
        """Fail if that is the fault, the first time or always."""
        if self.fault == "closed" or (self.fault == "first closed" and closing.version == CLOSED):
            raise RuntimeError("a fault of ours")
        return super().closed(closing)


@pytest.mark.parametrize("fault", ["opened", "receipt", "closed", "first closed"])
def test_a_fault_of_the_journal(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    """A journal that raises against its contract costs the run its success, not its end."""

    async def run() -> None:
        """One run over that journal."""
        journal = BrokenJournal(fault)
        runs = registry(journal)
        log = await whole(runs.open(order(question(QUICK, LAZY))))
        assert log[0][0] == "start"
        assert set(ends(log)) == {"fast", "slow"}
        assert statuses(log) == ("failed", "internal", None)
        assert log[-1][2]["audit"] == "pending"
        assert len(journal.closings) == (fault != "closed")
        assert all(closing.status == "failed" for closing in journal.closings)
        await asyncio.sleep(0.3)
        await nothing_left(runs)

    jump(run())
    assert "a fault of ours" in caplog.text


@pytest.mark.parametrize("broken", [FinalAnswer, Preliminary, LaneEnd, Done])
def test_a_fault_of_the_encoding(broken: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that cannot be encoded ends the run with one truthful `done`; both lanes are stopped and recorded."""

    def faulty(run_id: str, seq: int, payload: Any) -> bytes:
        if isinstance(payload, broken) and getattr(payload, "fingerprint", "of no done") != "":
            raise TypeError("a fault of ours")  # of every `done` but the least that can be said
        return frame(run_id, seq, payload)

    async def run() -> None:
        """One run that meets the fault."""
        journal = MemoryJournal()
        runs = registry(journal)
        opened = runs.open(order(question(QUICK, LAZY)))
        reader = opened.attach()
        raw = await read(reader)
        log = events(raw)
        assert statuses(log) == ("failed", "internal", None)
        assert [seq for _, seq, _ in log] == list(range(len(log)))
        assert set(ends(log)) == (set() if broken is LaneEnd else {"fast", "slow"})
        assert broken is Done or journal.closings[-1].log == raw
        await asyncio.sleep(0.3)
        await nothing_left(runs)

    monkeypatch.setattr(run_module, "frame", faulty)
    jump(run())


ODD: Final[Any] = object()
TEXT: Final[Any] = "2"
UNWRITABLE: Final[dict[str, tuple[list[Any], list[Any]]]] = {
    "version of the fast lane": ([Finish("stop", ODD)], [Finish("stop")]),
    "version of the slow lane": ([Finish("stop")], [Finish("stop", ODD)]),
    "versions of both": ([Finish("stop", ODD)], [Finish("stop", ODD)]),
    "reason of the finish": ([Finish(ODD)], [Finish("stop")]),
    "number of tokens": ([Usage(output_tokens=ODD), Finish("stop")], [Finish("stop")]),
    "tokens that do not add up": ([Usage(1, TEXT, source="reported"), Finish("stop")],) * 2,
    "source of the tokens": ([Usage(1, 2, source=TEXT), Finish("stop")], [Finish("stop")]),
}


@rows("case", UNWRITABLE)
def test_a_fault_of_an_adapter(case: str) -> None:
    """An adapter that yields what no event can carry costs the run its success, not its one `done`."""

    def talking(items: list[Item], first_s: float) -> Callable[[Prompt], AsyncGenerator[Item, None]]:
        """A model that says a word and then these things."""

        async def talk(_: Prompt) -> AsyncGenerator[Item, None]:
            """Say them."""
            await asyncio.sleep(first_s)
            yield Pieces("answer", ["x"])
            for item in items:
                yield item

        return talk

    async def run() -> None:
        """One run over these two models, whose reader must return."""
        fast, slow = UNWRITABLE[case]
        runs = registry(MemoryJournal(), Pair(talking(fast, 0.1), talking(slow, 0.2)))
        raw = await read(runs.open(order(question())).attach())
        log = events(raw)
        assert [name for name, _, _ in log].count("done") == 1
        assert [seq for _, seq, _ in log] == list(range(len(log)))
        assert (log[0][0], statuses(log)) == ("start", ("failed", "internal", None))
        await asyncio.sleep(1.0)
        await nothing_left(runs)

    jump(run())


@played
async def test_a_cancelled_supervisor_ends_its_run() -> None:
    """A run whose supervisor is cancelled, as at the end of a loop, still ends with `done` and stops its lanes."""
    runs = registry()
    run = runs.open(order(question(QUICK, HANG)))
    await asyncio.sleep(0.5)
    [supervisor] = runs._tasks
    supervisor.cancel()
    log = await whole(run)
    assert statuses(log) == ("failed", "internal", None)
    assert outcomes(log) == {"fast": ("completed", None), "slow": ("cancelled", "internal")}
    await nothing_left(runs)


@played
async def test_a_stubborn_lane_of_a_buried_run_is_counted() -> None:
    """A lane that does not stop is counted as a stray although its run ended by a fault of ours."""

    async def stubborn(_: Prompt) -> AsyncGenerator[Item, None]:
        """Need three seconds to stop."""
        try:
            await asyncio.sleep(100.0)
        finally:
            await asyncio.sleep(3.0)
        yield Pieces("answer", [])

    async def quick(_: Prompt) -> AsyncGenerator[Item, None]:
        """Answer at once."""
        yield Pieces("answer", ["x"])
        yield Finish("stop")

    runs = registry(BrokenJournal("receipt"), Pair(stubborn, quick))
    await whole(runs.open(order(question())))
    await asyncio.sleep(0.6)
    assert (runs.live, len(runs.strays)) == (0, 1)
    await asyncio.sleep(3.0)
    await nothing_left(runs)
