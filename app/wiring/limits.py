"""What callers may use: requests, tokens and money, counted here, or in Redis for all instances."""

import asyncio
import importlib
import logging
import random
import re
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from app.admission.allowance import Allowances, Defaults, parse_endpoints, parse_limits
from app.admission.budget import Budget, Purses, Shared
from app.admission.doorman import Doorman, SharedWindows, Windows
from app.admission.estimate import Estimator, Prices
from app.admission.gate import OPEN, Gate
from app.admission.purse import SharedPurse
from app.admission.settling import Settler
from app.admission.sparing import CountersUnavailable, Sparing
from app.breaker import Breaker
from app.errors import TandemError
from app.postgres.pool import Pool
from app.postgres.spending import Spending
from app.postgres.way import Way
from app.question import LaneName
from app.record.prices import UNLISTED, PriceBook
from app.settings import Settings
from app.wiring import models
from app.wiring.background import background
from app.wiring.breakers import attempts

log = logging.getLogger(__name__)

RATES: Final = "app.admission.rates"  # loaded in a thread where something is limited: its library takes 60 ms
REDIS: Final = {name: f"app.redis.{name}" for name in ("client", "purse", "rates")}  # loaded when REDIS_URL is set
LOOK_S: Final = 60.0  # at least, between two looks into the record
SHARE: Final = 0.02  # of the time, at most, is spent on looking
RETRY_S: Final = 5.0

_SAMPLES: Final = re.compile(r"deliberate:(\d{1,2})@")


@dataclass(frozen=True, slots=True)
class Limited:
    """Who counts requests, the gate of money and tokens, and how the shared counters are: None without any."""

    doorman: Doorman | None = None
    budget: Budget | None = None
    sparing: Sparing | None = None


def gate(limited: Limited) -> Gate:
    """What a question passes right before a race."""
    return OPEN if limited.budget is None else limited.budget


async def open_limits(settings: Settings, way: Way, prices: PriceBook, instance: str, stack: AsyncExitStack) -> Limited:
    """Nothing where nothing is limited: AUTH=off and no setting that asks for it."""
    defaults = limits_of(settings)
    if settings.auth == "off" and defaults == Defaults():
        return Limited()
    allowances, exceeded = Allowances(defaults), Counter[tuple[str, str]]()
    own: Windows = (await asyncio.to_thread(importlib.import_module, RATES)).MemoryWindows()
    shared, windows, sparing = await _open_shared(settings, own, stack)
    purses = Purses(time.time, shared)
    estimator = Estimator(_prices(settings, prices), settings.budget_default_output_tokens)
    spending = Spending(await stack.enter_async_context(Pool(way, 1)))
    background(stack, _learn(spending, purses, shared, instance), "spending")
    return Limited(Doorman(allowances, windows, exceeded), Budget(allowances, purses, estimator, exceeded), sparing)


def limits_of(settings: Settings) -> Defaults:
    """The server's own limits."""
    return Defaults(
        parse_limits(settings.caller_limits),
        parse_limits(settings.limit_tenant),
        parse_limits(settings.limit_global),
        parse_endpoints(settings.limit_endpoints),
    )


async def _open_shared(
    settings: Settings, own: Windows, stack: AsyncExitStack
) -> tuple[Shared | None, Windows, Sparing | None]:
    """What all instances count together; it holds no word of anybody, whatever AUDIT_CONTENT says."""
    if settings.redis_url is None:
        return None, own, None
    modules: dict[str, Any] = {name: importlib.import_module(module) for name, module in REDIS.items()}
    url, timeout_s = settings.redis_url.get_secret_value(), settings.limit_redis_timeout_s
    client = await stack.enter_async_context(modules["client"].Client(url, settings.redis_prefix))
    purse = modules["purse"].RedisPurse(client, timeout_s)
    settler = await stack.enter_async_context(Settler(purse))
    sparing = Sparing(Breaker(), asyncio.get_running_loop().time)
    windows = SharedWindows(modules["rates"].RedisWindows(client, timeout_s), own, sparing)
    return Shared(purse, sparing, settler), windows, sparing


def _prices(settings: Settings, prices: PriceBook) -> Prices:
    base_urls = models.base_urls(settings)

    async def look(lane: LaneName, model: str) -> Any:  # noqa: ANN401  # a Tariff or None
        return await asyncio.to_thread(prices.resolve, model, base_urls[lane])

    return Prices(
        models.tariffs(settings, prices), look, _times, partial(attempts, settings), partial(_required, settings)
    )


def _required(settings: Settings, model: str) -> bool:
    """Whether that model may be asked only at a known price, where money is limited: UNPRICED_MODELS."""
    if settings.unpriced_models == "allow" or models.innermost(model).startswith(UNLISTED):
        return False
    return settings.unpriced_models == "refuse" or model not in models.chosen(settings)


def money_is_limited(settings: Settings) -> bool:
    """Whether somebody's money may be: by a setting, or by what a key was granted."""
    own = limits_of(settings)
    shared = (*own.caller, *own.tenant, *own.everybody)
    return settings.auth == "keys" or any(limit.unit == "usd" for limit in shared)


def _times(model: str) -> int:
    """How often a wrapper asks its model for one answer."""
    match = _SAMPLES.match(model)
    return int(match[1]) if match else 1


async def _learn(spending: Spending, purses: Purses, shared: Shared | None, instance: str) -> None:
    """Tell the purses what the record knows of others and of earlier processes, again and again: some comes late."""
    while True:
        began = time.monotonic()
        try:
            purses.own.learn(await spending.past(time.time(), time.time(), instance))
            if shared is not None:
                await _learn_shared(spending, shared.purse)
        except CountersUnavailable as error:
            log.debug("the shared limits were not told of the past: %s", error)
        except TandemError as error:  # the database is away or not migrated yet
            log.debug("what was spent before could not be read: %s", error)
            await asyncio.sleep(RETRY_S)
            continue
        except Exception:  # limits go on with what this process knows, and the next look may do better
            log.exception("what was spent before could not be learnt")
        took_s = time.monotonic() - began
        await asyncio.sleep(max(LOOK_S, took_s / SHARE) * (1 + random.random() / 4))  # noqa: S311  # no secret


async def _learn_shared(spending: Spending, purse: SharedPurse) -> None:
    began, now = await purse.began()
    await purse.learn(await spending.past(now, began))
