"""/api/cache and /health/cache: what they tell, what they forget, and for whom."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI
from levels import DictLevel, answer, cache_of
from starlette.datastructures import Headers
from starlette.types import Scope

from app.answers.cache import Cache
from app.http import problems
from app.http.cache import routes
from app.http.door import Door
from app.http.edge import Edge
from app.http.given import give
from app.http.parts import Answers, Parts
from app.question import Caller, Key, scope_of
from app.reasoning.elsewhere import Nowhere

MINE, OTHER, FOREIGN = (Key("caller:me", "a" * 64), Key("caller:me", "b" * 64), Key("caller:you", "a" * 64))


async def who(headers: Headers, _: Scope) -> Caller:
    """Callers by the name that they give."""
    return Caller(headers.get("x-caller", "me"))


def client_of(cache: Cache | None) -> httpx.AsyncClient:
    """A client of the routes over this cache, behind the real edge and with the real errors."""
    none = cast("Any", None)  # parts that these routes have nothing to do with
    answers = Answers(none, cache, Nowhere(), partial(scope_of, kind="caller"))
    parts = Parts(answers, none, none, none, none, ping_s=15, max_body_bytes=1024, version="test")
    app = FastAPI()
    problems.install(app)
    give(app, parts)
    app.include_router(routes)
    transport = httpx.ASGITransport(Edge(app, door=Door(who, guard_loopback=False)))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.fixture
def level() -> DictLevel:
    """A level beyond the process."""
    return DictLevel("redis")


@pytest.fixture
async def http(level: DictLevel) -> AsyncIterator[httpx.AsyncClient]:
    """The routes over a cache with two answers of mine and one of somebody else, and one replay so far."""
    async with cache_of(level) as cache, client_of(cache) as client:
        for number, key in enumerate((MINE, OTHER, FOREIGN)):
            cache.keep(answer(key, number))
        assert cache.at_hand(MINE) is not None
        cache.credit(answer(MINE))
        yield client


async def stats(http: httpx.AsyncClient) -> dict[str, Any]:
    """What /api/cache/stats says."""
    told: dict[str, Any] = (await http.get("/api/cache/stats")).raise_for_status().json()
    return told


async def test_the_statistics_tell_what_is_held_and_what_it_saved(http: httpx.AsyncClient) -> None:
    """By level there are entries, bytes and counts; beside them the hit rate and what replays did not take again."""
    told = await stats(http)
    memory = told["levels"]["memory"]
    assert (told["status"], told["lookups"], told["hits"], told["hit_rate"], told["replays"]) == ("ok", 1, 1, 1.0, 1)
    assert (memory["entries"], memory["hits"], memory["state"], memory["bytes"] > 0) == (3, 1, "ok", True)
    assert told["saved"] == {"latency_ms": 80.0, "input_tokens": 20, "output_tokens": 4, "cost_usd": 0.002}
    assert told["levels"]["redis"].keys() == memory.keys() >= {"misses", "errors", "evictions"}


async def test_a_caller_forgets_its_own_answers_alone(http: httpx.AsyncClient) -> None:
    """Clearing removes what the caller's scope holds, says how many that were, and leaves everybody else's."""
    assert (await http.delete("/api/cache")).json() == {"removed": 2}
    assert (await stats(http))["levels"]["memory"]["entries"] == 1
    assert (await http.delete("/api/cache")).json() == {"removed": 0}
    assert (await http.delete("/api/cache", headers={"x-caller": "you"})).json() == {"removed": 1}


async def test_one_answer_is_forgotten_by_its_fingerprint(http: httpx.AsyncClient) -> None:
    """Removing an answer is 204 once, and 404 afterwards and for an answer of another scope."""
    path = f"/api/cache/{OTHER.fingerprint}"
    foreign = await http.delete(path, headers={"x-caller": "you"})
    assert (foreign.status_code, foreign.json()["code"]) == (404, "answer_not_found")
    first, second = [await http.delete(path) for _ in range(2)]
    assert (first.status_code, first.content, second.status_code) == (204, b"", 404)
    assert (await stats(http))["levels"]["memory"]["entries"] == 2


@pytest.mark.parametrize("word", ["a" * 63, "A" * 64, "a" * 65, "g" * 64, "a" * 64 + "%0A", "stats"])
async def test_what_is_no_fingerprint_is_told(http: httpx.AsyncClient, word: str) -> None:
    """Anything but 64 digits in lower-case hex is refused as invalid."""
    refused = await http.delete(f"/api/cache/{word}")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


async def test_a_level_that_is_away_is_told(http: httpx.AsyncClient, level: DictLevel) -> None:
    """Health stays 200 and says which level is away; what could not be forgotten there is a 503 that names it."""
    assert (await http.get("/health/cache")).json() == {
        "status": "ok", "levels": {"memory": "ok", "redis": "ok"}, "redis": {"status": "off"},
    }  # fmt: skip
    level.mood = "down"
    refused = await http.delete("/api/cache")
    assert (refused.status_code, refused.json()["code"], refused.json()["levels"]) == (
        503,
        "cache_unavailable",
        ["redis"],
    )
    for _ in range(10):  # until it is spared
        await http.delete("/api/cache")
    told = await http.get("/health/cache")
    assert (told.status_code, told.json()["status"], told.json()["levels"]["redis"]) == (200, "degraded", "away")
    assert (await stats(http))["status"] == "degraded"


async def test_without_a_cache_the_routes_say_so() -> None:
    """With CACHE=false the statistics have the same fields and are empty, nothing is removed, and health says `off`."""
    async with client_of(None) as http:
        told = await stats(http)
        assert (told["status"], told["levels"], told["lookups"], told["hit_rate"]) == ("off", {}, 0, None)
        assert (await http.delete("/api/cache")).json() == {"removed": 0}
        assert (await http.delete(f"/api/cache/{MINE.fingerprint}")).status_code == 404
        assert (await http.get("/health/cache")).json() == {"status": "off", "levels": {}, "redis": {"status": "off"}}
