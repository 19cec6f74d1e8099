"""The gate of money and tokens: what is held before a race, what is settled after it, and who is refused."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from cells import rows
from msgspec import structs
from races import question

from app.admission.allowance import NANO, Allowances, Defaults, parse_limits
from app.admission.budget import Budget, Purses, Shared
from app.admission.estimate import Estimator, Prices
from app.admission.gate import FREE, Free, Gates, LaneSpent, Pass, Spent
from app.admission.purse import Account, Hold, Past, Settlement, Shortage, Standing
from app.admission.settling import Settler
from app.admission.sparing import CountersUnavailable, Sparing
from app.breaker import Breaker
from app.errors import BudgetExceeded, ModelUnpriced, TooManyRuns
from app.question import Caller, Grant, LaneName, Question
from app.record.prices import Tariff
from app.settings import Settings
from app.wiring import breakers

ADA = Caller("ada", "acme")
CENT = NANO // 100
A_CENT_A_TOKEN = Tariff(CENT, CENT, None, "test")
ASKED = question()  # 24 characters are 6 tokens for each lane
ESTIMATE = 2 * (6 + 10)


def prices(**by_model: Tariff) -> Prices:
    """Prices that are known at once, or only when they are looked up (`later`)."""
    later = by_model.pop("later", None)

    async def look(lane: LaneName, model: str) -> Tariff | None:  # as Prices has it
        """What a look finds, in its time."""
        return later

    return Prices(lambda _, model: by_model.get(model.partition(":")[0]), look)


def gate(limits: str = "", *, tenant: str = "", of: Prices | None = None, shared: Shared | None = None) -> Budget:
    """A gate whose models cost a cent a token and say ten, unless told otherwise, at a time that stands still."""
    allowances = Allowances(Defaults(parse_limits(limits), parse_limits(tenant)))
    estimator = Estimator(of or prices(scripted=A_CENT_A_TOKEN), 10)
    return Budget(allowances, Purses(lambda: 1_800_000_000.0, shared), estimator, Counter())


async def left(budget: Budget, caller: Caller = ADA) -> list[tuple[float, float, float]]:
    """What each limit has left, spent and reserved."""
    return [(row["left"], row["spent"], row["reserved"]) for row in await budget.standing(caller)]


async def test_an_estimate_is_held_and_the_truth_settled() -> None:
    """Before the race both lanes' input and longest output are held at their price; after it only the cost is spent."""
    budget = gate("1 usd/hour")
    admitted = await budget.enter(ADA, ASKED)
    assert await left(budget) == [(0.68, 0.0, 0.32)]
    admitted.settle(Spent(5, 7 * NANO // 100))
    assert await left(budget) == [(0.93, 0.07, 0.0)]
    assert (budget.settled_nano, budget.kept_nano) == (7 * NANO // 100, 0)


async def test_tokens_are_held_and_settled_like_money() -> None:
    """A limit on tokens holds the estimate of both lanes and is left with what they used."""
    budget = gate("100 tokens/hour")
    admitted = await budget.enter(ADA, ASKED)
    assert await left(budget) == [(100 - ESTIMATE, 0, ESTIMATE)]
    admitted.settle(Spent(5, None))
    assert await left(budget) == [(95, 5, 0)]


async def test_the_output_is_as_long_as_it_may_be() -> None:
    """A cap on a lane's output makes its estimate smaller, and a wrapper that asks several times makes it larger."""
    fast, slow = (
        structs.replace(ASKED.fast, max_output_tokens=1),
        structs.replace(ASKED.slow, model="five@scripted:slow"),
    )
    of = prices(scripted=A_CENT_A_TOKEN)
    estimator = Estimator(replace(of, times=lambda model: 5 if model.startswith("five@") else 1), 10)
    assert (await estimator.of(structs.replace(ASKED, fast=fast, slow=slow))).total.tokens == (6 + 1) + 5 * (6 + 10)


async def test_a_second_attempt_is_in_the_estimate() -> None:
    """A lane that may be asked twice may read its question twice, and what was heard of nobody was read once."""
    of = replace(prices(scripted=A_CENT_A_TOKEN), attempts=lambda _: 2, times=lambda _: 3)
    estimate = await Estimator(of, 10).of(ASKED)
    assert estimate.lanes["slow"] == (3 * (2 * 6 + 10), 3 * (2 * 6 + 10) * CENT)
    assert estimate.read["slow"] == (3 * 6, 3 * 6 * CENT)


@rows(
    ("changes", "model", "attempts"),
    [
        ({}, "openai:x", 1),
        ({"hedge_after_s": 1}, "openai:x", 2),
        ({"hedge_after_p": 0.9}, "deliberate:5@openai:x", 2),
        ({"hedge_after_s": 1}, "deliberate:5@local:x", 1),
    ],
)
def test_who_may_be_asked_twice(changes: dict[str, float], model: str, attempts: int) -> None:
    """Where second attempts are made, every model may have one that is not on this processor."""
    assert breakers.attempts(Settings(**changes), model) == attempts  # type: ignore[arg-type]


@rows(
    ("fast", "charged", "stands"),
    [
        (LaneSpent(8, 8 * CENT), 8, 0),  # as its record says
        (LaneSpent(None, None), 6, 6),  # cancelled before its first token: the question was read
        (LaneSpent(None, None, asked=False), 0, 0),  # refused, or failed before its first token
        (LaneSpent(8, None), 16, 16),  # its price was there before and is not any more
    ],
)
async def test_each_lane_is_charged_what_is_known_of_it(fast: LaneSpent, charged: int, stands: int) -> None:
    """A lane costs what its record says; one that nothing was heard of has read the question, if it was asked."""
    budget = gate("1 usd/hour")
    lanes: dict[LaneName, LaneSpent] = {"fast": fast, "slow": LaneSpent(3, 3 * CENT)}
    (await budget.enter(ADA, ASKED)).settle(Spent(None, None, lanes))
    assert await left(budget) == [((100 - charged - 3) / 100, (charged + 3) / 100, 0.0)]
    assert (budget.settled_nano, budget.kept_nano) == ((charged - stands + 3) * CENT, stands * CENT)


async def test_an_unknown_cost_keeps_the_estimate() -> None:
    """A run that left no record of its lanes has spent what was held for it."""
    budget = gate("1 usd/hour, 100 tokens/hour")
    (await budget.enter(ADA, ASKED)).settle(Spent(None, None))
    assert await left(budget) == [(100 - ESTIMATE, ESTIMATE, 0), (0.68, 0.32, 0.0)]
    assert (budget.settled_nano, budget.kept_nano) == (0, 32 * NANO // 100)


async def test_a_price_that_nobody_knows_holds_nothing() -> None:
    """A model without a price is let in at no cost, and what turns out to be known of it is settled."""
    budget = gate("1 usd/hour", of=prices())
    admitted = await budget.enter(ADA, ASKED)
    assert await left(budget) == [(1.0, 0.0, 0.0)]
    admitted.settle(Spent(5, NANO))
    with pytest.raises(BudgetExceeded):
        await budget.enter(ADA, ASKED)


async def test_a_price_that_must_be_known_is() -> None:
    """Where money is limited a model without a price is refused by name, though the other lane has one; the same model
    is let in where tokens alone are.
    """
    of = replace(prices(scripted=A_CENT_A_TOKEN), required=lambda model: model.startswith("openai:"))
    asked = structs.replace(ASKED, fast=structs.replace(ASKED.fast, model="openai:anything"))
    budget = gate("1 usd/hour", of=of)
    with pytest.raises(ModelUnpriced, match=r"openai:anything.*PRICES_FILE.*UNPRICED_MODELS") as refused:
        await budget.enter(ADA, asked)
    assert refused.value.details == {"models": ["openai:anything"]}
    assert await left(budget) == [(1.0, 0.0, 0.0)]
    assert await gate("100 tokens/hour", of=of).enter(ADA, asked) is not FREE
    assert await gate(of=of).enter(ADA, asked) is FREE


async def test_many_who_come_first_wait_for_one_look() -> None:
    """While the price of a model is looked up nobody who asks it too is let in at no cost."""
    looked, found = 0, asyncio.Event()

    async def look(lane: LaneName, model: str) -> Tariff | None:  # as Prices has it
        """Take a moment."""
        nonlocal looked
        looked += 1
        await found.wait()
        return A_CENT_A_TOKEN

    estimator = Estimator(Prices(lambda *_: None, look), 10)
    asking = [asyncio.create_task(estimator.of(ASKED)) for _ in range(3)]
    await asyncio.sleep(0)
    found.set()
    assert {(await task).total.cost_nano for task in asking} == {32 * CENT}
    assert looked == 2  # one for each lane's model


async def test_the_first_question_to_a_model_looks_its_price_up() -> None:
    """A price that was never looked up is, before the first run that needs it: nobody runs free by being first."""
    budget = gate("1 usd/hour", of=prices(later=A_CENT_A_TOKEN))
    await budget.enter(ADA, ASKED)
    assert await left(budget) == [(0.68, 0.0, 0.32)]


async def test_a_look_that_takes_long_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A price list that does not answer delays the first question to a model a little, and no other."""
    monkeypatch.setattr("app.admission.estimate.LOOK_S", 0.01)
    looks = 0

    async def look(lane: LaneName, model: str) -> Tariff | None:  # as Prices has it
        """What a look finds, in its time."""
        nonlocal looks
        looks += 1
        await asyncio.Event().wait()
        return None

    estimator = Estimator(Prices(lambda *_: None, look), 10)
    for _ in range(3):
        assert (await estimator.of(ASKED)).total.cost_nano == 0
    assert looks == 2  # one for each lane's model


async def test_a_price_that_must_be_known_is_worth_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is refused for a price that is only not looked up yet, as while the list of prices is being loaded."""
    monkeypatch.setattr("app.admission.estimate.LOOK_S", 0.01)

    async def look(lane: LaneName, model: str) -> Tariff | None:  # as Prices has it
        """What a look finds, in its time."""
        await asyncio.sleep(0.03)
        return A_CENT_A_TOKEN

    estimate = await Estimator(Prices(lambda *_: None, look, required=lambda _: True), 10).of(ASKED)
    assert (estimate.unpriced, estimate.total.cost_nano) == ((), 32 * CENT)


async def test_a_refusal_says_what_is_in_the_way() -> None:
    """Who has no money left is told the limit, whose it is, what of it is used, and when to come again."""
    budget = gate("0.5 usd/hour")
    await budget.enter(ADA, ASKED)
    with pytest.raises(BudgetExceeded, match=r"your limit of 0\.5 US dollars per hour") as refused:
        await budget.enter(ADA, ASKED)
    assert refused.value.details == {
        "limit": "usd_per_hour",
        "scope": "caller",
        "most": 0.5,
        "asked": 0.32,
        "spent": 0.0,
        "reserved": 0.32,
        "retry_after_s": 2,
    }
    assert budget.exceeded == {("caller", "usd_per_hour"): 1}


async def test_what_is_more_than_a_limit_is_not_to_be_waited_for() -> None:
    """A question that may cost more than the whole limit is refused without a time, and told what would help."""
    with pytest.raises(BudgetExceeded, match="max_output_tokens") as refused:
        await gate("0.1 usd/hour").enter(ADA, ASKED)
    assert "retry_after_s" not in refused.value.details


async def test_a_tenants_callers_share_its_budget() -> None:
    """What one caller of a tenant has spent another has not."""
    budget = gate(tenant="0.5 usd/hour")
    await budget.enter(ADA, ASKED)
    with pytest.raises(BudgetExceeded) as refused:
        await budget.enter(Caller("bob", "acme"), ASKED)
    assert refused.value.details["scope"] == "tenant"
    await budget.enter(Caller("eve", "other"), ASKED)


async def test_a_grant_of_nothing_lets_nobody_in() -> None:
    """A key that may spend nothing asks nothing, whatever it would cost."""
    with pytest.raises(BudgetExceeded):
        await gate(of=prices()).enter(Caller("poor", grant=Grant(usd_per_day=0)), ASKED)


async def test_who_has_no_limit_is_not_counted() -> None:
    """Without a limit a pass costs nothing and holds nothing."""
    assert await gate().enter(ADA, ASKED) is FREE


async def test_a_pass_is_worth_something_once() -> None:
    """A pass that is settled twice has spent once."""
    budget = gate("1 usd/hour")
    admitted = await budget.enter(ADA, ASKED)
    for _ in range(2):
        admitted.settle(Spent(1, NANO // 4))
    assert await left(budget) == [(0.75, 0.25, 0.0)]


# -- several gates


class Queue(Free):
    """A gate that lets in after 5 ms, refuses, or lets wait for ever; settled: what its passes were settled with."""

    queued_ms = 5

    def __init__(self, *, full: bool = False, endless: bool = False, fault: Exception | None = None) -> None:
        self.full = full
        self.endless = endless
        self.fault = fault
        self.settled: list[Spent] = []

    async def enter(self, caller: Caller, question: Question) -> Pass:  # noqa: ARG002  # as Gate has it
        """Let in, or refuse, or neither."""
        if self.full:
            raise TooManyRuns("full")
        if self.endless:
            await asyncio.Event().wait()
        return self

    def settle(self, spent: Spent) -> None:
        """Note it, and fail if it is to."""
        self.settled.append(spent)
        if self.fault is not None:
            raise self.fault


async def test_gates_are_entered_together_or_not_at_all() -> None:
    """Who is refused at a later gate gives back, unspent, what an earlier one gave."""
    first, budget, last = Queue(), gate("1 usd/hour"), Queue(full=True)
    with pytest.raises(TooManyRuns):
        await Gates([first, budget, last]).enter(ADA, ASKED)
    assert first.settled == [Spent(0, 0)]
    assert await left(budget) == [(1.0, 0.0, 0.0)]


async def test_who_is_cancelled_at_a_later_gate_holds_nothing() -> None:
    """Who leaves while it waits at a later gate gives back, unspent, what an earlier one gave."""
    first, budget, last = Queue(), gate("1 usd/hour"), Queue(endless=True)
    asking = asyncio.create_task(Gates([first, budget, last]).enter(ADA, ASKED))
    await asyncio.sleep(0)
    assert await left(budget) == [(0.68, 0.0, 0.32)]
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert first.settled == [Spent(0, 0)]
    assert await left(budget) == [(1.0, 0.0, 0.0)]


async def test_every_pass_is_settled(caplog: pytest.LogCaptureFixture) -> None:
    """Passes of several gates are settled the last first, and one that fails keeps nobody else from it."""
    first, faulty = Queue(fault=RuntimeError("of the first")), Queue(fault=RuntimeError("of the last"))
    admitted = await Gates([first, gate(), faulty]).enter(ADA, ASKED)
    assert admitted.queued_ms == 10
    admitted.settle(Spent(1, 2))
    assert first.settled == faulty.settled == [Spent(1, 2)]
    assert [str(record.exc_info and record.exc_info[1]) for record in caplog.records] == ["of the last", "of the first"]


async def test_gates_that_hold_nothing_give_a_free_pass() -> None:
    """A pass of gates that count nothing is the free one."""
    assert await Gates([gate(), gate()]).enter(ADA, ASKED) is FREE


# -- a purse for all instances


class Remote:
    """A shared purse that is `well`, `away`, or holds and never says so: it is silent (`mute`), or fails (`lost`)."""

    def __init__(self, state: str = "well") -> None:
        self.state = state
        self.held: set[str] = set()
        self.settled: list[tuple[str, tuple[int, ...]]] = []

    async def reserve(self, hold: Hold, now: float) -> Shortage | None:  # noqa: ARG002  # as SharedPurse has it
        """Hold it."""
        if self.state == "away":
            raise CountersUnavailable("gone")
        self.held.add(hold.id)
        if self.state == "lost":
            raise CountersUnavailable("its reply was lost")
        if self.state == "mute":
            await asyncio.Event().wait()
        return None

    async def settle(self, settlements: Sequence[Settlement], now: float) -> None:  # noqa: ARG002  # as above
        """Note them."""
        if self.state == "away":
            raise CountersUnavailable("gone")
        for hold, spent, _ in settlements:
            self.held.discard(hold.id)
            self.settled.append((hold.id, spent))

    async def standing(self, accounts: Sequence[Account], now: float) -> list[Standing]:  # noqa: ARG002  # as above
        """Nobody knows."""
        raise CountersUnavailable("gone")

    async def learn(self, past: Past) -> None:
        """Nothing."""

    async def began(self) -> tuple[float, float]:
        """Just now."""
        return 0.0, 0.0


def shared(remote: Remote, settler: Settler) -> Shared:
    """That purse, spared after three failures for as long as a test takes."""
    return Shared(remote, Sparing(Breaker(threshold=3, first_s=3600), lambda: 0.0), settler)


async def test_an_away_purse_is_stood_in_for() -> None:
    """While the shared purse is away this process's own decides, which has counted all along, and nobody is refused
    for it.
    """
    remote = Remote()
    async with Settler(remote) as settler:
        budget = gate("1 usd/hour", shared=shared(remote, settler))
        await budget.enter(ADA, ASKED)
        remote.state = "away"
        for _ in range(2):
            await budget.enter(ADA, ASKED)
        with pytest.raises(BudgetExceeded):
            await budget.enter(ADA, ASKED)
        remote.state = "well"


async def test_a_purse_that_was_away_hears_what_was_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs spent while the shared purse was away it is told when it is back, whoever had let them in."""
    monkeypatch.setattr("app.admission.settling.AGAIN_S", (0.005, 0.005))
    remote = Remote("away")
    async with Settler(remote) as settler:
        budget = gate("1 usd/hour", shared=shared(remote, settler))
        (await budget.enter(ADA, ASKED)).settle(Spent(1, 5))
        await asyncio.sleep(0)
        assert (settler.waiting, remote.settled) == (1, [])
        remote.state = "well"
    assert [spent for _, spent in remote.settled] == [(5,)]


async def test_who_leaves_while_it_is_held_holds_nothing() -> None:
    """A client that leaves before the shared purse has answered leaves nothing held in it."""
    remote = Remote("mute")
    async with Settler(remote) as settler:
        asking = asyncio.create_task(gate("1 usd/hour", shared=shared(remote, settler)).enter(ADA, ASKED))
        await asyncio.sleep(0)
        assert remote.held
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert not remote.held


async def test_who_is_refused_in_its_stead_holds_nothing() -> None:
    """Who is refused here because the shared purse's reply was lost leaves nothing held there either."""
    remote = Remote()
    async with Settler(remote) as settler:
        budget = gate("0.5 usd/hour", shared=shared(remote, settler))
        admitted = await budget.enter(ADA, ASKED)
        remote.state = "lost"
        with pytest.raises(BudgetExceeded):
            await budget.enter(ADA, ASKED)
        admitted.settle(Spent(1, 1))
    assert not remote.held
