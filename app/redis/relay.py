"""The runs of this instance, as they are written: shown to the others by one task, which a run never waits for.

Every tick it looks how far each log is and sends what is new, many runs in one step. A run that is read elsewhere is
looked at in every tick, any other now and then. Redis answers how much it has of each; whatever was lost or sent
twice comes right by that.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from app.reasoning.run import Run
from app.redis.card import ADMIT, Card, guests_key, lease_key, log_key, name_of
from app.redis.client import Client, Line, Part, RedisUnavailable, Script, expected
from app.redis.control import Held
from app.redis.flights import Flights
from app.redis.pace import Pace, Pauses, milliseconds
from app.redis.shown import Shown

SHORTEST_S: Final = 0.005  # between two sends
BATCH_RUNS: Final = 100
BATCH_BYTES: Final = 1024 * 1024
PUSH_S: Final = 1.0
MOST_ENDED: Final = 256  # runs that ended while Redis was away and are kept for it
MOST_ENDED_BYTES: Final = 16 * 1024 * 1024

# KEYS: logs. ARGV: for each begin, end, events, card, whether to begin anew, how long. Returns how many bytes each has.
_PUSH: Final = Script("""
local sizes = {}
for i, key in ipairs(KEYS) do
  local begin, size, events, card, anew, ttl = unpack(ARGV, 6 * i - 5, 6 * i)
  local last = redis.pcall('XREVRANGE', key, '+', '-', 'COUNT', 1)
  if last.err or not last[1] or anew == '1' then
    redis.call('DEL', key)
    last = {}
    if card ~= '' then redis.call('XADD', key, '0-1', 'c', card) end
  end
  sizes[i] = last[1] and string.match(last[1][1], '^%d+') or '0'
  if sizes[i] == begin and events ~= '' then
    redis.call('XADD', key, size .. '-0', 'e', events)
    sizes[i] = size
  end
  redis.call('PEXPIRE', key, ttl)
