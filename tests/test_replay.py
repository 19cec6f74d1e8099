"""A stored answer told again: the same to the byte but for what must differ, paced or at once, and cut truthfully."""

import asyncio
from typing import Any

import pytest
from cells import rows
from clock import jump
from journals import MemoryJournal
from msgspec.structs import replace
from races import ALICE, Event, ends, events, named, order, question, read, registry, said, whole

from app.answers.answer import Answer
from app.llm.scripted import SCRIPTS
from app.question import Key
from app.reasoning.log import split
from app.reasoning.runs import Runs
from app.reasoning.stored import answer_of, worth_keeping
from app.record.entry import Closing

CORPUS = [name for name, script in SCRIPTS.items() if script.failure is None and name not in ("empty", "blank")]
_ALWAYS = ("run_id", "source", "audit", "cost_usd")
MAY_DIFFER = (_ALWAYS, (*_ALWAYS, "latency_ms"))  # of `done` also the last


class Kept:
    """Takes what a registry keeps, as answers."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def __call__(self, closing: Closing, key: Key) -> None:
        """Keep what is worth it."""
        if worth_keeping(closing):
            self.answers.append(answer_of(closing, key, 2.0))


def plain(log: bytes) -> list[tuple[str, int, dict[str, Any]]]:
    """A log without what a replay may say differently: ids, source, audit, cost, and the time of `done`."""
    return [
        (
            name,
            seq,
            {key: value for key, value in data.items() if key not in MAY_DIFFER[name == "done"]},
        )
        for name, seq, data in events(log)
    ]


async def stored(fast: str, slow: str = "slow", journal: MemoryJournal | None = None) -> tuple[Runs, Answer, bytes]:
    """A registry, and what one race over these scripts left to be told again."""
    kept = Kept()
    runs = registry(journal, keep=kept)
    log = await read(runs.open(order(question(f"scripted:{fast}", f"scripted:{slow}"))).attach())
    return runs, kept.answers[0], log


# Each script with the next in line; the others say nothing new, at length.
PAIRS = [
    pytest.param(fast, slow, marks=[] if nth % len(CORPUS) == at else pytest.mark.long)
    for nth, fast in enumerate(SCRIPTS)
    for at, slow in enumerate(CORPUS)
]


@pytest.mark.parametrize(("fast", "slow"), PAIRS)
def test_the_same(fast: str, slow: str) -> None:
    """A replay equals the live stream but for ids, source, audit, cost and the time of `done`, whatever was said."""

    async def both() -> None:
        """One live and one replayed stream."""
        quick, late = f"{fast}?gap={0.1 if fast == 'endless' else 0}&hold=0", f"{slow}?gap=0&first=0.3"
        runs, answer, live = await stored(quick, late)
        asked = question(f"scripted:{quick}", f"scripted:{late}")
        again = await read(runs.replay(order(asked), answer).attach())
        assert plain(again) == plain(live)
        assert len(list(split(again))) == len(list(split(live)))

    jump(both())


def test_marks() -> None:
    """A replay says where it comes from, that its record is pending at first, and that it cost nothing."""

    async def marks() -> list[Event]:
        """The events of a replay."""
        runs, answer, _ = await stored("fast")
        return await whole(runs.replay(order(question()), answer))

    log = jump(marks())
    (start,), (done,) = named(log, "start"), named(log, "done")
    assert (start["source"], start["audit"], done["source"], done["audit"]) == ("cache", "pending", "cache", "durable")
    costs = {data["cost_usd"] for name in ("preliminary", "lane_end", "done") for data in named(log, name)}
    assert costs == {0}


def test_record() -> None:
    """A replay is recorded as a run of its own that cost nothing, names its source and keeps what was said."""

    async def closing() -> tuple[Answer, Closing]:
        """What was stored, and the record of its replay."""
        journal = MemoryJournal()
        runs, answer, _ = await stored("fast", journal=journal)
        await whole(runs.replay(order(question()), replaced(answer, cost_nano=17)))
        return answer, journal.closings[-1]

    answer, record = jump(closing())
    opening = record.opening
    assert (opening.source, opening.source_run_id) == ("cache", answer.run_id)
    assert (record.cost_nano, record.saved_nano, record.usage) == (0, 17, answer.usage)
    assert {lane: r.text for lane, r in record.lanes.items()} == {lane: s.text for lane, s in answer.lanes.items()}


def replaced(answer: Answer, **changes: Any) -> Answer:
    """The answer with other fields."""
    return Answer(**{name: changes.get(name, getattr(answer, name)) for name in answer.__struct_fields__})


def test_pace() -> None:
    """A paced replay tells each event when it was told at first, to the millisecond."""

    async def times() -> tuple[list[int], list[int]]:
        """When each event was told, live and again."""
        journal = MemoryJournal()
        runs, answer, _ = await stored("fast", journal=journal)
        await whole(runs.replay(order(question(replay="paced")), answer))
        live, again = (closing.at_ms for closing in journal.closings)
        return list(live[1:-1]), list(again[1:-1])

    live, again = jump(times())
    assert max(live) > 500
    assert max(abs(a - b) for a, b in zip(live, again, strict=True)) <= 1


def test_instant() -> None:
    """An instant replay has said everything but `done` before it is first read."""

    async def first() -> list[Event]:
        """What is there before anybody waits."""
        runs, answer, _ = await stored("fast")
        run = runs.replay(order(question()), answer)
        log = events(run.since(0))
        await whole(run)
        return log

    assert [name for name, _, _ in jump(first())][-1] == "final"


@pytest.mark.parametrize("cause", ["cancelled", "client_gone", "accepted"])
@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.3])
def test_cut(cause: Any, after_s: float) -> None:
    """A paced replay that is cut says so of each lane, and lets only a preliminary stand that was shown."""

    async def cut() -> list[Event]:
        """A paced replay that is stopped on its way."""
        runs, answer, _ = await stored("fast?first=0.01&gap=0.001")
        run = runs.replay(order(question(replay="paced")), answer)
        tail = asyncio.create_task(whole(run))
        await asyncio.sleep(after_s)
        run.stop(cause)
        return await tail

    log = jump(cut())
    shown = bool(named(log, "preliminary"))
    assert shown == (after_s == 0.3)
    assert ends(log)["slow"]["outcome"] == "cancelled"
    assert ends(log)["fast"]["outcome"] == ("completed" if shown else "cancelled")
    status = "partial" if cause == "accepted" and shown else "cancelled"
    assert [(d["status"], d["verified"]) for d in named(log, "done")] == [(status, False)]
    assert [f["change"] for f in named(log, "final")] == (["unverified"] if shown else [])


def test_cut_record() -> None:
    """The record of a replay that was cut has what was told, not what would have been."""

    async def cut() -> tuple[Closing, list[Event]]:
        """A paced replay that is stopped on its way."""
        journal = MemoryJournal()
        runs, answer, _ = await stored("fast", journal=journal)
        run = runs.replay(order(question(replay="paced")), answer)
        tail = asyncio.create_task(whole(run))
        await asyncio.sleep(0.9)
        run.stop("cancelled")
        log = await tail
        return journal.closings[-1], log

    record, log = jump(cut())
    assert record.lanes["slow"].text == said(log, "slow") != ""
    assert (record.lanes["slow"].end.outcome, record.saved_nano) == ("cancelled", None)


@pytest.mark.parametrize("how", ["deadline", "shutdown"])
def test_rest_at_once(how: str) -> None:
    """When the deadline or the server's end comes, a paced replay tells what is left at once and completes."""

    async def ended() -> tuple[list[Event], float]:
        """Every event, and how long that took."""
        runs, answer, _ = await stored("fast")
        asked = replace(question(replay="paced"), deadline_s=0.5 if how == "deadline" else 60.0)
        run = runs.replay(order(asked), answer)
        tail = asyncio.create_task(whole(run))
        if how == "shutdown":
            await asyncio.sleep(0.2)
            run.stop("shutdown")
        return await tail, run.loop.time() - run.opened_at

    log, took_s = jump(ended())
    assert named(log, "done")[0]["status"] == "completed"
    assert took_s == pytest.approx(0.5 if how == "deadline" else 0.2, abs=0.01)


