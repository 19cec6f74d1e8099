"""/api/cache and /health/cache: what the stored answers hold and saved, forgetting them, the state of their levels."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path
from starlette.responses import Response

from app.answers.stats import Counters
from app.errors import NoSuchAnswer
from app.http.callers import Asker
from app.http.describe import REFUSALS
from app.http.given import given
from app.http.parts import Answers
from app.question import Key

HEALTHY: Final = ("ok", "off")
STATS: Final = (
    "By level: entries and bytes (null when it could not be asked), hits, misses, errors, evictions, state. Then all "
    "lookups since this server began, and what the replays did not take again: milliseconds, tokens, US dollars, as "
    "far as they are known. `status` is `ok`, `degraded` while a level is away, or `off` (CACHE=false)."
)
SCOPE: Final = (
    "Of the caller's scope (`CACHE_SCOPE`) alone, on every level; 503 when one of them cannot be reached. Other "
    "instances may give what they hold in memory for `CACHE_MEMORY_S` more."
)

Given = Annotated[Answers, given("answers")]  # without a cache the routes say that it is off
Fingerprint = Annotated[
    str, Path(pattern="^[0-9a-f]{64}$", description="The question's fingerprint, as `done` and the record have it")
]


routes: Final = APIRouter(responses=REFUSALS)


@routes.get("/api/cache/stats", tags=["cache"], summary="What the stored answers hold and saved", description=STATS)
async def stats(answers: Given) -> dict[str, Any]:
    found = Counters().stats({}, 0) if answers.cache is None else await answers.cache.stats()
    return {"status": _status(_levels(answers)), **msgspec.to_builtins(found)}


@routes.delete("/api/cache", tags=["cache"], summary="Forget all stored answers", description=SCOPE)
async def clear(answers: Given, caller: Asker) -> dict[str, int]:
    return {"removed": 0 if answers.cache is None else await answers.cache.clear(answers.scope(caller))}


@routes.delete(
    "/api/cache/{fingerprint}",
    tags=["cache"],
    status_code=204,
    response_class=Response,
    summary="Forget the stored answer to one question",
    description=SCOPE,
)
async def remove(answers: Given, caller: Asker, fingerprint: Fingerprint) -> None:
    key = Key(answers.scope(caller), fingerprint)
    if answers.cache is None or not await answers.cache.remove(key):
        raise NoSuchAnswer("no answer to a question of this fingerprint is stored for you")


@routes.get(
    "/health/cache",
    tags=["health"],
    summary="The levels of stored answers, and Redis",
    description="Always 200: a level that is away is a miss, and comes back by itself.",
)
async def health(answers: Given) -> dict[str, Any]:
    levels, redis = _levels(answers), dict(answers.elsewhere.state)
    states = {**levels, "instances": redis.get("status", "ok")}
    return {"status": _status(levels and states), "levels": levels, "redis": redis}


def _levels(answers: Answers) -> Mapping[str, str]:
    """Each level with its state; none without a cache."""
    return {} if answers.cache is None else dict(answers.cache.state)


def _status(states: Mapping[str, str]) -> str:
    """All of them in one word."""
    if not states:
        return "off"
    return "ok" if all(state in HEALTHY for state in states.values()) else "degraded"
