"""The steps of the purse in Redis: each one script, so that nothing comes between asking and holding.

An account is a hash with what was spent by bucket (`m` and the minute, `h` and the hour) and what is held in all, a
sorted set of what is held by run and until when, one of what was held for longer than that and counts as spent since,
and a hash of what was spent before there was this purse. Moments are Redis's own: callers tell how long something lasts
or how long ago it was, so that nobody's clock matters.
"""

from typing import Final, NamedTuple

from app.admission.purse import BUCKETS, KEPT_S, SETTLED_S
from app.redis.client import Script

SERVER_CLOCK: Final = """
local function clock()
  local at = redis.call('TIME')
  return at[1] + at[2] / 1000000
end
"""

# What is held in all never falls below 0, though a Redis that is short of memory may forget it before the single runs.
_SPEND: Final = """
local function free(spent, amount)
  local held = redis.call('HINCRBY', spent, 'held', string.format('%.0f', 0 - amount))
  if held < 0 then redis.call('HSET', spent, 'held', 0) end
end
local function buckets(at)
  return {'m' .. math.floor(at / 60), 'h' .. math.floor(at / 3600)}
end
local function charge(spent, at, amount)
  for _, bucket in ipairs(buckets(at)) do redis.call('HINCRBY', spent, bucket, amount) end
  redis.call('EXPIRE', spent, @KEPT)
end
"""

# KEYS of an account: spent, held, late, past. What nobody settled in time counts as spent then, and is remembered for a
# settlement that comes yet. `first` are the oldest buckets that count; older ones are dropped.
_READ: Final = """
local function lapse(spent, holds, late, now)
  local over = redis.call('ZRANGEBYSCORE', holds, '-inf', now, 'WITHSCORES')
  for i = 1, #over, 2 do
    local amount = string.match(over[i], '%d+$')
    redis.call('ZREM', holds, over[i])
    free(spent, tonumber(amount))
    charge(spent, tonumber(over[i + 1]), amount)
    redis.call('ZADD', late, over[i + 1], over[i])
    redis.call('EXPIRE', late, @KEPT)
  end
  redis.call('ZREMRANGEBYSCORE', late, '-inf', now - @KEPT)
end
local function read(spent, holds, late, past, now)
  lapse(spent, holds, late, now)
  local first = {m = math.floor(now / 60) - @MINUTES + 1, h = math.floor(now / 3600) - @HOURS + 1}
  local sums, found = {m = 0, h = 0}, {}
  for _, name in ipairs({spent, past}) do
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

# KEYS: the mark of a settled run, then four of each account. ARGV: the run, for how long, then for each account the
# amount, and what its limits of an hour and of a day let through, -1 without one. Returns nothing when all is held, or
# the number of the account that is short, what is held there, its buckets, and when that was.
_RESERVE: Final = """
local now = clock()
if redis.call('EXISTS', KEYS[1]) == 1 then return {} end
for i = 1, (#KEYS - 1) / 4 do
  local amount = tonumber(ARGV[3 * i])
  local sums, held, found = read(KEYS[4 * i - 2], KEYS[4 * i - 1], KEYS[4 * i], KEYS[4 * i + 1], now)
  for kind, most in pairs({m = tonumber(ARGV[3 * i + 1]), h = tonumber(ARGV[3 * i + 2])}) do
    local used = sums[kind] + held
    if most >= 0 and (used >= most or used + amount > most) then
      return {i, string.format('%.0f', held), found, string.format('%.6f', now)}
    end
  end
end
for i = 1, (#KEYS - 1) / 4 do
  redis.call('ZADD', KEYS[4 * i - 1], now + tonumber(ARGV[2]), ARGV[1] .. '=' .. ARGV[3 * i])
  redis.call('HINCRBY', KEYS[4 * i - 2], 'held', ARGV[3 * i])
  for n = 4 * i - 2, 4 * i - 1 do redis.call('EXPIRE', KEYS[n], @KEPT) end
end
return {}
"""

# KEYS of each run: its mark, then spent, held and late of each account. ARGV of each: how long ago it was, the run, how
# many accounts, then of each account what was held and what was spent.
_SETTLE: Final = """
local key, arg = 1, 1
while key <= #KEYS do
  local at, run, accounts = clock() - tonumber(ARGV[arg]), ARGV[arg + 1], tonumber(ARGV[arg + 2])
  local new = redis.call('SET', KEYS[key], 1, 'NX', 'EX', @SETTLED)
  for i = 1, new and accounts or 0 do
    local spent, holds, late = KEYS[key + 3 * i - 2], KEYS[key + 3 * i - 1], KEYS[key + 3 * i]
    local held, amount = ARGV[arg + 1 + 2 * i], ARGV[arg + 2 + 2 * i]
    local since = redis.call('ZSCORE', late, run .. '=' .. held)
    if redis.call('ZREM', holds, run .. '=' .. held) == 1 then
      free(spent, tonumber(held))
    elseif since then
      redis.call('ZREM', late, run .. '=' .. held)
      for _, bucket in ipairs(held == '0' and {} or buckets(tonumber(since))) do
        if redis.call('HEXISTS', spent, bucket) == 1 then redis.call('HINCRBY', spent, bucket, '-' .. held) end
      end
    end
    if amount ~= '0' then charge(spent, at, amount) end
  end
  key, arg = key + 1 + 3 * accounts, arg + 3 + 2 * accounts
end
return 1
"""

# KEYS: four of each account. Returns for each what is held and its buckets.
_STANDING: Final = """
local told = {}
for i = 1, #KEYS / 4 do
  local _, held, found = read(KEYS[4 * i - 3], KEYS[4 * i - 2], KEYS[4 * i - 1], KEYS[4 * i], clock())
  told[i] = {string.format('%.0f', held), found}
end
return told
"""

# KEYS: the hash of the past of each account. ARGV: for each how many words, and these: fields and values.
_LEARN: Final = """
local at = 1
for _, past in ipairs(KEYS) do
  local n = tonumber(ARGV[at])
  redis.call('DEL', past)
  for i = at + 1, at + n, 2 do redis.call('HSET', past, ARGV[i], ARGV[i + 1]) end
  redis.call('EXPIRE', past, @KEPT)
  at = at + n + 1
end
return 1
"""

# KEYS: when it began. Returns that, and what time it is.
_BEGAN: Final = """
local now = string.format('%.6f', clock())
redis.call('SET', KEYS[1], now, 'NX')
return {redis.call('GET', KEYS[1]), now}
"""


class Steps(NamedTuple):
    """All of them."""

    reserve: Script
    settle: Script
    standing: Script
    learn: Script
    began: Script


def steps(clock: str = SERVER_CLOCK) -> Steps:
    """The scripts, by that clock: a function `clock` in Lua that returns Unix time."""
    read = clock + _SPEND + _READ
    texts = (read + _RESERVE, clock + _SPEND + _SETTLE, read + _STANDING, _LEARN, clock + _BEGAN)
    return Steps(*(Script(_filled(text)) for text in texts))


def _filled(text: str) -> str:
    """The script with our numbers in it."""
    numbers = {"@KEPT": KEPT_S, "@SETTLED": SETTLED_S, "@MINUTES": BUCKETS["hour"], "@HOURS": BUCKETS["day"]}
    for name, number in numbers.items():
        text = text.replace(name, str(number))
    return text
