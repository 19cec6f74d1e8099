"""Stored answers and their levels, idempotency keys, other instances: what keeps a race from being run twice."""

import asyncio
import importlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from app.admission.gate import OPEN, Gate
from app.answers.cache import Bounded, Cache
from app.answers.lifetime import Lifetimes, parse_classes
from app.answers.memory import Memory
from app.http.parts import Answers
from app.postgres.answers import PostgresAnswers
from app.postgres.pool import Pool
from app.postgres.way import Way
from app.question import KEEPING_TEXTS, Key
from app.reasoning.desk import Desk, Rules
from app.reasoning.elsewhere import Elsewhere, Nowhere
from app.reasoning.idempotency import IdempotencyKeys, Uses
from app.reasoning.runs import Keep, Runs, forget
from app.reasoning.stored import answer_of, worth_keeping
from app.record.entry import Closing
from app.settings import Settings
from app.wiring import models

# Loaded when REDIS_URL is set.
REDIS = {name: f"app.redis.{name}" for name in ("client", "answers", "keys", "instances", "pace")}
POOL_SIZE = 2


def _redis(name: str) -> Any:  # noqa: ANN401  # a module
    return importlib.import_module(REDIS[name])


async def _open_redis(settings: Settings, stack: AsyncExitStack) -> Any | None:  # noqa: ANN401  # a Client, of a module that is loaded here
    """The connections to Redis, if there is one and it may hold texts; it is not waited for."""
    if settings.redis_url is None or settings.audit_content not in KEEPING_TEXTS:
        return None
    url = settings.redis_url.get_secret_value()
    return await stack.enter_async_context(_redis("client").Client(url, settings.redis_prefix))


async def _open_cache(settings: Settings, way: Way, redis: Any | None, stack: AsyncExitStack) -> Cache | None:  # noqa: ANN401  # as above
    """The answers, over all levels; where no text may be kept, none outlives this process."""
    if not settings.cache:
        return None
    levels = []
    if settings.audit_content in KEEPING_TEXTS:
        if redis is not None:
            levels.append(Bounded(_redis("answers").RedisAnswers(redis), settings.cache_redis_timeout_s))
        pool = await stack.enter_async_context(Pool(way, POOL_SIZE))
        levels.append(Bounded(PostgresAnswers(pool), settings.cache_postgres_timeout_s))
    memory = Memory(settings.cache_memory_entries, settings.cache_memory_bytes, settings.cache_memory_s)
    by_class = parse_classes(settings.cache_ttl_by_class)
    lifetimes = Lifetimes(settings.cache_ttl_s, by_class, settings.cache_ttl_jitter)
    return await stack.enter_async_context(Cache(memory, levels, lifetimes))


def keeper(cache: Cache | None) -> Keep:
    """What becomes of a race that has ended: an answer, if it is worth it."""
    if cache is None:
        return forget

    def keep(closing: Closing, key: Key) -> None:
        if worth_keeping(closing):
            until = cache.until(closing.opening.question.labels.prompt_class)
            if until is not None:
                here = closing.opening.content.mode not in KEEPING_TEXTS
                cache.keep(answer_of(closing, key, until), here=here)

    return keep


async def _open_elsewhere(settings: Settings, redis: Any | None, runs: Runs, stack: AsyncExitStack) -> Elsewhere:  # noqa: ANN401  # as above
    """The other instances, as far as a Redis tells of them."""
    if redis is None:
        return Nowhere()
    keys = _redis("keys").RedisKeys(redis, settings.idempotency_s)
    pace = _redis("pace").Pace(lease_s=settings.redis_lease_s, patience_s=settings.redis_lease_s / 2)
    instances = _redis("instances").Instances(redis, runs, runs.instance, keys, pace)
    found: Elsewhere = await stack.enter_async_context(instances)
    return found


class Before(NamedTuple):
    """What a question meets before a race: earlier uses of its idempotency key, and the gate."""

    uses: Uses
    gate: Gate = OPEN


async def open_answers(
    settings: Settings, way: Way, make_runs: Callable[[Keep], Runs], before: Before, stack: AsyncExitStack
) -> tuple[Runs, Answers]:
    """The runs, and everything that may answer instead of a new one."""
    redis = await _open_redis(settings, stack)
    cache = await _open_cache(settings, way, redis, stack)
    runs = make_runs(keeper(cache))
    elsewhere = await _open_elsewhere(settings, redis, runs, stack)
    return runs, answers_of(settings, runs, before, cache, elsewhere)


def answers_of(settings: Settings, runs: Runs, before: Before, cache: Cache | None, elsewhere: Elsewhere) -> Answers:
    """These parts with the desk that decides between them."""
    keys = IdempotencyKeys(before.uses, elsewhere, settings.idempotency_s, asyncio.get_running_loop().time)
    rules = Rules(models.keyer(settings), before.gate, settings.queue_timeout_s)
    desk = Desk(runs, rules, keys, elsewhere, cache)
    levels = {} if cache is None else {f"answers.{name}": breaker for name, breaker in cache.breakers.items()}
    others = {} if elsewhere.breaker is None else {"redis.instances": elsewhere.breaker}
    return Answers(desk, cache, elsewhere, models.scoper(settings), {"postgres.keys": keys.breaker, **levels, **others})
