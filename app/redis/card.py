"""What instances know of each other's runs: whose run it is and where it lives, and who else may read it.

A run is one stream, `{prefix}:log:{run_id}`. Its first entry, 0-1, is the card; every other one is some whole events of
the log and has the number of the byte behind them for its id. So the stream itself says how far it is, a send that is
repeated is recognised, and a stream that was lost is told from one that has just begun.
"""

from typing import Final, NamedTuple

import msgspec

from app.question import Caller
from app.reasoning.log import Source
from app.redis.client import Client, Reply, Script
from app.redis.pace import Pace, milliseconds

CARD_ID: Final = "0-1"
CARD, EVENTS = "c", "e"  # the one field of an entry

# KEYS: log, guests. ARGV: a caller, whether to admit it, how long at least. Returns {card, whether it is a guest}.
_LOOK: Final = Script("""
local first = redis.pcall('XRANGE', KEYS[1], '0-1', '0-1')
if first.err or not first[1] then return {false, 0} end
if ARGV[2] == '1' then
  local added = redis.pcall('SADD', KEYS[2], ARGV[1])
  if type(added) == 'table' then
    redis.call('DEL', KEYS[2])
    redis.call('SADD', KEYS[2], ARGV[1])
  end
  redis.call('PEXPIRE', KEYS[2], math.max(tonumber(ARGV[3]), redis.call('PTTL', KEYS[1])))
end
local member = redis.pcall('SISMEMBER', KEYS[2], ARGV[1])
return {first[1][2][2], type(member) == 'number' and member or 0}
""")

# KEYS: guests. ARGV: how long, callers.
ADMIT: Final = Script("""
for i = 2, #ARGV do
  local added = redis.pcall('SADD', KEYS[1], ARGV[i])
  if type(added) == 'table' then
    redis.call('DEL', KEYS[1])
    redis.call('SADD', KEYS[1], ARGV[i])
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
""")


class Card(msgspec.Struct, frozen=True):
    """Where a run lives, by the name of an instance, and whose it is; deadline_at in Unix time."""

    owner: str
    caller: str
    tenant: str
    fingerprint: str
    source: Source
    deadline_at: float

    @property
    def opener(self) -> Caller:
        """Who opened the run."""
        return Caller(self.caller, self.tenant)


class Looked(NamedTuple):
    """What was found of a run, and whether the one for whom it was looked up may read it."""

    card: Card
    readable: bool


_decode = msgspec.json.Decoder(Card).decode


def card_of(encoded: Reply) -> Card | None:
    """The card of these bytes; None when they are none."""
    try:
        return _decode(encoded) if isinstance(encoded, bytes) else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def log_key(client: Client, run_id: str) -> str:
    """Where a run is."""
    return client.key("log", run_id)


def guests_key(client: Client, run_id: str) -> str:
    """Where the callers are that may read a run though they did not open it."""
    return client.key("guests", run_id)


def lease_key(client: Client, instance: str) -> str:
    """What exists as long as an instance lives."""
    return client.key("instance", instance)


def name_of(caller: Caller) -> bytes:
    """A caller among the guests."""
    return msgspec.json.encode([caller.id, caller.tenant])


class Cards:
    """Looks runs of other instances up. Every call raises RedisUnavailable."""

    def __init__(self, client: Client, pace: Pace) -> None:
        self._client = client
        self._pace = pace

    async def look(self, run_id: str, caller: Caller, *, admit: bool = False) -> Looked | None:
        """The card, and whether the caller may read the run; admit: from now on it may. None: there is no such run."""
        keys = [log_key(self._client, run_id), guests_key(self._client, run_id)]
        args = [name_of(caller), "1" if admit else "", milliseconds(self._pace.kept_s)]
        reply = await self._client.run(_LOOK, keys, args, timeout_s=self._pace.command_s)
        if not isinstance(reply, list) or len(reply) != 2:
            return None
        card = card_of(reply[0])
        return None if card is None else Looked(card, card.opener == caller or reply[1] == 1)
