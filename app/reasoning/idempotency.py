"""Idempotency keys: a caller that asks again under the key it used before gets the run it got before."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from weakref import WeakValueDictionary

from cachetools import TTLCache

from app.breaker import Breaker
from app.errors import IdempotencyKeyReused, RecordUnavailable
from app.question import Caller
from app.reasoning.elsewhere import Elsewhere, Used
from app.reasoning.order import Order

REMEMBERED: Final = 100_000  # keys, in this process
LOOK_S: Final = 0.25  # for the record to say whether it knows a key


class Uses(Protocol):
    """The record, as far as keys go."""

    async def by_key(self, caller: Caller, key_hash: str, since: datetime) -> Used | None:
        """The newest use of a key by that caller since then, or None. Raises RecordUnavailable."""
        ...


class NoUses:
    """A record that knows no keys."""

    async def by_key(self, caller: Caller, key_hash: str, since: datetime) -> Used | None:  # noqa: ARG002  # as Uses has it
        """None is known."""
        return None


@dataclass(slots=True)
class Use:
    """One request's use of its key. before: the run that the key stood for; after: the run it stands for now."""

    before: str | None = None
    after: str | None = None


class IdempotencyKeys:
    """Who used which key for what. Belongs to one event loop; for_s is how long a use is remembered, in seconds."""

    def __init__(self, record: Uses, elsewhere: Elsewhere, for_s: float, clock: Callable[[], float]) -> None:
        self._record = record
        self._elsewhere = elsewhere
        self._for = timedelta(seconds=for_s)
        self._clock = clock
        self.breaker = Breaker()
        self._known: TTLCache[tuple[str, str], Used] = TTLCache(REMEMBERED, for_s, clock)
        self._doors: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def use(self, order: Order) -> AsyncIterator[Use]:
        """Use the order's key; whoever comes with the same one meanwhile waits. Raises IdempotencyKeyReused.

        Unless `before` is set, the block sets `after`; if it does not, the key was not used.
        """
        assert order.idempotency_key is not None, "this order has no key"
        at = (order.caller.id, order.idempotency_key)
        door = self._doors.setdefault(at, asyncio.Lock())
        async with door:
            first = await self._first(at, order)
            if first.fingerprint != order.key.fingerprint:
                raise IdempotencyKeyReused("this Idempotency-Key was used for another question; make a new one")
            use = Use(before=None if first.run_id == order.run_id else first.run_id)
            try:
                yield use
            finally:
                if use.before is None:
                    await self._settle(at, order, use.after)

    async def _first(self, at: tuple[str, str], order: Order) -> Used:
        """The first use of the key, which may be this one."""
        known = self._known.get(at) or await self._recorded(at, order)
        if known is None:
            known = await self._elsewhere.first(order.caller, at[1], Used(order.run_id, order.key.fingerprint))
        if known.run_id != order.run_id:
            self._known[at] = known
        return known

    async def _recorded(self, at: tuple[str, str], order: Order) -> Used | None:
        """What the record knows; a record that is away keeps nobody from asking, and is not asked for a while."""
        if not self.breaker.ask(self._clock()):
            return None
        try:
            async with asyncio.timeout(LOOK_S):
                used = await self._record.by_key(order.caller, at[1], datetime.now(UTC) - self._for)
        except (RecordUnavailable, TimeoutError):
            self.breaker.failed(self._clock())
            return None
        self.breaker.succeeded()
        return used

    async def _settle(self, at: tuple[str, str], order: Order, run_id: str | None) -> None:
        """Say which run the key stands for, which may be one that was joined; None: the request was refused."""
        used = None if run_id is None else Used(run_id, order.key.fingerprint)
        if used is not None:
            self._known[at] = used
        if run_id != order.run_id:
            await self._elsewhere.settle(order.caller, at[1], Used(order.run_id, order.key.fingerprint), used)

    async def forget(self, order: Order, run_id: str) -> None:
        """The run that a key stood for has never been opened, so that the key is unused."""
        assert order.idempotency_key is not None, "this order has no key"
        at = (order.caller.id, order.idempotency_key)
        lost = Used(run_id, order.key.fingerprint)
        if self._known.get(at) == lost:
            del self._known[at]
        await self._elsewhere.settle(order.caller, at[1], lost, None)
