"""Purses under one contract, and what is held in them: this process's own, and the one in Redis."""

import itertools
from collections.abc import Sequence

from app.admission.allowance import NANO, Limit
from app.admission.purse import Account, Ask, Hold, MemoryPurse, Past, Settlement, Shortage, Standing

NOW = 1_800_000_000.0  # the begin of a minute and of an hour
USD = Account("caller", "ada", "usd")
A_DOLLAR_AN_HOUR = Limit("usd", "hour", NANO)
TWO_A_DAY = Limit("usd", "day", 2 * NANO)

_numbers = itertools.count()


class Memory:
    """The memory purse, with the calls of the shared one."""

    def __init__(self) -> None:
        self.purse = MemoryPurse()

    async def reserve(self, hold: Hold, now: float) -> Shortage | None:
        """As SharedPurse has it."""
        return self.purse.reserve(hold, now)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """As SharedPurse has it."""
        for settlement in settlements:
            self.purse.settle(settlement)

    async def standing(self, accounts: Sequence[Account], now: float) -> list[Standing]:
        """As SharedPurse has it."""
        return self.purse.standing(accounts, now)

    async def learn(self, past: Past) -> None:
        """As SharedPurse has it."""
        self.purse.learn(past)

    async def born(self, now: float) -> float:
        """Always just now: it dies with its process."""
        return now


def hold(
    amount: int, *limits: Limit, account: Account = USD, until: float = NOW + 60.0, others: Sequence[Ask] = ()
) -> Hold:
    """An amount for a run of its own, in one account and perhaps others."""
    return Hold(f"run{next(_numbers)}", (Ask(account, amount, limits or (A_DOLLAR_AN_HOUR,)), *others), until)
