"""Which live run answers a question, over all instances: whoever claims first, as long as its instance lives.

A claim has no lease of its own: it is worth what its instance's lease is worth, which is looked at in the same step.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from app.question import Key
from app.reasoning.elsewhere import Flight
from app.redis.card import lease_key
from app.redis.client import Client, Line, Part, Reply, Script, short
from app.redis.pace import Pace, milliseconds

# KEYS: flight. ARGV: our claim, how long, what the keys of leases begin with. Returns a living instance's claim, and
# how many milliseconds it has left.
_CLAIM: Final = Script("""
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then redis.call('DEL', KEYS[1]) end
if type(held) == 'string' then
  local known, claim = pcall(cjson.decode, held)
  if known and type(claim) == 'table' and type(claim.owner) == 'string'
    and redis.call('EXISTS', ARGV[3] .. claim.owner) == 1 then
    return {held, redis.call('PTTL', KEYS[1])}
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
""")

# KEYS: flights. ARGV: for each our claim. A claim that is not ours stays.
_RELEASE: Final = Script("""
for i, key in ipairs(KEYS) do
  if redis.pcall('GET', key) == ARGV[i] then redis.call('DEL', key) end
end
""")

# KEYS: flights. ARGV: for each our claim and how long. Where Redis has forgotten it.
_RECLAIM: Final = Script("""
for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[2 * i - 1], 'PX', ARGV[2 * i], 'NX') end
""")


class Claim(msgspec.Struct, frozen=True):
    """A flight, and the instance it is on."""

    owner: str
    run_id: str
    experiment: str | None
    variant: str | None
    limits: tuple[float, ...] = ()


class _Mine(NamedTuple):
    key: str
    claim: bytes
    until: float


_decode = msgspec.json.Decoder(Claim).decode


class Flights:
    """The claims of this instance; `tend` is called by the one who has a line to Redis."""

    def __init__(self, client: Client, name: str, pace: Pace, wall: Callable[[], float] = time.time) -> None:
        self._client = client
        self._name = name
        self._pace = pace
        self._wall = wall
        self._mine: dict[str, _Mine] = {}
        self._released: list[_Mine] = []
        self._lost = False

    def __len__(self) -> int:
        """How many claims are ours."""
        return len(self._mine)

    def __contains__(self, run_id: str) -> bool:
        """Whether that run of ours answers a question for all."""
        return run_id in self._mine

    async def claim(self, key: Key, flight: Flight) -> Flight | None:
        """None: ours. Else the flight of another run. Raises RedisUnavailable, and then claims nothing."""
        until = flight.deadline_at + self._pace.overdue_s
        claim = msgspec.json.encode(Claim(self._name, flight.run_id, flight.experiment, flight.variant, flight.limits))
        mine = _Mine(self._client.key("flight", short(key.scope), key.fingerprint), claim, until)
        self._mine[flight.run_id] = mine
        try:
            asked_at = self._wall()
            args: list[Part] = [claim, milliseconds(until - asked_at), lease_key(self._client, "")]
            held = await self._client.run(_CLAIM, [mine.key], args, timeout_s=self._pace.command_s)
        except BaseException:  # cancelled or not, Redis may have taken it
            self.release(flight.run_id)
            raise
        other = self._flight_of(held, asked_at)
        if other is None or other.run_id == flight.run_id:
            return None
        del self._mine[flight.run_id]
        return other

    def release(self, run_id: str) -> None:
        """Give a claim back, as soon as Redis can be told."""
        mine = self._mine.pop(run_id, None)
        if mine is not None:
            self._released.append(mine)

    def forgotten(self) -> None:
        """Redis has lost what it had, or our lease: claim again what nobody else has claimed since."""
        self._lost = True

    @property
    def pending(self) -> bool:
        """Whether Redis is to be told of something."""
        return bool(self._released) or self._lost

    async def tend(self, line: Line) -> None:
        """Tell Redis what was released and what is still ours. Raises RedisUnavailable; the next time it is told."""
        now, count = self._wall(), len(self._released)
        if self._lost:
            mine = [mine for mine in self._mine.values() if mine.until > now]
            args = [part for each in mine for part in (each.claim, milliseconds(each.until - now))]
            await line.run(_RECLAIM, [each.key for each in mine], args, timeout_s=self._pace.command_s)
            self._lost = False
        gone = [mine for mine in self._released if mine.until > now]
        if gone:
            keys, claims = [mine.key for mine in gone], [mine.claim for mine in gone]
            await line.run(_RELEASE, keys, claims, timeout_s=self._pace.command_s)
        del self._released[:count]

    def forget_expired(self) -> None:
        """Drop what Redis has dropped by itself."""
        now = self._wall()
        self._mine = {run_id: mine for run_id, mine in self._mine.items() if mine.until > now}
        self._released = [mine for mine in self._released if mine.until > now]

    def _flight_of(self, held: Reply, asked_at: float) -> Flight | None:
        """Another's flight, its deadline on our clock: the time that a claim has left is the same on all."""
        match held:
            case [bytes(words), int(left_ms)]:
                with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                    claim = _decode(words)
                    deadline_at = asked_at + left_ms / 1000 - self._pace.overdue_s
                    return Flight(claim.run_id, deadline_at, claim.experiment, claim.variant, claim.limits)
        return None
