"""The purse of all instances in Redis: each operation one script, so that nothing comes between asking and holding.

An account is a hash with what was spent by bucket (`m` and the minute, `h` and the hour) and what is held in all, a
sorted set of what is held by run and until when, and a hash of what was spent before there was this purse.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from app.admission.allowance import Limit, Span
from app.admission.purse import (
    BUCKET_S,
    BUCKETS,
    SETTLED_S,
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

KEPT_S: Final = 27 * 3600  # longer than anything counts
BATCH: Final = 200
_LETTERS: Final[dict[Span, str]] = {"hour": "m", "day": "h"}

# What is held in all never falls below 0, though a Redis that is short of memory may forget it before the single runs.
_FREE: Final = """
local function free(spent, amount)
  local held = redis.call('HINCRBY', spent, 'held', string.format('%.0f', 0 - amount))
  if held < 0 then redis.call('HSET', spent, 'held', 0) end
end
"""

# KEYS of an account: spent, held, past. `first` are the oldest buckets that count; older ones are dropped.
_READ: Final = f"""{_FREE}
local function read(spent, holds, past, now)
  for _, late in ipairs(redis.call('ZRANGEBYSCORE', holds, '-inf', now)) do
    redis.call('ZREM', holds, late)
    free(spent, tonumber(string.match(late, '%d+$')))
  end
  local first = {{m = math.floor(now / 60) - {BUCKETS["hour"] - 1}, h = math.floor(now / 3600) - {BUCKETS["day"] - 1}}}
  local sums, found = {{m = 0, h = 0}}, {{}}
  for _, name in ipairs({{spent, past}}) do
    local fields = redis.call('HGETALL', name)
    for i = 1, #fields, 2 do
      local kind, index = string.match(fields[i], '^([mh])(%d+)$')
      if kind and tonumber(index) >= first[kind] then
        sums[kind] = sums[kind] + tonumber(fields[i + 1])
        found[#found + 1] = fields[i]
        found[#found + 1] = fields[i + 1]
      elseif kind then
        redis.call('HDEL', name, fields[i])
      end
    end
  end
  return sums, tonumber(redis.call('HGET', spent, 'held') or '0'), found
end
"""

# KEYS: the mark of a settled run, then three of each account. ARGV: now, the run, until when, then for each account the
# amount, and what its limits of an hour and of a day let through, -1 without one. Returns nothing when all is held, or
# the number of the account that is short, what is held there, and its buckets.
_RESERVE: Final = Script(
    _READ
    + """
local now = tonumber(ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 1 then return {} end
for i = 1, (#KEYS - 1) / 3 do
  local amount, sums, held, found = tonumber(ARGV[3 * i + 1]), read(KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1], now)
  for kind, most in pairs({m = tonumber(ARGV[3 * i + 2]), h = tonumber(ARGV[3 * i + 3])}) do
    local used = sums[kind] + held
    if most >= 0 and (used >= most or used + amount > most) then return {i, string.format('%.0f', held), found} end
  end
end
for i = 1, (#KEYS - 1) / 3 do
  redis.call('ZADD', KEYS[3 * i], ARGV[3], ARGV[2] .. '=' .. ARGV[3 * i + 1])
  redis.call('HINCRBY', KEYS[3 * i - 1], 'held', ARGV[3 * i + 1])
  for n = 3 * i - 1, 3 * i do redis.call('EXPIRE', KEYS[n], @KEPT) end
end
return {}
""".replace("@KEPT", str(KEPT_S))
)

# KEYS of each run: its mark, then spent and held of each account. ARGV of each: when, the run, how many accounts, then
# of each account what was held and what was spent.
_SETTLE: Final = Script(
    _FREE
    + """
local key, arg = 1, 1
while key <= #KEYS do
  local at, run, accounts = tonumber(ARGV[arg]), ARGV[arg + 1], tonumber(ARGV[arg + 2])
  local new = redis.call('SET', KEYS[key], 1, 'NX', 'EX', @SETTLED)
  for i = 1, new and accounts or 0 do
    local spent, holds = KEYS[key + 2 * i - 1], KEYS[key + 2 * i]
    local held, amount = ARGV[arg + 1 + 2 * i], ARGV[arg + 2 + 2 * i]
    if redis.call('ZREM', holds, run .. '=' .. held) == 1 then free(spent, tonumber(held)) end
    if amount ~= '0' then
      redis.call('HINCRBY', spent, 'm' .. math.floor(at / 60), amount)
      redis.call('HINCRBY', spent, 'h' .. math.floor(at / 3600), amount)
      redis.call('EXPIRE', spent, @KEPT)
    end
  end
  key, arg = key + 1 + 2 * accounts, arg + 3 + 2 * accounts
end
return 1
""".replace("@SETTLED", str(SETTLED_S)).replace("@KEPT", str(KEPT_S))
)

# KEYS: three of each account. ARGV: now. Returns for each what is held and its buckets.
_STANDING: Final = Script(
    _READ
    + """
local told = {}
for i = 1, #KEYS / 3 do
  local _, held, found = read(KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i], tonumber(ARGV[1]))
  told[i] = {string.format('%.0f', held), found}
end
return told
"""
)

# KEYS: the hash of the past of each account. ARGV: for each how many words, and these: fields and values.
_LEARN: Final = Script(
    """
local at = 1
for _, past in ipairs(KEYS) do
  local n = tonumber(ARGV[at])
  redis.call('DEL', past)
  for i = at + 1, at + n, 2 do redis.call('HSET', past, ARGV[i], ARGV[i + 1]) end
  redis.call('EXPIRE', past, @KEPT)
  at = at + n + 1
end
return 1
""".replace("@KEPT", str(KEPT_S))
)

_BORN: Final = Script("""
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
""")


class RedisPurse:
    """As SharedPurse has it. timeout_s bounds what somebody waits for, behind_s what nobody does."""

    def __init__(self, client: Client, timeout_s: float, behind_s: float = 1.0) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._behind_s = behind_s

    async def reserve(self, hold: Hold, now: float) -> Shortage | None:
        """Hold all of it, or nothing and say what is in the way."""
        args: list[Part] = [now, hold.id, hold.expires_at]
        for ask in hold.asks:
            most = {limit.span: limit.most for limit in ask.limits}
            args += (ask.amount, most.get("hour", -1), most.get("day", -1))
        names = [self._mark(hold), *(name for ask in hold.asks for name in self._names(ask.account))]
        reply = await self._run(_RESERVE, names, args, self._timeout_s)
        return _shortage(hold.asks[reply[0] - 1], int(reply[1]), _buckets(reply[2]), now) if reply else None

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Put what was spent in the place of what was held, of each run once."""
        names: list[Part] = []
        args: list[Part] = []
        for hold, spent, at in settlements:
            names.append(self._mark(hold))
            args += (at, hold.id, len(hold.asks))
            for ask, amount in zip(hold.asks, spent, strict=True):
                names += self._names(ask.account)[:2]
                args += (ask.amount, amount)
        with translated():
            await self._client.run(_SETTLE, names, args, timeout_s=self._behind_s)

    async def standing(self, accounts: Sequence[Account], now: float) -> list[Standing]:
        """How each account stands."""
        names = [name for account in accounts for name in self._names(account)]
        found = []
        for held, fields in await self._run(_STANDING, names, [now], self._timeout_s):
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
                names.append(self._names(account)[2])
                args += [len(words), *words]
            with translated():
                await self._client.run(_LEARN, names, args, timeout_s=self._behind_s)

    async def born(self, now: float) -> float:
        """Since when it counts."""
        with translated():
            reply = await self._client.run(_BORN, [self._client.key("purse", "born")], [now], timeout_s=self._behind_s)
            return float(expected(bytes, reply))

    async def _run(self, script: Script, keys: Sequence[Part], args: Sequence[Part], timeout_s: float) -> list[Any]:
        with translated():
            return expected(list, await self._client.run(script, keys, args, timeout_s=timeout_s))

    def _mark(self, hold: Hold) -> str:
        return self._client.key("purse", "settled", hold.id)

    def _names(self, account: Account) -> tuple[str, str, str]:
        name = self._client.key("purse", account.scope, short(account.id), account.unit)
        return name, f"{name}:held", f"{name}:past"


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
