"""Counts every request before its body is read, and refuses those beyond a limit; tells what is left in headers."""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from app.admission.allowance import SECONDS, Allowances, Rule
from app.admission.sparing import CountersUnavailable, Sparing
from app.errors import RateLimited
from app.question import Caller

Pairs = list[tuple[bytes, bytes]]
PRIVATE: Final = ("endpoint", "global")  # scopes whose use is nobody's own to see


class Asked(NamedTuple):
    """One window that a request counts in: its name, the most in it, its length in seconds."""

    key: str
    most: int
    span_s: int


class Window(NamedTuple):
    """What became of a request there: whether it was counted, how many more may come, when the next place is free."""

    taken: bool
    left: int
    reset_s: float


class Windows(Protocol):
    """Where requests are counted. May raise CountersUnavailable."""

    async def take(self, asked: Sequence[Asked], *, count: bool = True) -> list[Window]:
        """Count a request in each window, in this order, up to the first that is full; or only look at each."""
        ...


class SharedWindows:
    """Counts in one place for all instances while that answers, here while it does not."""

    def __init__(self, shared: Windows, own: Windows, sparing: Sparing) -> None:
        self._shared = shared
        self._own = own
        self._sparing = sparing

    async def take(self, asked: Sequence[Asked], *, count: bool = True) -> list[Window]:
        """As Windows has it, and never unavailable."""
        try:
            return await self._sparing.ask(self._take, asked, count)
        except CountersUnavailable:
            return await self._own.take(asked, count=count)

    async def _take(self, asked: Sequence[Asked], count: bool) -> list[Window]:
        return await self._shared.take(asked, count=count)


class Doorman:
    """Knows how many requests each may make. exceeded: how often a limit refused, by scope and limit."""

    def __init__(self, allowances: Allowances, windows: Windows, exceeded: Counter[tuple[str, str]]) -> None:
        self._allowances = allowances
        self._windows = windows
        self.exceeded = exceeded

    async def arrive(self, caller: Caller, endpoint: str) -> Pairs:
        """Count one request; the headers that tell what is left, none where nothing is limited. Raises RateLimited."""
        rules = self._allowances.rates(caller, endpoint)
        if not rules:
            return []
        found = await self._windows.take([_asked(rule) for rule in rules])
        headers = told(rules, found)
        last = rules[len(found) - 1]
        if not found[-1].taken:
            self.exceeded[last.scope, last.limit.name] += 1
            raise refusal(last, found[-1], headers)
        return headers

    async def standing(self, caller: Caller) -> list[dict[str, Any]]:
        """What is left of the caller's own limits and of the tenant's."""
        rules = [rule for rule in self._allowances.rates(caller, None) if rule.scope not in PRIVATE]
        found = await self._windows.take([_asked(rule) for rule in rules], count=False) if rules else []
        return [
            {
                "scope": rule.scope,
                "limit": rule.limit.name,
                "most": rule.limit.most,
                "left": window.left,
            }
            for rule, window in zip(rules, found, strict=True)
        ]


def told(rules: Sequence[Rule], found: Sequence[Window]) -> Pairs:
    """RateLimit and RateLimit-Policy, lists of structured fields as in draft-ietf-httpapi-ratelimit-headers-11."""
    left = ", ".join(
        f'"{_policy(rule)}";r={window.left};t={math.ceil(window.reset_s)}'
        for rule, window in zip(rules, found, strict=False)
        if rule.scope not in PRIVATE
    )
    policies = (b"ratelimit-policy", _policies(tuple(rules)))
    return [policies, (b"ratelimit", left.encode())] if left else [policies]


def refusal(rule: Rule, window: Window, headers: Pairs) -> RateLimited:
    """Why a request is refused: which limit, whose, and when to come again."""
    limit, whose = rule.limit, {"caller": "your", "tenant": "your tenant's"}.get(rule.scope, "this server's")
    details: dict[str, Any] = {"limit": limit.name, "scope": rule.scope, "most": limit.most}
    if not limit.most:
        return RateLimited(f"{whose} limit allows no requests", headers, **details)
    wait_s = max(1, math.ceil(window.reset_s))
    said = f"{whose} limit of {limit.most} requests per {limit.span} is used up; try again in {wait_s} s"
    return RateLimited(said, headers, **details, retry_after_s=wait_s)


def _asked(rule: Rule) -> Asked:
    return Asked(f"{rule.scope}:{rule.id}:{rule.limit.span}", rule.limit.most, SECONDS[rule.limit.span])


def _policy(rule: Rule) -> str:
    return f"{rule.scope}_{rule.limit.name}"


@lru_cache(maxsize=1024)
def _policies(rules: tuple[Rule, ...]) -> bytes:
    return ", ".join(f'"{_policy(rule)}";q={rule.limit.most};w={SECONDS[rule.limit.span]}' for rule in rules).encode()
