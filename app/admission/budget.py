"""The gate of money and tokens: an estimate is held before the race, and what the run really spent replaces it after.

What a run has spent is what its record says of its lanes. Where the record knows nothing of a lane, as when a client
left before the first token, the question was read and is charged; where no record was made the estimate stands. A model
whose price nobody knows costs 0, both before and after, unless it must have one: then it is not asked.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from uuid_utils import uuid4

from app.admission.allowance import Allowances, Rule, Unit, shown
from app.admission.doorman import PRIVATE
from app.admission.estimate import Estimate, Estimator
from app.admission.gate import FREE, Pass, Spent
from app.admission.purse import Account, Ask, Hold, MemoryPurse, Settlement, SharedPurse, Shortage, Standing
from app.admission.settling import Settler
from app.admission.sparing import CountersUnavailable, Sparing
from app.errors import BudgetExceeded, ModelUnpriced
from app.question import Caller, Question

MARGIN_S: Final = 10.0  # beyond its deadline, by when a run has long been settled


@dataclass(frozen=True, slots=True)
class Shared:
    """The purse of all instances, what spares it while it does not answer, and who tells it what runs have spent."""

    purse: SharedPurse
    sparing: Sparing
    settler: Settler


class Purses:
    """This instance's purse, and the shared one if there is one: that decides while it answers, else ours does.

    Ours counts all that this instance spends in any case, so that it can take over.
    """

    def __init__(self, wall: Callable[[], float], shared: Shared | None = None) -> None:
        self.own = MemoryPurse()
        self.wall = wall
        self._shared = shared

    async def reserve(self, hold: Hold) -> Shortage | None:
        """Hold all of it, or nothing and say what is in the way."""
        if self._shared is None:
            return self.own.reserve(hold, self.wall())
        try:
            short = await self._shared.sparing.ask(self._shared.purse.reserve, hold, self.wall())
        except CountersUnavailable:
            short = self.own.reserve(hold, self.wall())
            if short is not None:
                self._forget(hold)
        except BaseException:  # a client that left: nobody knows whether it is held there by now
            self._forget(hold)
            raise
        else:
            if short is None:
                self.own.keep(hold, self.wall())
        return short

    def settle(self, hold: Hold, spent: list[int]) -> None:
        """Put what was spent in the place of what was held. Never waits."""
        settlement = Settlement(hold, tuple(spent), self.wall())
        self.own.settle(settlement)
        if self._shared is not None:
            self._shared.settler.put(settlement)

    async def standing(self, accounts: list[Account]) -> list[Standing]:
        """How each account stands."""
        if self._shared is not None:
            try:
                return await self._shared.sparing.ask(self._shared.purse.standing, accounts, self.wall())
            except CountersUnavailable:
                pass
        return self.own.standing(accounts, self.wall())

    def _forget(self, hold: Hold) -> None:
        if self._shared is not None:
            self._shared.settler.put(Settlement(hold, (0,) * len(hold.asks), self.wall()))


class Budget:
    """A gate that lets in who can pay. exceeded: how often a limit refused, by scope and limit.

    settled_nano: what runs here have spent, as their records say; kept_nano: estimates that stand for what is unknown.
    """

    def __init__(
        self, allowances: Allowances, purses: Purses, estimator: Estimator, exceeded: Counter[tuple[str, str]]
    ) -> None:
        self._allowances = allowances
        self._purses = purses
        self._estimator = estimator
        self.exceeded = exceeded
        self.settled_nano = 0
        self.kept_nano = 0

    async def enter(self, caller: Caller, question: Question) -> Pass:
        """A pass with the estimate held. Raises BudgetExceeded, ModelUnpriced."""
        rules = self._allowances.budgets(caller)
        if not rules:
            return FREE
        estimate = await self._estimator.of(question)
        if estimate.unpriced and any(rule.limit.unit == "usd" for rule in rules):
            raise unpriced(estimate.unpriced)
        asks = _asks(rules, {"tokens": estimate.total.tokens, "usd": estimate.total.cost_nano})
        hold = Hold(uuid4().hex, asks, self._purses.wall() + question.deadline_s + MARGIN_S)
        short = await self._purses.reserve(hold)
        if short is not None:
            self.exceeded[short.account.scope, short.limit.name] += 1
            raise refusal(short)
        return Reserved(self, hold, estimate)

    def settle(self, hold: Hold, spent: Spent, estimate: Estimate) -> None:
        """What a pass was worth."""
        known, stands = estimate.settled(spent)
        self.settled_nano += known.cost_nano
        self.kept_nano += stands.cost_nano
        amounts = {"tokens": known.tokens + stands.tokens, "usd": known.cost_nano + stands.cost_nano}
        self._purses.settle(hold, [amounts[ask.account.unit] for ask in hold.asks])

    async def standing(self, caller: Caller) -> list[dict[str, Any]]:
        """What is left of the caller's own limits and of the tenant's."""
        rules = [rule for rule in self._allowances.budgets(caller) if rule.scope not in PRIVATE]
        accounts = list(dict.fromkeys(Account(rule.scope, rule.id, rule.limit.unit) for rule in rules))
        found = dict(zip(accounts, await self._purses.standing(accounts), strict=True)) if accounts else {}
        return [_told(rule, found[Account(rule.scope, rule.id, rule.limit.unit)]) for rule in rules]


class Reserved:
    """A pass with an amount held behind it; settled again it does nothing."""

    queued_ms = 0

    def __init__(self, budget: Budget, hold: Hold, estimate: Estimate) -> None:
        self._budget = budget
        self._hold: Hold | None = hold
        self._estimate = estimate

    def settle(self, spent: Spent) -> None:
        """As Pass has it."""
        hold, self._hold = self._hold, None
        if hold is not None:
            self._budget.settle(hold, spent, self._estimate)


def unpriced(models: Sequence[str]) -> ModelUnpriced:
    """Why a question to these is refused where money is limited."""
    said = f"money is limited here, and nobody knows what {' and '.join(models)} may cost"
    hint = "give it a price in PRICES_FILE, or set UNPRICED_MODELS=allow if it costs nothing"
    return ModelUnpriced(f"{said}: {hint}", models=list(models))


def refusal(short: Shortage) -> BudgetExceeded:
    """Why a question is refused: which limit, whose, what of it is used, and when to come again."""
    account, limit, unit = short.account, short.limit, short.account.unit
    whose = {"caller": "your", "tenant": "your tenant's"}.get(account.scope, "this server's")
    what = "US dollars" if unit == "usd" else unit
    details: dict[str, Any] = {"limit": limit.name, "scope": account.scope, "most": limit.shown}
    details["asked"] = shown(unit, short.amount)
    if account.scope not in PRIVATE:
        details |= {"spent": shown(unit, short.spent), "reserved": shown(unit, short.held)}
    if short.retry_after_s is None:
        said = (
            f"this question may use {details['asked']:g} {what}, and {whose} limit is {limit.shown:g} per {limit.span}"
        )
        return BudgetExceeded(f"{said}: a smaller max_output_tokens may fit", **details)
    said = f"{whose} limit of {limit.shown:g} {what} per {limit.span} does not leave what this question may use"
    return BudgetExceeded(f"{said}; try again in {short.retry_after_s} s", **details, retry_after_s=short.retry_after_s)


def _asks(rules: list[Rule], amounts: dict[Unit, int]) -> tuple[Ask, ...]:
    """One for each account, with all its limits."""
    limits: dict[Account, list[Any]] = {}
    for rule in rules:
        limits.setdefault(Account(rule.scope, rule.id, rule.limit.unit), []).append(rule.limit)
    return tuple(Ask(account, amounts[account.unit], tuple(found)) for account, found in limits.items())


def _told(rule: Rule, standing: Standing) -> dict[str, Any]:
    unit, spent = rule.limit.unit, standing.spent[rule.limit.span]
    return {
        "scope": rule.scope,
        "limit": rule.limit.name,
        "most": rule.limit.shown,
        "left": shown(unit, max(0, rule.limit.most - spent - standing.held)),
        "spent": shown(unit, spent),
        "reserved": shown(unit, standing.held),
    }
