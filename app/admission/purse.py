"""What was spent lately and what is held back for runs that go on: money and tokens, in sliding windows of buckets.

The hour has buckets of a minute, the day buckets of an hour; the oldest counts until all of it is outside, so that in
no hour and in no day more is let through than the limit says. Before a run an amount is held; after it what was really
spent takes its place, once. What is held for a run that nobody settles in time counts as spent from then on, until it
is settled after all: whoever held it has died, perhaps after its models had worked. So nothing leaks nor is free.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from app.admission.allowance import Among, Limit, Span, Unit

BUCKET_S: Final[Mapping[Span, int]] = {"hour": 60, "day": 3600}
BUCKETS: Final[Mapping[Span, int]] = {"hour": 61, "day": 25}
KEPT_S: Final = 27 * 3600  # longer than anything counts
SETTLED_S: Final = 600  # for so long a second settlement of the same run is known to be one
BUSY_S: Final = 2  # when only runs that go on are in the way
SWEEP: Final = 1000  # accounts, before those that hold nothing any more are looked for

Past = Mapping["Account", Mapping[Span, Mapping[int, int]]]


class Account(NamedTuple):
    """Whose, and of what: nano-dollars for usd."""

    scope: Among
    id: str
    unit: Unit


class Ask(NamedTuple):
    """An amount to be held in one account, within its limits."""

    account: Account
    amount: int
    limits: tuple[Limit, ...]


class Hold(NamedTuple):
    """What is held for one run, until expires_at (Unix time) if it is not settled before."""

    id: str
    asks: tuple[Ask, ...]
    expires_at: float


class Settlement(NamedTuple):
    """What a run has spent, an amount for each ask of its hold, and when that was known (Unix time)."""

    hold: Hold
    spent: tuple[int, ...]
    at: float


class Shortage(NamedTuple):
    """The limit that is in the way: what was asked, spent and held, and after how many seconds it may be enough.

    retry_after_s is None when waiting does not help: so much is never allowed.
    """

    account: Account
    limit: Limit
    amount: int
    spent: int
    held: int
    retry_after_s: int | None


class Standing(NamedTuple):
    """What an account has spent, by span, and what it holds."""

    spent: dict[Span, int]
    held: int


class SharedPurse(Protocol):
    """A purse for all instances. Every call bounds itself and may raise CountersUnavailable.

    It goes by its own clock. now is the caller's, by which the moments in holds and settlements are meant.
    """

    async def reserve(self, hold: Hold, now: float) -> Shortage | None:
        """Hold all of it, or nothing and say what is in the way."""
        ...

    async def settle(self, settlements: Sequence[Settlement], now: float) -> None:
        """Put what was spent in the place of what was held, of each run once."""
        ...

    async def standing(self, accounts: Sequence[Account], now: float) -> list[Standing]:
        """How each account stands."""
        ...

    async def learn(self, past: Past) -> None:
        """What was spent before there was this purse, in the place of what was learnt before."""
        ...

    async def began(self) -> tuple[float, float]:
        """Since when it counts, and what time it is: both the same, if it has just begun."""
        ...


@dataclass(slots=True)
class _Book:
    """One account: spent by bucket, held by run; late: what was held for too long and counts as spent since then."""

    spent: dict[Span, dict[int, int]] = field(default_factory=lambda: {"hour": {}, "day": {}})
    holds: dict[str, tuple[int, float]] = field(default_factory=dict)
    late: dict[str, tuple[int, float]] = field(default_factory=dict)
    held: int = 0

    def release(self, hold_id: str) -> None:
        self.held -= self.holds.pop(hold_id, (0, 0.0))[0]

    def expire(self, now: float) -> None:
        if self.holds and min(self.holds.values(), key=lambda kept: kept[1])[1] <= now:
            kept = {name: hold for name, hold in self.late.items() if hold[1] > now - KEPT_S}
            self.late = kept | {name: hold for name, hold in self.holds.items() if hold[1] <= now}
            for name, (amount, ended_at) in self.late.items() - kept.items():
                self.release(name)
                self.add(amount, ended_at)

    def correct(self, hold_id: str) -> None:
        amount, ended_at = self.late.pop(hold_id, (0, 0.0))
        for span, buckets in self.spent.items():
            index = int(ended_at // BUCKET_S[span])
            if index in buckets:
                buckets[index] -= amount

    def add(self, amount: int, now: float) -> None:
        for span, buckets in self.spent.items():
            index = int(now // BUCKET_S[span])
            buckets[index] = buckets.get(index, 0) + amount
            for old in [each for each in buckets if each <= index - BUCKETS[span]]:
                del buckets[old]

    def idle(self, now: float) -> bool:
        self.expire(now)
        newest = max(self.spent["day"], default=0)
        return not self.holds and newest <= int(now // BUCKET_S["day"]) - BUCKETS["day"]


class MemoryPurse:
    """The purse of this process. Never waits; times are Unix times, passed in."""

    def __init__(self) -> None:
        self._books: dict[Account, _Book] = {}
        self._past: Past = {}
        self._settled: dict[str, float] = {}
        self._sweep_at = SWEEP

    @property
    def held(self) -> int:
        """How many amounts are held."""
        return sum(len(book.holds) for book in self._books.values())

    def reserve(self, hold: Hold, now: float) -> Shortage | None:
        """As SharedPurse has it."""
        for ask in hold.asks:
            if short := self._shortage(ask, now):
                return short
        self.keep(hold, now)
        return None

    def keep(self, hold: Hold, now: float) -> None:
        """Hold all of it without asking: somebody else has allowed it."""
        if hold.id in self._settled:
            return
        for ask in hold.asks:
            book = self._book(ask.account, now)
            book.holds[hold.id] = (ask.amount, hold.expires_at)
            book.held += ask.amount

    def settle(self, settlement: Settlement) -> None:
        """As SharedPurse has it, one by one."""
        hold, spent, now = settlement
        if hold.id in self._settled:
            return
        self._remember(hold.id, now)
        for ask, amount in zip(hold.asks, spent, strict=True):
            book = self._book(ask.account, now)
            book.release(hold.id)
            book.correct(hold.id)
            if amount:
                book.add(amount, now)

    def standing(self, accounts: Sequence[Account], now: float) -> list[Standing]:
        """As SharedPurse has it."""
        found = []
        for account in accounts:
            spans: tuple[Span, ...] = ("hour", "day")
            self._book(account, now).expire(now)
            spent = {span: sum(self._buckets(account, span, now).values()) for span in spans}
            found.append(Standing(spent, self._book(account, now).held))
        return found

    def learn(self, past: Past) -> None:
        """As SharedPurse has it."""
        self._past = past

    def _shortage(self, ask: Ask, now: float) -> Shortage | None:
        book = self._book(ask.account, now)
        book.expire(now)
        for limit in ask.limits:
            buckets = self._buckets(ask.account, limit.span, now)
            spent = sum(buckets.values())
            if beyond(limit, spent + book.held, ask.amount):
                wait_s = retry_after_s(limit, ask.amount, buckets, now)
                return Shortage(ask.account, limit, ask.amount, spent, book.held, wait_s)
        return None

    def _buckets(self, account: Account, span: Span, now: float) -> dict[int, int]:
        """What was spent in this span, by bucket."""
        after = int(now // BUCKET_S[span]) - BUCKETS[span]
        found = {index: amount for index, amount in self._book(account, now).spent[span].items() if index > after}
        for index, amount in self._past.get(account, {}).get(span, {}).items():
            if index > after:
                found[index] = found.get(index, 0) + amount
        return found

    def _book(self, account: Account, now: float) -> _Book:
        book = self._books.get(account)
        if book is None:
            if len(self._books) >= self._sweep_at:
                self._books = {name: kept for name, kept in self._books.items() if not kept.idle(now)}
                self._sweep_at = max(SWEEP, 2 * len(self._books))
            book = self._books[account] = _Book()
        return book

    def _remember(self, hold_id: str, now: float) -> None:
        self._settled[hold_id] = now
        while (oldest := next(iter(self._settled))) != hold_id and self._settled[oldest] <= now - SETTLED_S:
            del self._settled[oldest]


def beyond(limit: Limit, used: int, amount: int) -> bool:
    """Whether so much more is too much; nothing more is let through once the limit is reached."""
    return used >= limit.most or used + amount > limit.most


def retry_after_s(limit: Limit, amount: int, buckets: Mapping[int, int], now: float) -> int | None:
    """When so much will be free, if what is held then is not spent; None: never."""
    if beyond(limit, 0, amount):
        return None
    left = sum(buckets.values())
    if not beyond(limit, left, amount):
        return BUSY_S
    free_at = now
    for index in sorted(buckets):
        left -= buckets[index]
        free_at = (index + BUCKETS[limit.span]) * BUCKET_S[limit.span]
        if not beyond(limit, left, amount):
            break
    return max(1, math.ceil(free_at - now))


def past_of(rows: Iterable[tuple[Account, int, int]], now: float) -> Past:
    """What was spent, by minute, as buckets. rows: account, minutes since 1970, amount."""
    found: dict[Account, dict[Span, dict[int, int]]] = {}
    first = int(now // BUCKET_S["hour"]) - BUCKETS["hour"]
    for account, minute, amount in rows:
        spans = found.setdefault(account, {"hour": {}, "day": {}})
        hour = minute // 60
        spans["day"][hour] = spans["day"].get(hour, 0) + amount
        if minute > first:
            spans["hour"][minute] = spans["hour"].get(minute, 0) + amount
    return found
