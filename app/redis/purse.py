"""The purse of all instances in Redis, told by the scripts of purse_steps.py what happens in one step."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from app.admission.allowance import Limit, Span
from app.admission.purse import (
    BUCKET_S,
    Account,
    Ask,
    Hold,
    Past,
    Settlement,
    Shortage,
    Standing,
    beyond,
    retry_after_s,
)
from app.admission.sparing import CountersUnavailable
from app.redis.client import Client, Part, RedisUnavailable, Script, expected, short
from app.redis.purse_steps import SERVER_CLOCK, steps

BATCH: Final = 200
_LETTERS: Final[dict[Span, str]] = {"hour": "m", "day": "h"}


class RedisPurse:
    """As SharedPurse has it. timeout_s bounds what somebody waits for, behind_s what nobody does.

    Every moment is one of Redis's clock, or of the one given in Lua; of a caller's it takes differences alone.
    """

    def __init__(self, client: Client, timeout_s: float, behind_s: float = 1.0, clock: str = SERVER_CLOCK) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._behind_s = behind_s
        self._steps = steps(clock)

    async def reserve(self, hold: Hold, now: float) -> Shortage | None:
        """Hold all of it, or nothing and say what is in the way."""
        args: list[Part] = [hold.id, hold.expires_at - now]
        for ask in hold.asks:
            most = {limit.span: limit.most for limit in ask.limits}
            args += (ask.amount, most.get("hour", -1), most.get("day", -1))
        names = [self._mark(hold), *(name for ask in hold.asks for name in self._names(ask.account))]
        reply = await self._run(self._steps.reserve, names, args, self._timeout_s)
        if not reply:
            return None
        number, held, fields, at = reply
        return _shortage(hold.asks[number - 1], int(held), _buckets(fields), float(at))

    async def settle(self, settlements: Sequence[Settlement], now: float) -> None:
        """Put what was spent in the place of what was held, of each run once."""
        names: list[Part] = []
        args: list[Part] = []
        for hold, spent, at in settlements:
            names.append(self._mark(hold))
            args += (max(0.0, now - at), hold.id, len(hold.asks))
            for ask, amount in zip(hold.asks, spent, strict=True):
                names += self._names(ask.account)[:3]
                args += (ask.amount, amount)
        with translated():
            await self._client.run(self._steps.settle, names, args, timeout_s=self._behind_s)

    async def standing(self, accounts: Sequence[Account], now: float) -> list[Standing]:  # noqa: ARG002  # as SharedPurse has it
        """How each account stands."""
        names = [name for account in accounts for name in self._names(account)]
        found = []
        for held, fields in await self._run(self._steps.standing, names, [], self._timeout_s):
            buckets = _buckets(fields)
            found.append(Standing({span: sum(of.values()) for span, of in buckets.items()}, int(held)))
        return found

    async def learn(self, past: Past) -> None:
        """What was spent before there was this purse, some accounts at a time."""
        accounts = list(past)
        for first in range(0, len(accounts), BATCH):
            names, args = [], []
            for account in accounts[first : first + BATCH]:
                words = [
                    word
                    for span, buckets in past[account].items()
                    for index, amount in buckets.items()
                    for word in (f"{_LETTERS[span]}{index}", amount)
                ]
                names.append(self._names(account)[3])
                args += [len(words), *words]
            with translated():
                await self._client.run(self._steps.learn, names, args, timeout_s=self._behind_s)

    async def began(self) -> tuple[float, float]:
        """Since when it counts, and what time it is."""
        began, now = await self._run(self._steps.began, [self._client.key("purse", "born")], [], self._behind_s)
        return float(began), float(now)

    async def _run(self, script: Script, keys: Sequence[Part], args: Sequence[Part], timeout_s: float) -> list[Any]:
        with translated():
            return expected(list, await self._client.run(script, keys, args, timeout_s=timeout_s))

    def _mark(self, hold: Hold) -> str:
        return self._client.key("purse", "settled", hold.id)

    def _names(self, account: Account) -> tuple[str, str, str, str]:
        name = self._client.key("purse", account.scope, short(account.id), account.unit)
        return name, f"{name}:held", f"{name}:late", f"{name}:past"


@contextmanager
def translated() -> Iterator[None]:
    """A Redis that is away, in the words of who counts."""
    try:
        yield
    except RedisUnavailable as error:
        raise CountersUnavailable(error.message) from error
    except (TypeError, ValueError, IndexError) as error:  # it answers as no script of ours does
        raise CountersUnavailable(f"Redis answers with something else: {type(error).__name__}") from error


def _buckets(fields: Sequence[bytes]) -> dict[Span, dict[int, int]]:
    found: dict[Span, dict[int, int]] = {span: {} for span in BUCKET_S}
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        buckets = found["hour" if name[:1] == b"m" else "day"]
        buckets[int(name[1:])] = buckets.get(int(name[1:]), 0) + int(value)
    return found


def _shortage(ask: Ask, held: int, buckets: dict[Span, dict[int, int]], now: float) -> Shortage:
    """Which limit is in the way: the shorter, if both are."""
    limit = next(each for each in ask.limits if _full(each, ask, held, buckets))
    spent = sum(buckets[limit.span].values())
    return Shortage(
        ask.account, limit, ask.amount, spent, held, retry_after_s(limit, ask.amount, buckets[limit.span], now)
    )


def _full(limit: Limit, ask: Ask, held: int, buckets: dict[Span, dict[int, int]]) -> bool:
    return beyond(limit, sum(buckets[limit.span].values()) + held, ask.amount)