def test_acceptable() -> None:
    """The preliminary of a paced replay can be accepted as long as the slow lane has not ended."""

    async def accepted() -> list[Event]:
        """A paced replay whose preliminary is taken."""
        runs, answer, _ = await stored("fast")
        run = runs.replay(order(question(replay="paced")), answer)
        tail = asyncio.create_task(whole(run))
        await asyncio.sleep(0.5)
        runs.accept(run.run_id, ALICE)
        return await tail

    assert named(jump(accepted()), "done")[0]["reason"] == "accepted"


@rows("slow", ["error", "hang", "cut", "empty", "refuse"])
def test_not_kept(slow: str) -> None:
    """A run without a verified answer leaves nothing to be told again."""

    async def kept() -> list[Answer]:
        """What one race leaves."""
        taken = Kept()
        await whole(registry(keep=taken).open(order(question(slow=f"scripted:{slow}"))))
        return taken.answers

    assert jump(kept()) == []


@pytest.mark.parametrize("cache", ["use", "refresh", "off"])
def test_cache_field(cache: Any) -> None:
    """`off` keeps no answer, `use` and `refresh` do, and a replay is not kept again."""

    async def kept() -> int:
        """What one race leaves."""
        taken = Kept()
        runs = registry(keep=taken)
        await whole(runs.open(order(question(cache=cache))))
        if taken.answers:
            await whole(runs.replay(order(question()), taken.answers[0]))
        return len(taken.answers)

    assert jump(kept()) == (0 if cache == "off" else 1)


def test_fault(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours in a replay still ends its stream with one `done`, and says `internal`."""

    async def faulty() -> list[Event]:
        """A replay whose journal cannot be called."""
        journal = MemoryJournal()
        runs, answer, _ = await stored("fast", journal=journal)
        monkeypatch.setattr(journal, "opened", None)
        return await whole(runs.replay(order(question(replay="paced")), answer))

    log = jump(faulty())
    assert [(d["status"], d["reason"]) for d in named(log, "done")] == [("failed", "internal")]
    assert set(ends(log)) == {"fast", "slow"}
    assert "run failed" in caplog.text
