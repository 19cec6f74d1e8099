"""The matrix: every fault of one lane against every fault of the other, every reader and every journal."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from clock import jump
from journals import MemoryJournal
from races import Event, ends, events, named, nothing_left, order, question, read, registry, said, scripted

from app.events import FOLLOWS
from app.reasoning.run import Run

DEADLINE_S: Final = 7.0
HOLD_S: Final = 3.0

# script: (how it is played, the outcome of a lane that is left alone, its reason).
LANES: Final[dict[str, tuple[str, str, str | None]]] = {
    "fast": ("fast?first=0.11&gap=0.05&tokens=3", "completed", None),
    "slow": ("slow?first=0.83&gap=0.31&tokens=3", "completed", None),
    "hang": ("hang", "timeout", "first_token_timeout"),
    "stall": ("stall?first=0.21&gap=0.1", "timeout", "idle_timeout"),
    "error": ("error?first=0.17", "failed", "scripted_error"),
    "break": ("break?first=0.13&gap=0.1", "failed", "scripted_error"),
    "cut": ("cut?first=0.19&gap=0.1", "incomplete", "no_finish"),
    "empty": ("empty?first=0.23", "empty", "empty_answer"),
    "blank": ("blank?first=0.29&gap=0.1", "empty", "empty_answer"),
    "endless": ("endless?first=0.2&gap=0.37&tokens=4", "timeout", "lane_timeout"),
    "garbage": ("garbage?first=0.07&gap=0", "completed", None),
    "stubborn": (f"stubborn?first=0.15&gap=0.01&hold={HOLD_S}", "timeout", "idle_timeout"),
    "block": ("block?first=0.15&gap=0.01&hold=60", "timeout", "idle_timeout"),
    "refuse": ("refuse?first=0.25", "refused", "refused"),
}
JOURNALS: Final[dict[str, float | None]] = {"healthy": 0.0, "slow": 0.3, "dead": None}
STUBBORN: Final = {"stubborn", "block"}


async def stays(run: Run) -> bytes:
    """Read as fast as events come."""
    return await read(run.attach())


async def reads_slowly(run: Run) -> bytes:
    """Take what has gathered every 0.7 seconds."""
    reader, parts = run.attach(), []
    while not reader.ended:
        await asyncio.sleep(0.7)
        parts.append(reader.take())
    reader.close()
    return b"".join(parts)


async def leaves_early(run: Run) -> bytes:
    """Leave after 0.4 seconds, in the middle of most answers."""
    reader = run.attach()
    await asyncio.sleep(0.4)
    got = reader.take()
    reader.close()
    return got


async def resumes(run: Run) -> bytes:
    """Leave after 0.4 seconds and come back within the grace, behind the last event seen."""
    got = await leaves_early(run)
    await asyncio.sleep(0.45)
    return got + await read(run.attach(len(events(got)) - 1))


async def never_reads(run: Run) -> bytes:
    """Ask and never come for the answer."""
    return b""


READERS: Final[dict[str, Callable[[Run], Coroutine[Any, Any, bytes]]]] = {
    read_as.__name__: read_as for read_as in (stays, reads_slowly, leaves_early, resumes, never_reads)
}

# Who sees a run: each reader with each journal. Three of them, six apart, have three readers and all journals.
WITNESSES: Final = [(reader, kind) for kind in JOURNALS for reader in READERS]
STEPS: Final = (0, 6, 12)


@dataclass
class Cell:
    """One cell as it went: the run, what the reader got, the whole log, the record."""

    run: Run
    got: bytes
    log: bytes
    journal: MemoryJournal
    events: list[Event]

    @property
    def done(self) -> dict[str, Any]:
        """The data of the last event."""
        return self.events[-1][2]


async def play(fast: str, slow: str, reader: str, journal_kind: str) -> Cell:
    """Play one cell to the end of everything, strays included."""
    journal, catalogue = MemoryJournal(JOURNALS[journal_kind]), scripted()
    runs = registry(journal, catalogue)
    asked = question(f"scripted:{LANES[fast][0]}", f"scripted:{LANES[slow][0]}", DEADLINE_S)
    run = runs.open(order(asked))
    got = await READERS[reader](run)
    await asyncio.wait(set(runs._tasks) or {asyncio.ensure_future(asyncio.sleep(0))})
    assert runs.live == 0
    assert len(runs.strays) <= len(STUBBORN & {fast, slow}) + (fast == slow), "a willing lane is a stray"
    log = await read(run.attach())
    await catalogue.close()
    if runs.strays:
        await asyncio.wait(set(runs.strays))
    await nothing_left(runs)
    return Cell(run, got, log, journal, events(log))


def check_order(cell: Cell) -> None:
    """Event order: the table, one `done`, one end a lane, ids in a row, no word after a lane's end."""
    names = [name for name, _, _ in cell.events]
    assert [seq for _, seq, _ in cell.events] == list(range(len(cell.run)))
    assert all(after in FOLLOWS[name] for name, after in zip([None, *names], names, strict=False))
    assert [names.count(name) for name in ("start", "lane_end", "done")] == [1, 2, 1]
    assert names[-1] == "done"
    over: set[str] = set()
    for name, _, data in cell.events:
        if name in ("delta", "preliminary", "lane_end"):
            assert data["lane"] not in over
        if name == "lane_end":
            over.add(data["lane"])
    assert set(ends(cell.events)) == {"fast", "slow"}


