"""The runs of other instances that are read on this one: made when first asked for, shared by all who read them here.

One task looks after them: it tells their owners that they are read, forgets those that nobody reads, and ends those
whose owner has died. What comes new is brought by the inbox.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from app.errors import RunNotLive
from app.redis.card import Card, lease_key, log_key
from app.redis.client import Client, RedisUnavailable, expected
from app.redis.control import AT_ONCE, Hold, Leave, Post, Wake
from app.redis.mirror import Mirror
from app.redis.pace import Pace

MOST: Final = 2000
MOST_BYTES: Final = 256 * 1024 * 1024
DRAIN_LOOK_S: Final = 0.05
ENTRIES: Final = 64  # of a stream in one reply
_LOAD_S: Final = 1.0
_SHORTEST_S: Final = 0.002

T = TypeVar("T")


class Mirrors:
    """All of this instance; `work` is their task. Belongs to one event loop."""

    def __init__(
        self, client: Client, name: str, pace: Pace, post: Post, wall: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._name = name
        self._pace = pace
        self._post = post
        self._wall = wall
        self._loop = asyncio.get_running_loop()
        self._mirrors: dict[str, Mirror] = {}
        self._silent: dict[str, float] = {}  # since when an instance has no lease, while Redis answers
        self._changed = asyncio.Event()
        self._telling = asyncio.Lock()  # or what is said last might be heard first
        self._draining = False
        self._said_at = 0.0
        self._looked_at = 0.0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._mirrors)

    @property
    def readers(self) -> int:
        """How many readers they have."""
        return sum(mirror.readers for mirror in self._mirrors.values())

    def get(self, run_id: str) -> Mirror | None:
        """The mirror of a run, if there is one already."""
        return self._mirrors.get(run_id)

    def open(self) -> list[Mirror]:
        """Those that more may come for, and may be read now."""
        now = self._loop.time()
        return [mirror for mirror in self._mirrors.values() if not mirror.closed and mirror.not_before <= now]

    def waiting(self) -> bool:
        """Whether there are any that may be read only later."""
        now = self._loop.time()
        return any(not mirror.closed and mirror.not_before > now for mirror in self._mirrors.values())

    async def make(self, run_id: str, card: Card) -> Mirror | None:
        """The mirror, with everything that is there already; None if there is no place. Raises RedisUnavailable."""
        if self._draining:  # its reader would be cut off; another instance can serve it
            return None
        if run_id in self._mirrors:
            return self._mirrors[run_id]
        if len(self._mirrors) >= MOST or sum(mirror.size for mirror in self._mirrors.values()) >= MOST_BYTES:
            return None
        mirror = Mirror(run_id, card, self._changed.set)
        await self._catch_up(mirror)
        mirror = self._mirrors.setdefault(run_id, mirror)  # somebody else may have been faster
        self._changed.set()
        with contextlib.suppress(RedisUnavailable):  # the inbox will look by itself, only later
            await self._post.send(self._name, Wake())
        return mirror

    async def seen(self, mirror: Mirror, after: int) -> None:
        """Wait until event number `after` has come. Raises RunNotLive when it does not, though the run goes on."""
        if len(mirror) > after or mirror.closed:
            return
        reader = mirror.attach()
        try:
            async with asyncio.timeout(self._pace.arrival_s):
                while len(mirror) <= after and not mirror.closed:
                    await reader.wait()
        except TimeoutError:
            raise RunNotLive(
                "the event you saw last has not come to this instance yet; ask again in a moment"
            ) from None
        finally:
            reader.close()

    async def _catch_up(self, mirror: Mirror) -> None:
        """Take what is in the stream now. Raises RedisUnavailable."""
        key = log_key(self._client, mirror.run_id)
        while not mirror.closed:
            command = ("XRANGE", key, f"({mirror.position}", "+", "COUNT", ENTRIES)
            entries = expected(list, await self._client.call(*command, timeout_s=_LOAD_S))
            self.take(mirror, entries)
            if len(entries) < ENTRIES or mirror.not_before > self._loop.time():
                return

    def take(self, mirror: Mirror, entries: Sequence[object]) -> None:
        """Append what has come."""
        if mirror.take(entries) == "unfit":
            self.pass_over(mirror)

    def pass_over(self, mirror: Mirror) -> None:
        """Its stream holds something else: leave it to its owner for a while to put that right."""
        mirror.not_before = self._loop.time() + self._pace.unfit_s

    async def drain(self, grace_s: float) -> None:
        """Give the runs that are read here a grace to end; then tell their readers that this server stops."""
        self._draining = True
        until = self._loop.time() + grace_s
        while (left := until - self._loop.time()) > 0 and any(mirror.readers for mirror in self.open()):  # noqa: ASYNC110  # whoever ends or leaves tells nobody
            await asyncio.sleep(min(left, DRAIN_LOOK_S))
        for mirror in list(self._mirrors.values()):
            mirror.interrupt(status="shutdown", reason="shutdown")

    # -- the task

    async def work(self) -> None:
        """Look after the mirrors as long as this instance lives."""
        while True:
            self._changed.clear()
            self._forget_unread()
            try:
                async with self._telling:
                    await self._tell_owners()
                await self._look_for_owners()
            except RedisUnavailable:  # or it takes no messages: then an instance that lives cannot say so either
                self._silent.clear()
            await self._end_overdue()
            await asyncio.sleep(_SHORTEST_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s):
                    await self._changed.wait()

    @property
    def _pause_s(self) -> float:
        return min(self._pace.hold_s / 6, self._pace.patience_s / 4, self._pace.linger_s)

    def _forget_unread(self) -> None:
        now = self._loop.time()
        for mirror in list(self._mirrors.values()):
            stays_s = self._pace.lingers_after_s if mirror.closed else self._pace.linger_s
            if not mirror.wanted(now, stays_s) and (mirror.closed or mirror.told is None):
                del self._mirrors[mirror.run_id]

    async def _tell_owners(self) -> None:
        """Tell each what is read here and what no more. Raises RedisUnavailable."""
        now = self._loop.time()
        again = now >= self._said_at + self._pace.hold_s / 3
        for owner, mirrors in _by_owner(self._mirrors.values()).items():
            wanted = [mirror for mirror in mirrors if mirror.wanted(now, self._pace.linger_s)]
            fresh = [mirror for mirror in wanted if again or mirror.told != mirror.hold(now)]
            for some in _pieces(fresh):
                holds = [mirror.hold(now) for mirror in some]
                await self._post.send(owner, Hold(self._name, holds))
                for mirror, hold in zip(some, holds, strict=True):
                    mirror.told = hold
            for some in _pieces([mirror for mirror in mirrors if mirror.told is not None and mirror not in wanted]):
                await self._post.send(owner, Leave(self._name, [mirror.run_id for mirror in some]))
                for mirror in some:
                    mirror.told = None
        if again:
            self._said_at = now

    async def announce(self, mirror: Mirror) -> None:
        """Tell its owner now: what a guest asks next, or somebody else, comes behind that. Raises RedisUnavailable."""
        async with self._telling:
            hold = mirror.hold(self._loop.time())
            if mirror.told != hold:
                await self._post.send(mirror.card.owner, Hold(self._name, [hold]))
                mirror.told = hold

    async def _look_for_owners(self) -> None:
        """End the mirrors whose owner has been silent for too long. Raises RedisUnavailable."""
        now = self._loop.time()
        if now < self._looked_at + self._pause_s:
            return
        self._looked_at = now
        owners = _by_owner(self._mirrors.values())
        if not owners:
            return
        asked = [("EXISTS", lease_key(self._client, owner)) for owner in owners]
        alive = await self._client.pipeline(asked, timeout_s=self._pace.command_s)
        silent = [owner for owner, lives in zip(owners, alive, strict=True) if not lives]
        self._silent = {owner: self._silent.get(owner, now) for owner in silent}
        for owner, since in self._silent.items():
            if now >= since + self._pace.patience_s:
                for mirror in owners[owner]:
                    await self._end(mirror)

    async def _end_overdue(self) -> None:
        """End what must have ended long ago, wherever its owner and Redis are."""
        latest = self._wall() - self._pace.overdue_s
        for mirror in [mirror for mirror in self._mirrors.values() if mirror.card.deadline_at < latest]:
            with contextlib.suppress(RedisUnavailable):
                await self._end(mirror)
            mirror.interrupt()

    async def _end(self, mirror: Mirror) -> None:
        """Tell the readers what the owner cannot tell any more, unless it has. Raises RedisUnavailable."""
        await self._catch_up(mirror)
        mirror.interrupt()


def _by_owner(mirrors: Iterable[Mirror]) -> dict[str, list[Mirror]]:
    """Those that live, by the instance they live on."""
    owners: dict[str, list[Mirror]] = {}
    for mirror in mirrors:
        if not mirror.closed:
            owners.setdefault(mirror.card.owner, []).append(mirror)
    return owners


def _pieces(things: Sequence[T]) -> Iterator[Sequence[T]]:
    for begin in range(0, len(things), AT_ONCE):
        yield things[begin : begin + AT_ONCE]