end
return sizes
""")


class Relay:
    """Shows runs; `work` is its task. Belongs to one event loop."""

    def __init__(
        self, client: Client, name: str, pace: Pace, flights: Flights, wall: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._name = name
        self._pace = pace
        self._flights = flights
        self._wall = wall
        self._loop = asyncio.get_running_loop()
        self._shown: dict[str, Shown] = {}
        self._kicked = asyncio.Event()
        self._swept = asyncio.Event()
        self._renew_at = 0.0
        self.ready = asyncio.Event()
        self.up = False
        self.failures = 0
        self.sent_bytes = 0
        self.dropped = 0  # ended runs that Redis was away for too long to be told of

    def publish(self, run: Run) -> None:
        """Show the run from now on, until Redis has its `done`."""
        deadline_at = self._wall() + run.deadline - self._loop.time()
        opener = run.caller
        card = Card(self._name, opener.id, opener.tenant, run.fingerprint, run.source, deadline_at)
        self._shown[run.run_id] = Shown(run, card)
        self._kicked.set()

    def hold(self, instance: str, held: Held) -> None:
        """That run is read on that instance."""
        shown = self._shown.get(held.run_id)
        if shown is not None and not shown.run.closed:
            shown.hold(instance, self._loop.time() + self._pace.hold_s, guest=held.guest)
            if held.finish:
                shown.run.outlive_readers()
        self._kicked.set()

    def leave(self, instance: str, run_id: str) -> None:
        """It is not read there any more."""
        if run_id in self._shown:
            self._shown[run_id].leave(instance)

    def __len__(self) -> int:
        """How many runs are shown."""
        return len(self._shown)

    @property
    def held(self) -> int:
        """How many of them are read elsewhere."""
        return sum(shown.held for shown in self._shown.values())

    def kick(self) -> None:
        """Do not wait for the next tick."""
        self._kicked.set()

    # -- the task

    async def work(self) -> None:
        """Send what is new for as long as this instance lives."""
        pauses = Pauses(self._pace)
        while True:
            with contextlib.suppress(RedisUnavailable):
                async with self._client.line() as line:
                    await self._welcome_back(line)
                    pauses.well()
                    await self._tick_for_ever(line)
            self.up = False
            self.failures += 1
            self._shed()
            self._flights.forget_expired()
            await asyncio.sleep(pauses.after_failure())

    async def _welcome_back(self, line: Line) -> None:
        """Redis is here again: say that we live, and believe in the readers that could not be told of meanwhile."""
        await self._renew(line)
        self._expire(late=True)
        self.up = True

    async def _tick_for_ever(self, line: Line) -> None:
        while True:
            self._kicked.clear()
            if self._loop.time() >= self._renew_at:
                due_at = self._renew_at
                await self._renew(line)
                self._expire(late=self._loop.time() - due_at > self._pace.hold_s / 6)
            for batch in _batches(self._due()):
                await self._push(line, batch)
            if self._flights.pending:
                await self._flights.tend(line)
            self._swept.set()
            self.ready.set()
            await asyncio.sleep(SHORTEST_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s() - SHORTEST_S):
                    await self._kicked.wait()

    def _pause_s(self) -> float:
        """Until the next tick, unless something happens."""
        if any(shown.urgent for shown in self._shown.values()):
            return self._pace.tick_s
        due_at = min((shown.due_at for shown in self._shown.values()), default=self._renew_at)
        return max(self._pace.tick_s, min(due_at, self._renew_at) - self._loop.time())

    async def _renew(self, line: Line) -> None:
        """Say that we live, also to a Redis whose memory is full. If it knew no more, it may have lost everything."""
        key, lease_ms = lease_key(self._client, self._name), milliseconds(self._pace.lease_s)
        known = await line.call("PEXPIRE", key, lease_ms, timeout_s=PUSH_S)
        if not known:
            await line.call("SET", key, "", "PX", lease_ms, timeout_s=PUSH_S)
        self._renew_at = self._loop.time() + self._pace.lease_s / 4
        if not known:
            self._flights.forgotten()
            for shown in self._shown.values():
                shown.unsure = shown.urgent = True

    def _expire(self, *, late: bool) -> None:
        """Forget what was not said again in time; late: it may have been said, and we have not heard it yet."""
        now = self._loop.time()
        for shown in self._shown.values():
            if late:
                shown.prolong(now + self._pace.hold_s)
            shown.expire(now)
        self._flights.forget_expired()

    def _due(self) -> list[Shown]:
        """What is to be sent in this tick."""
        now = self._loop.time()
        due = [shown for shown in self._shown.values() if shown.urgent or shown.due_at <= now]
        for shown in due:
            shown.due_at = now + self._pace.idle_s
            run = shown.run
            if not run.joinable and run.run_id in self._flights:
                self._flights.release(run.run_id)
        return [shown for shown in due if shown.news or len(shown.run.welcome) > shown.admitted]

    async def _push(self, line: Line, batch: Sequence[Shown]) -> None:
        """Send what is new of these, and let go of those that are over."""
        parcels = [shown.parcel() for shown in batch]
        keys = [log_key(self._client, shown.run.run_id) for shown in batch]
        args: list[Part] = []
        for shown, parcel in zip(batch, parcels, strict=True):
            args += (*parcel, milliseconds(self._ttl(shown)))
        sizes = expected(list, await line.run(_PUSH, keys, args, timeout_s=PUSH_S))
        for shown, (begin, end, *_), size in zip(batch, parcels, sizes, strict=True):
            stored = int(expected(bytes, size))
            if stored == end:
                self.sent_bytes += int(end) - int(begin)
            shown.received(stored, int(end))
            if len(shown.run.welcome) > shown.admitted:
                await self._admit(line, shown)
            if shown.over:
                self._let_go(shown)

    async def _admit(self, line: Line, shown: Shown) -> None:
        """Let every instance know who may read the run."""
        names = [name_of(caller) for caller in shown.run.welcome]
        key = guests_key(self._client, shown.run.run_id)
        await line.run(ADMIT, [key], [milliseconds(self._ttl(shown)), *names], timeout_s=PUSH_S)
        shown.admitted = len(names)

    def _ttl(self, shown: Shown) -> float:
        """How long Redis is to keep the run, in seconds."""
        if shown.run.closed:
            return self._pace.kept_s
        remaining = max(0.0, shown.card.deadline_at - self._wall())
        return remaining + self._pace.overdue_s + self._pace.kept_s

    def _let_go(self, shown: Shown) -> None:
        shown.close()
        self._flights.release(shown.run.run_id)
        self._shown.pop(shown.run.run_id, None)

    def _shed(self) -> None:
        """While Redis is away, keep only so many runs that have ended, the last ones."""
        count, size = 0, 0
        for shown in reversed([shown for shown in self._shown.values() if shown.run.closed]):
            count, size = count + 1, size + shown.unsent
            if count > MOST_ENDED or size > MOST_ENDED_BYTES:
                self._let_go(shown)
                self.dropped += 1

    # -- the end

    async def flush(self, within_s: float) -> None:
        """Wait until Redis has what has ended and was released, within_s seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._flights.pending or any(shown.run.closed for shown in self._shown.values()):
                    for shown in self._shown.values():
                        shown.urgent = True
                    self._swept.clear()
                    self._kicked.set()
                    await self._swept.wait()

    def close(self) -> None:
        """Let go of every run."""
        for shown in list(self._shown.values()):
            self._let_go(shown)


def _batches(due: Sequence[Shown]) -> Iterator[list[Shown]]:
    """In pieces that keep Redis, and what it sends back, from taking long."""
    batch: list[Shown] = []
    size = 0
    for shown in due:
        batch.append(shown)
        size += shown.unsent
        if len(batch) >= BATCH_RUNS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