def check_time(cell: Cell) -> None:
    """The end comes within the deadline and a second."""
    assert cell.run.at_ms[-1] <= (DEADLINE_S + 1) * 1000
    assert cell.run.at_ms[-1] >= cell.done["latency_ms"] - 1


def check_lanes(cell: Cell, fast: str, slow: str) -> None:
    """Each lane ends as its script does, or was cancelled for a reason; what it used is told with its source."""
    for lane, script in (("fast", fast), ("slow", slow)):
        end = ends(cell.events)[lane]
        heard = said(cell.events, lane)
        told = "reported" if end["outcome"] in ("completed", "empty") else "estimated" if heard else "unknown"
        assert end["usage"]["source"] == told
        assert (end["ttft_ms"] is not None) == bool(heard.strip())
        if end["outcome"] == "cancelled":
            assert end["reason"] in ("superseded", "client_gone")
        else:
            _, outcome, reason = LANES[script]
            at_deadline = (lane, reason) == ("slow", "lane_timeout")  # its own limit lies behind the run's
            assert (end["outcome"], end["reason"]) == (outcome, "deadline" if at_deadline else reason)


def expected(log: list[Event]) -> tuple[str, str | None, str | None]:
    """(status, final lane, reason) by the words of the protocol, from the lanes' ends alone."""
    end = ends(log)
    last = named(log, "lane_end")[-1]
    fast = "fast" if end["fast"]["outcome"] == "completed" else None
    if end["slow"]["outcome"] == "completed":
        return "completed", "slow", None
    if any(each["outcome"] == "cancelled" for each in end.values()):
        return "cancelled", fast, "client_gone"
    if fast:
        return "partial", "fast", end["slow"]["reason"]
    return "timeout" if last["outcome"] == "timeout" else "failed", None, last["reason"]


def check_truth(cell: Cell) -> None:
    """The status, the preliminary and the final say what happened."""
    log, done = cell.events, cell.done
    status, final_lane, reason = expected(log)
    assert (done["status"], done["final_lane"], done["reason"]) == (status, final_lane, reason)
    assert done["verified"] == (status == "completed")
    drafts = named(log, "preliminary")
    assert len(drafts) == (ends(log)["fast"]["outcome"] == "completed")
    assert all(draft["text"] == said(log, "fast") for draft in drafts)
    finals = named(log, "final")
    assert len(finals) == (final_lane is not None)
    for final in finals:
        assert (final["lane"], final["verified"]) == (final_lane, done["verified"])
        assert final["text"] == said(log, final["lane"])
        assert (final["change"] == "unverified") == (final_lane == "fast")
        assert (final["agreement"] is not None) == (final_lane == "slow" and bool(drafts))


def check_record(cell: Cell, journal_kind: str) -> None:
    """The last word of the record is the log as it was read, and `done` does not promise more than the journal."""
    journal = cell.journal
    assert len(journal.openings) == 1
    assert len(journal.closings) == (2 if journal_kind == "dead" else 1)
    closing = journal.closings[-1]
    assert closing.log == cell.log
    assert len(closing.at_ms) == len(cell.events)
    assert (closing.status, closing.reason, closing.final_lane) == tuple(
        cell.done[key] for key in ("status", "reason", "final_lane")
    )
    assert closing.lanes["slow"].text == said(cell.events, "slow")
    assert cell.done["audit"] == ("pending" if journal_kind == "dead" else "durable")
    assert cell.events[0][2]["audit"] == ("durable" if journal_kind == "healthy" else "pending")


def check_reader(cell: Cell, reader: str) -> None:
    """A reader gets the log to the byte; one that left early a part of it."""
    if reader in ("leaves_early", "never_reads"):
        assert cell.log.startswith(cell.got)
    else:
        assert cell.got == cell.log
        assert cell.done["status"] != "cancelled"


def check(fast: str, slow: str, reader: str, journal_kind: str) -> None:
    """Play one cell and hold it against every rule."""
    cell = jump(play(fast, slow, reader, journal_kind))
    check_order(cell)
    check_time(cell)
    check_lanes(cell, fast, slow)
    check_truth(cell)
    check_record(cell, journal_kind)
    check_reader(cell, reader)


def all_hold(cells: Iterable[tuple[str, str, str, str]]) -> None:
    """Check them, and fail with the names of all that do not hold."""
    failed: list[str] = []
    for cell in cells:
        try:
            check(*cell)
        except AssertionError as error:
            failed.append(f"{' x '.join(cell)}: {str(error) or 'see below'}")
            cause = error
    if failed:
        raise AssertionError(f"{len(failed)} cells:\n" + "\n".join(failed[:20])) from cause


@pytest.mark.parametrize("fast", LANES)
def test_every_pair_of_lanes_ends_truthfully(fast: str) -> None:
    """Every fault meets every other before three witnesses, and before each witness; what must hold does hold."""
    begin = list(LANES).index(fast)
    seen = [
        (slow, WITNESSES[(begin + nth + step) % len(WITNESSES)]) for nth, slow in enumerate(LANES) for step in STEPS
    ]
    assert {witness for _, witness in seen} == set(WITNESSES)
    all_hold((fast, slow, *witness) for slow, witness in seen)


@pytest.mark.long
@pytest.mark.parametrize("fast", LANES)
def test_every_run_ends_truthfully(fast: str) -> None:
    """A run ends in time, once, truthfully and recorded, and leaves nothing behind, in any cell of the whole matrix."""
    all_hold((fast, slow, *witness) for slow in LANES for witness in WITNESSES)
