"""Limits as clients meet them, on a real server: headers, refusals, what is left, and a Redis that does not answer."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from keyring import bearer, guarded, issued
from limits.aio.storage import memory
from redises import RedisServer
from servers import Server, eventually, serving

from app.admission import rates
from app.postgres.pool import Pool
from app.question import Caller, Grant

CHEAP: dict[str, Any] = {
    "fast_model": "scripted:fast?first=0&gap=0&tokens=2",
    "slow_model": "scripted:slow?first=0&gap=0&tokens=2",
}
A_TENTH_OF_A_CENT = {"input_usd_per_million": 1000, "output_usd_per_million": 1000}


@pytest.fixture(autouse=True)
def _no_span_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the windows in memory stands in the middle of a minute and of an hour.

    They begin anew with every minute of the clock, and a request of the one before counts for a little less than one.
    """
    still = SimpleNamespace(time=lambda: 500_000 * 3600.0 + 1830.0)
    monkeypatch.setattr(rates, "time", still)
    monkeypatch.setattr(memory, "time", still)


@pytest_asyncio.fixture
async def priced(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server whose models cost a tenth of a cent a token, where everybody may spend four cents an hour."""
    prices = tmp_path_factory.mktemp("prices") / "prices.json"
    prices.write_text(json.dumps(dict.fromkeys(CHEAP.values(), A_TENTH_OF_A_CENT)))
    async with serving(
        dsn, prices_file=prices, limit_caller="0.04 usd/hour", budget_default_output_tokens=10, **CHEAP
    ) as server:
        server.tasks |= asyncio.all_tasks()
        yield server


async def ask(server: Server, words: str = "Why?", headers: dict[str, str] | None = None, **more: Any) -> Any:
    """The response to one question, not streamed."""
    body = {"input": words, "stream": False, **more}
    return await server.client.post("/v1/reason", json=body, headers=headers or {})


def be_patient(server: Server) -> None:
    """Wait longer for a Redis that is well, on a machine that may be busy."""
    assert server.parts.doorman is not None
    assert server.parts.budget is not None
    windows: Any = server.parts.doorman._windows
    purses: Any = server.parts.budget._purses
    windows._shared._timeout_s = purses._shared.purse._timeout_s = 2.0


async def test_a_key_is_limited_by_default(dsn: str, pool: Pool) -> None:
    """With AUTH=keys every answer tells the limits of 100 a minute and 1,000 an hour, and /v1/limits 50 dollars too."""
    async with guarded(dsn, limit_caller=None, **CHEAP) as server:
        key = bearer(await issued(pool, "alice"))
        headers = (await ask(server, headers=key)).headers
        policies = '"caller_requests_per_minute";q=100;w=60, "caller_requests_per_hour";q=1000;w=3600'
        assert headers["ratelimit-policy"] == policies
        assert headers["ratelimit"].startswith('"caller_requests_per_minute";r=99;t=')
        rows = (await server.client.get("/v1/limits", headers=key)).json()["limits"]
        assert [(row["limit"], row["most"], row["left"]) for row in rows] == [
            ("requests_per_minute", 100, 98),
            ("requests_per_hour", 1000, 998),
            ("usd_per_hour", 50.0, 50.0),
        ]


async def test_too_many_requests_are_refused_before_their_bodies_are_read(dsn: str, pool: Pool) -> None:
    """A 429 says which limit, which scope and when, in its headers too, for a body that never comes."""
    async with guarded(dsn, limit_caller=None, **CHEAP) as server:
        key = bearer(await issued(pool, "alice", grant=Grant(requests_per_minute=1)))
        await ask(server, headers=key)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /v1/reason HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key['authorization']}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n".encode())
        said = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        refused = await ask(server, headers=key)
    assert said.startswith(b"HTTP/1.1 429")
    problem = refused.json()
    assert (problem["code"], problem["limit"], problem["scope"]) == ("rate_limited", "requests_per_minute", "caller")
    assert refused.headers["retry-after"] == str(problem["retry_after_s"])
    assert '"caller_requests_per_minute";r=0;t=' in refused.headers["ratelimit"]


async def test_nobody_is_limited_without_auth() -> None:
    """Under AUTH=off no answer has a header of limits, and none are listed."""
    async with serving(**CHEAP) as server:
        assert "ratelimit" not in (await ask(server)).headers
        assert (await server.client.get("/v1/limits")).json() == {"limits": []}


async def test_what_is_open_to_all_is_not_counted(dsn: str) -> None:
    """Probes and the page itself have no limit: nobody is known who could have one."""
    async with serving(dsn, limit_caller="1 requests/hour", **CHEAP) as server:
        server.tasks |= asyncio.all_tasks()
        answers = [await server.client.get("/health/live") for _ in range(3)]
    assert [(answer.status_code, "ratelimit" in answer.headers) for answer in answers] == [(200, False)] * 3


async def test_money_runs_out(priced: Server) -> None:
    """Runs are let in while their estimate fits; what they cost is spent; then a 429 tells what is in the way."""
    first = (await ask(priced)).json()["done"]
    (row,) = (await priced.client.get("/v1/limits")).json()["limits"]
    assert (row["spent"], row["reserved"]) == (pytest.approx(first["cost_usd"]), 0.0)
    statuses = []
    for n in range(9):
        answer = await ask(priced, f"Why {n}?")
        statuses.append(answer.status_code)
    assert (statuses[0], statuses[-1]) == (200, 429)
    problem = answer.json()
    assert (problem["code"], problem["limit"], problem["most"]) == ("budget_exceeded", "usd_per_hour", 0.04)
    assert 3500 <= int(answer.headers["retry-after"]) <= 3660
    assert problem["spent"] <= 0.04


async def test_a_stored_answer_costs_nothing(priced: Server) -> None:
    """Who asks what was answered before spends nothing, even when nothing is left."""
    await ask(priced)
    await eventually(lambda: priced.runs.live == 0)
    before = (await priced.client.get("/v1/limits")).json()
    replayed = await ask(priced)
    assert replayed.headers["x-run-source"] == "cache"
    assert (await priced.client.get("/v1/limits")).json() == before


async def test_a_server_that_starts_anew_knows_what_was_spent(dsn: str, priced: Server) -> None:
    """What the record has of an earlier process counts: nobody's money is there again because a server died."""
    answer = await ask(priced)
    done = answer.json()["done"]
    await eventually(lambda: not priced.parts.pending.may_have(answer.headers["x-run-id"]))
    async with serving(dsn, limit_caller="0.04 usd/hour", **CHEAP) as anew:
        anew.tasks |= asyncio.all_tasks()
        assert anew.parts.budget is not None
        budget, local = anew.parts.budget, Caller("local")
        async with asyncio.timeout(2):
            while not (await budget.standing(local))[0]["spent"]:  # noqa: ASYNC110  # nobody tells when it was learnt
                await asyncio.sleep(0.01)
        assert (await budget.standing(local))[0]["spent"] == pytest.approx(done["cost_usd"])


@pytest.mark.parametrize("fault", ["frozen", "gone"])
async def test_a_sick_redis_holds_nobody_up(dsn: str, redis_server: RedisServer, fault: str) -> None:
    """With Redis away limits go on in memory: nobody waits beyond 50 ms, and nobody is refused for it."""
    limits = "3 requests/minute, 100000 tokens/hour"
    async with serving(dsn, redis_url=redis_server.url, limit_caller=limits, cache=False, **CHEAP) as server:
        server.tasks |= asyncio.all_tasks()
        assert server.parts.doorman is not None
        redis_server.freeze() if fault == "frozen" else redis_server.kill()
        statuses, took_s = [], []
        try:
            for _ in range(4):
                began = time.perf_counter()
                statuses.append((await server.client.get("/v1/limits")).status_code)
                took_s.append(time.perf_counter() - began)
                await asyncio.sleep(0.05)  # after each failure it is left alone for so long
            assert server.parts.readiness.checks()["limits"] == "away"
        finally:
            redis_server.heal()
    assert statuses == [200, 200, 200, 429]
    assert max(took_s) < 0.05 + 1  # what a busy machine adds; without the bound a frozen Redis would hold it for longer


@pytest.mark.usefixtures("within_a_minute")
async def test_two_instances_share_a_limit(dsn: str, redis_url: str) -> None:
    """What a caller uses on one instance counts on the other: requests, and what is held for a run that goes on."""
    settings: dict[str, Any] = {
        **CHEAP,
        "redis_url": redis_url,
        "limit_caller": "4 requests/minute, 1000 tokens/hour",
        "slow_model": "scripted:hang",
        "budget_default_output_tokens": 300,
        "disconnect_grace_s": 0,
    }
    async with serving(dsn, **settings) as one, serving(dsn, **settings) as two:
        for server in (one, two):
            server.tasks |= asyncio.all_tasks()
            be_patient(server)
        async with one.client.stream("POST", "/v1/reason", json={"input": "Why?"}) as live:
            assert live.status_code == 200
            refused = await ask(two, "How?")
            assert refused.json()["reserved"] == 602
        await eventually(lambda: one.runs.live == 0)
        for _ in range(2):
            listed = (await two.client.get("/v1/limits")).json()["limits"]
        assert (await one.client.get("/v1/limits")).json()["code"] == "rate_limited"
    assert listed[0]["left"] == 0


@pytest.mark.parametrize(
    ("policy", "let_in", "refused"),
    [
        ("configured", ["openai:chosen", "scripted:fast"], ["openai:any", "deliberate:9@openai:chosen"]),
        ("allow", ["openai:any"], []),
        ("refuse", ["scripted:fast"], ["openai:chosen"]),
    ],
)
async def test_nobody_asks_for_free_what_has_no_price(
    dsn: str, policy: str, let_in: list[str], refused: list[str]
) -> None:
    """Where money is limited a model of which nobody knows the price is asked only as UNPRICED_MODELS says."""
    chosen = {**CHEAP, "fast_model": "openai:chosen", "openai_base_url": "http://127.0.0.1:1/v1"}
    async with serving(dsn, limit_caller="50 usd/hour", unpriced_models=policy, **chosen) as server:
        server.tasks |= asyncio.all_tasks()
        for model in let_in:
            assert (await ask(server, fast={"model": model})).status_code == 200
        for model in refused:
            problem = (await ask(server, fast={"model": model})).json()
            assert (problem["status"], problem["code"], problem["models"]) == (403, "model_unpriced", [model])
