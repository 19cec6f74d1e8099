"""Purses under one contract, and what is held in them: this process's own, and the one in Redis."""

import itertools
from collections.abc import Sequence

from app.admission.allowance import NANO, Limit
from app.admission.purse import Account, Ask, Hold, MemoryPurse, Past, Settlement, Shortage, Standing
from app.redis.client import Client
from app.redis.purse import RedisPurse

NOW = 1_800_000_000.0  # the begin of a minute and of an hour
USD = Account("caller", "ada", "usd")
A_DOLLAR_AN_HOUR = Limit("usd", "hour", NANO)
A_SET_CLOCK = "local function clock() return tonumber(redis.call('GET', 'clock')) end\n"
TWO_A_DAY = Limit("usd", "day", 2 * NANO)

_numbers = itertools.count()


class Memory:
    """The memory purse, with the calls of the shared one."""

    def __init__(self) -> None:
        self.purse = MemoryPurse()

    async def reserve(self, hold: Hold, now: float) -> Shortage | None:
        """As SharedPurse has it."""
        return self.purse.reserve(hold, now)

    async def settle(self, settlements: Sequence[Settlement], now: float) -> None:  # noqa: ARG002  # as SharedPurse has it
        """As SharedPurse has it."""
        for settlement in settlements:
            self.purse.settle(settlement)

    async def standing(self, accounts: Sequence[Account], now: float) -> list[Standing]:
        """As SharedPurse has it."""
        return self.purse.standing(accounts, now)

    async def learn(self, past: Past) -> None:
        """As SharedPurse has it."""
        self.purse.learn(past)

    async def began(self) -> tuple[float, float]:
        """Always just now: it dies with its process."""
        return NOW, NOW


class Shared:
    """The purse in Redis, whose clock stands at the time that each call names, unless it is set apart from theirs."""

    def __init__(self, client: Client) -> None:
        self.purse = RedisPurse(client, 1.0, clock=A_SET_CLOCK)
        self._client = client

    async def set(self, now: float) -> None:
        """Let it be so late."""
        await self._client.call("SET", "clock", now, timeout_s=1.0)

    async def reserve(self, hold: Hold, now: float) -> Shortage | None:
        """As SharedPurse has it."""
        await self.set(now)
        return await self.purse.reserve(hold, now)

    async def settle(self, settlements: Sequence[Settlement], now: float) -> None:
        """As SharedPurse has it."""
        await self.set(now)
        await self.purse.settle(settlements, now)

    async def standing(self, accounts: Sequence[Account], now: float) -> list[Standing]:
        """As SharedPurse has it."""
        await self.set(now)
        return await self.purse.standing(accounts, now)

    async def learn(self, past: Past) -> None:
        """As SharedPurse has it."""
        await self.purse.learn(past)

    async def began(self) -> tuple[float, float]:
        """As SharedPurse has it."""
        return await self.purse.began()


def hold(
    amount: int, *limits: Limit, account: Account = USD, until: float = NOW + 60.0, others: Sequence[Ask] = ()
) -> Hold:
    """An amount for a run of its own, in one account and perhaps others."""
    return Hold(f"run{next(_numbers)}", (Ask(account, amount, limits or (A_DOLLAR_AN_HOUR,)), *others), until)
