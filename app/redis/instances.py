"""The instances of this server that share a Redis: what app/reasoning/elsewhere.py asks of them."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, Self, TypeVar
from weakref import WeakValueDictionary

from app.breaker import Breaker
from app.errors import Refusal
from app.question import Caller, Key
from app.reasoning.elsewhere import Flight, Used
from app.reasoning.log import Log
from app.reasoning.run import Run
from app.reasoning.verdict import Cause
from app.redis.card import Cards, Looked, lease_key
from app.redis.client import Client, RedisUnavailable
from app.redis.control import Hold, Leave, Message, Post, Stop, Told, control_key
from app.redis.flights import Flights
from app.redis.inbox import Inbox
from app.redis.keys import RedisKeys
from app.redis.mirror import Mirror
from app.redis.mirrors import Mirrors
from app.redis.pace import MOST_PAUSE_S, Pace
from app.redis.relay import Relay
from app.redis.stops import Registry, Stops

log = logging.getLogger(__name__)

NORMAL: Final = Pace()
FLUSH_S: Final = 1.0
FIRST_S: Final = 0.25  # for the first connection; a Redis that is away delays no start for longer
_CARD_S: Final = 0.3  # for the card of a run that was claimed a moment ago
_AGAIN_S: Final = 0.01
_AFTER_A_BUG_S: Final = 1.0

T = TypeVar("T")


class Instances:
    """Satisfies Elsewhere. name: of this process alone. Owned by one event loop; who made the client closes it."""

    def __init__(self, client: Client, runs: Registry, name: str, keys: RedisKeys, pace: Pace = NORMAL) -> None:
        self._client = client
        self._runs = runs
        self._name = name
        self._keys = keys
        self._pace = pace
        self.breaker = Breaker(most_s=MOST_PAUSE_S)
        self._cards = Cards(client, pace)
        self._post = Post(client, pace)
        self._flights = Flights(client, name, pace)
        self._relay = Relay(client, name, pace, self._flights)
        self._mirrors = Mirrors(client, name, pace, self._post)
        self._stops = Stops(client, name, pace, self._post, runs)
        self._inbox = Inbox(client, name, pace, self._mirrors, self._act)
        self._doors: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tasks: list[asyncio.Task[None]] = []
        self._unanswered = 0

    async def __aenter__(self) -> Self:
        works = {"relay": self._relay.work, "mirrors": self._mirrors.work, "inbox": self._inbox.work}
        self._tasks = [asyncio.create_task(_always(work), name=f"redis {name}") for name, work in works.items()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_S):
                await self._relay.ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._relay.up:
            await self._relay.flush(FLUSH_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._relay.close()
        if self._relay.up:
            mine = [lease_key(self._client, self._name), control_key(self._client, self._name)]
            with contextlib.suppress(RedisUnavailable):
                await self._client.call("DEL", *mine, timeout_s=self._pace.command_s)

    # -- as Elsewhere has it

    async def claim(self, key: Key, flight: Flight) -> Flight | None:
        """As Elsewhere has it."""
        return await self._asked(lambda: self._flights.claim(key, flight), None)

    async def unclaim(self, key: Key, flight: Flight) -> None:  # noqa: ARG002  # as Elsewhere has it
        """As Elsewhere has it; Redis is told in a moment."""
        self._flights.release(flight.run_id)
        self._relay.kick()

    def publish(self, run: Run) -> None:
        """As Elsewhere has it."""
        self._relay.publish(run)

    async def tail(
        self, run_id: str, caller: Caller, *, guest: bool = False, finish: bool = False, after: int = -1
    ) -> Log | None:
        """As Elsewhere has it."""
        log = await self._asked(lambda: self._find(run_id, caller, guest=guest), None)
        if isinstance(log, Mirror):
            log.expect(self._pace.linger_s, guest=guest or log.caller != caller, finish=finish)
            if guest:
                await self._asked(lambda: self._mirrors.announce(log), None)
            await self._mirrors.seen(log, after)
        elif finish and isinstance(log, Run):
            log.outlive_readers()
        return log

    async def knows(self, run_id: str, caller: Caller, *, guest: bool = False) -> bool:
        """As Elsewhere has it."""
        looked = await self._asked(lambda: self._cards.look(run_id, caller), None)
        return looked is not None and (looked.card.opener == caller or (guest and looked.readable))

    async def stop(self, run_id: str, caller: Caller, cause: Cause) -> bool | None:
        """As Elsewhere has it."""
        looked = await self._asked(lambda: self._cards.look(run_id, caller), None)
        if looked is None or not looked.readable:
            return None
        mine = looked.card.opener == caller
        return await self._asked(lambda: self._stops.ask(run_id, looked.card, cause, mine=mine), None)

    async def first(self, caller: Caller, idempotency_key: str, used: Used) -> Used:
        """As Elsewhere has it."""
        return await self._asked(lambda: self._keys.first(caller, idempotency_key, used), used)

    async def settle(self, caller: Caller, idempotency_key: str, told: Used, used: Used | None) -> None:
        """As Elsewhere has it."""
        await self._asked(lambda: self._keys.settle(caller, idempotency_key, told, used), None)

    async def drain(self, grace_s: float) -> None:
        """As Elsewhere has it."""
        await self._mirrors.drain(grace_s)

    @property
    def state(self) -> Mapping[str, Any]:
        """As Elsewhere has it."""
        up = self._relay.up and self._inbox.up
        return {
            "status": "ok" if up else "away",
            "shown": len(self._relay),
            "read_elsewhere": self._relay.held,
            "claimed": len(self._flights),
            "mirrors": len(self._mirrors),
            "readers": self._mirrors.readers,
            "sent_bytes": self._relay.sent_bytes,
            "dropped": self._relay.dropped,
            "failures": self._relay.failures + self._inbox.failures,
            "unanswered": self._unanswered,
            "garbage": self._inbox.garbage,
        }

    # -- asking Redis

    async def _asked(self, ask: Callable[[], Coroutine[Any, Any, T]], instead: T) -> T:
        """What Redis says, or this instead when it is ill; one that is known to be ill is not asked."""
        now = asyncio.get_running_loop().time
        if not self._relay.up or not self.breaker.ask(now()):  # the relay finds out by itself when Redis is back
            self._unanswered += 1
            return instead
        try:
            answer = await ask()
        except RedisUnavailable:
            self.breaker.failed(now())
            self._unanswered += 1
            return instead
        except Refusal:
            self.breaker.succeeded()
            raise
        self.breaker.succeeded()
        return answer

    async def _find(self, run_id: str, caller: Caller, *, guest: bool) -> Log | None:
        """The run, here or elsewhere, if the caller may read it; guest: from now on it may. Raises RedisUnavailable.

        One caller after the other, so that of many who come at once one asks Redis, and all get one mirror.
        """
        try:
            async with asyncio.timeout(self._pace.arrival_s), self._doors.setdefault(run_id, asyncio.Lock()):
                mirror = self._mirrors.get(run_id)
                if mirror is not None and mirror.admits(caller):
                    return mirror
                return await self._look_up(run_id, caller, guest=guest)
        except TimeoutError:
            raise RedisUnavailable("Redis is slow to tell of a run") from None

    async def _look_up(self, run_id: str, caller: Caller, *, guest: bool) -> Log | None:
        looked = await self._look(run_id, caller, guest=guest)
        if looked is None or not looked.readable:
            return None
        log = self._runs.find(run_id, looked.card.opener) if looked.card.owner == self._name else None
        if log is None:
            log = await self._mirrors.make(run_id, looked.card)
        if log is not None:
            log.admit(caller)
        return log

    async def _look(self, run_id: str, caller: Caller, *, guest: bool) -> Looked | None:
        """The card; a guest comes by a claim, which may be there a moment before the card."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _CARD_S
        while True:
            looked = await self._cards.look(run_id, caller, admit=guest)
            if looked is not None or not guest or loop.time() > until:
                return looked
            await asyncio.sleep(_AGAIN_S)

    # -- being asked

    async def _act(self, message: Message) -> None:
        """Do what another instance asks. Raises RedisUnavailable."""
        match message:
            case Hold(sender, runs):
                for held in runs:
                    self._relay.hold(sender, held)
            case Leave(sender, runs):
                for run_id in runs:
                    self._relay.leave(sender, run_id)
            case Stop():
                await self._stops.perform(message)
            case Told():
                self._stops.told(message)


async def _always(work: Callable[[], Awaitable[None]]) -> None:
    """Work for ever, a bug of ours notwithstanding: it must not cut this instance off until it is started anew."""
    while True:
        try:
            await work()
        except Exception:  # the last boundary of a task that serves all runs
            log.exception("the exchange with other instances failed and begins anew")
            await asyncio.sleep(_AFTER_A_BUG_S)
