"""The gate before a race: who is let in holds a pass, and every pass is settled exactly once, whatever happens."""

import asyncio

import pytest
from journals import MemoryJournal
from races import ALICE, question, read, scripted

from app.admission.gate import LaneSpent, Spent
from app.answers.cache import Cache
from app.answers.lifetime import Lifetimes
from app.answers.memory import Memory
from app.errors import ShuttingDown, TooManyRuns, UnknownModel
from app.events import LaneEnd
from app.question import Caller, LaneAsk, LaneName, Question, scope_of
from app.reasoning.desk import Asked, Desk, Rules
from app.reasoning.elsewhere import Nowhere
from app.reasoning.idempotency import IdempotencyKeys, NoUses
from app.reasoning.race import Terms
from app.reasoning.runs import Bounds, Runs

HANG = "scripted:hang"
QUICK, LATER = "scripted:fast?first=0&gap=0&tokens=3", "scripted:slow?first=0.01&gap=0&tokens=3"


class Counted:
    """A gate that lets everybody in after a wait of 7 ms, and keeps what was spent on each pass."""

    queued_ms = 7

    def __init__(self, *, full: bool = False) -> None:
        self.entered = 0
        self.spent: list[Spent] = []
        self.full = full

    async def enter(self, caller: Caller, question: Question) -> "Counted":  # noqa: ARG002  # as Gate has it
        """Let in, or refuse."""
        if self.full:
            raise TooManyRuns("the gate is shut")
        self.entered += 1
        await asyncio.sleep(0)
        return self

    def settle(self, spent: Spent) -> None:
        """Note it."""
        self.spent.append(spent)


def desk_over(runs: Runs, gate: Counted, cache: Cache | None = None) -> Desk:
    """A desk with that gate."""
    keys = IdempotencyKeys(NoUses(), Nowhere(), 60, asyncio.get_running_loop().time)
    rules = Rules(lambda asked, caller: asked.key(scope_of(caller, "caller"), {}), gate)
    return Desk(runs, rules, keys, Nowhere(), cache)


def registry(terms: Terms = Terms()) -> Runs:  # noqa: B008  # frozen
    """Runs over scripted models."""
    return Runs(scripted(), MemoryJournal(), terms, Bounds())


async def asked(desk: Desk, of: Question) -> Asked:
    """What answers the question."""
    found = await desk.ask(of, ALICE)
    assert isinstance(found, Asked)
    return found


async def test_a_pass_is_settled_with_what_the_run_spent() -> None:
    """A run that completes settles its pass once, with its tokens, and says in `start` how long it waited."""
    gate, runs = Counted(), registry()
    log = await read((await asked(desk_over(runs, gate), question(QUICK, LATER))).log.attach())
    await runs.drain(1)
    assert b'"queued_ms":7' in log
    assert (gate.entered, len(gate.spent)) == (1, 1)
    assert gate.spent[0].tokens
    assert gate.spent[0].cost_nano is None  # nobody knows a price of these models


async def test_a_stopped_run_settles_its_pass() -> None:
    """A run that the server's end stops settles its pass once, with what it used until then: nothing is known of it."""
    gate, runs = Counted(), registry()
    await asked(desk_over(runs, gate), question(HANG, HANG))
    await runs.drain(0)
    assert [spent[:2] for spent in gate.spent] == [(None, None)]
    assert gate.spent[0].lanes == {"fast": LaneSpent(None, None), "slow": LaneSpent(None, None)}


@pytest.mark.parametrize("model", ["scripted:none-such", "nobody:x"])
async def test_a_run_that_cannot_be_opened_spends_nothing(model: str) -> None:
    """A question to a model that is not there is refused before the gate, where it would take what others need."""
    gate = Counted()
    with pytest.raises(UnknownModel):
        await asked(desk_over(registry(), gate), question(model))
    assert (gate.entered, gate.spent) == (0, [])


async def test_what_can_no_longer_be_opened_spends_nothing() -> None:
    """A question that waited at the gate until the server began to end gives its pass back unspent."""
    gate, runs = Counted(), registry()
    waiting = asyncio.create_task(asked(desk_over(runs, gate), question(QUICK, LATER)))
    await asyncio.sleep(0)
    await runs.drain(0)
    with pytest.raises(ShuttingDown):
        await waiting
    assert (gate.entered, gate.spent) == (1, [Spent(0, 0)])


async def test_who_is_refused_holds_nothing() -> None:
    """A question that the gate refuses opens no run and has no pass to settle."""
    gate, runs = Counted(full=True), registry()
    with pytest.raises(TooManyRuns, match="shut"):
        await asked(desk_over(runs, gate), question(QUICK, LATER))
    assert (gate.spent, runs.live) == ([], 0)


async def test_who_joins_passes_no_gate() -> None:
    """Twenty who ask the same at once are one pass."""
    gate, runs = Counted(), registry()
    desk = desk_over(runs, gate, Cache(Memory(10, 1000, 10), [], Lifetimes(60, {}, 0)))
    found = await asyncio.gather(*(asked(desk, question(QUICK, HANG)) for _ in range(20)))
    await runs.drain(0)
    assert len({each.log.run_id for each in found}) == gate.entered == len(gate.spent) == 1


async def test_a_judge_hears_of_every_lane_once() -> None:
    """Whoever judges models hears how each lane ended, when it did, even when what it does with that fails."""
    heard: list[tuple[LaneName, str, str]] = []

    def judge(lane: LaneName, asked: LaneAsk, end: LaneEnd) -> None:
        """Note it, and fail."""
        heard.append((lane, asked.model, end.outcome))
        raise RuntimeError("a judge that fails")

    runs = registry(Terms(judge=judge))
    log = await read((await asked(desk_over(runs, Counted()), question(QUICK, LATER))).log.attach())
    await runs.drain(1)
    assert heard == [("fast", QUICK, "completed"), ("slow", LATER, "completed")]
    assert b'"status":"completed"' in log
