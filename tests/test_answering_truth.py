"""What an asker gets when the run before it is ending, was never opened, or when keeping it goes wrong."""

import asyncio
import hashlib
from datetime import timedelta
from typing import Any, Never

import httpx
import pytest
from clock import jump
from journals import MemoryJournal
from races import order, question, registry, whole
from servers import Server, serving
from tails import QUESTION, SHORT, ask, lanes, opened, started
from wire import valid_stream

from app.http import resume
from app.postgres.pool import Pool
from app.postgres.runs import RunStore
from app.question import Caller
from app.reasoning.elsewhere import Nowhere, Used
from app.reasoning.idempotency import LOOK_S, IdempotencyKeys
from app.reasoning.order import new_id
from app.redis.client import Client
from app.redis.keys import RedisKeys
from bench.proxy import Proxy

KEY = {"Idempotency-Key": "order-66"}
FINE = lanes(SHORT, SHORT)


async def keyed(server: Server, **fields: Any) -> httpx.Response:
    """The answer to a question under the key."""
    return await server.client.post("/v1/reason", json={**QUESTION, **fields}, headers=KEY)


async def test_a_run_that_is_being_stopped(dsn: str, redis_url: str) -> None:
    """Whoever asks while the run before is being cancelled does not share its end, though it is still claimed."""
    fields = lanes(SHORT, "scripted:stubborn?first=0&gap=0&hold=0.2")
    async with serving(dsn, redis_url=redis_url) as server:
        first = await started(server, **fields)
        await asyncio.sleep(0.03)  # in which Redis is told what has been said
        server.runs._live[first.run_id].stop("cancelled")
        second = await opened(server, "POST", "/v1/reason", json={**QUESTION, **fields})
        assert (second.response.headers["x-run-source"], second.run_id == first.run_id) == ("live", False)
        server.runs._live[second.run_id].stop("cancelled")
        for tail in (first, second):
            assert valid_stream(await tail.rest())[-1].data["reason"] == "cancelled"


async def test_a_joined_run_under_a_key(dsn: str, redis_url: str) -> None:
    """With Redis too a key whose request joined a run stands for that run, and one that was refused for none."""
    async with serving(dsn, redis_url=redis_url) as server:
        refused = await keyed(server, fast={"model": "scripted:nobody"})
        tail = await started(server, **lanes(SHORT, "scripted:slow?first=0.4&gap=0&tokens=3"))
        fields = lanes(SHORT, "scripted:slow?first=0.4&gap=0&tokens=3")
        joined = await keyed(server, **fields)
        again = await keyed(server, **fields)
        await tail.rest()
    assert (refused.status_code, joined.status_code) == (422, 200)
    assert [answer.headers["x-run-id"] for answer in (joined, again)] == [tail.run_id] * 2


@pytest.mark.parametrize(("opened_s", "status"), [(60, 409), (0, 200)])
async def test_a_key_without_a_run(
    opened_s: int, status: int, dsn: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key whose server died before it opened the run: wait for it a minute, then the key is unused again."""
    monkeypatch.setattr(resume, "OPENED", timedelta(seconds=opened_s))
    async with serving(dsn, redis_url=redis_url, cache=False) as server, Client(redis_url, "tandem") as client:
        live = await ask(server, **FINE)
        fingerprint = valid_stream(live.content)[-1].data["fingerprint"]
        hashed = hashlib.sha256(KEY["Idempotency-Key"].encode()).hexdigest()
        await RedisKeys(client, 60).first(Caller("local"), hashed, Used(new_id(), fingerprint))
        answer, again = await keyed(server, **FINE), await keyed(server, **FINE)
    assert (answer.status_code, again.status_code) == (status, status)
    if status == 409:
        assert (answer.json()["code"], "retry-after" in answer.headers) == ("run_not_live", True)
    else:
        assert [a.headers["x-run-source"] for a in (answer, again)] == ["live", "attached"]
        assert answer.content == again.content


async def test_a_key_and_a_black_hole(proxy: tuple[Proxy, str]) -> None:
    """A record that answers nothing is waited for a quarter of a second a key, and after three not at all."""
    network, dsn = proxy
    async with Pool(dsn) as pool:
        loop = asyncio.get_running_loop()
        keys = IdempotencyKeys(RunStore(pool), Nowhere(), 60, loop.time)
        orders = [order(question()) for _ in range(5)]
        await RunStore(pool).log(Caller("local"), new_id())
        network.swallow = True
        took = []
        for n, each in enumerate(orders[:3]):
            begun = loop.time()
            await keys._recorded(("local", str(n)), each)
            took.append(loop.time() - begun)
        for each in orders[3:]:
            with pytest.raises(StopIteration):  # it has nothing to wait for
                keys._recorded(("local", "k"), each).send(None)
        network.swallow = False
    assert min(took) < LOOK_S + 0.1  # what a busy machine adds, it does not add to all
    assert max(took) < LOOK_S + 1


def test_keeping_goes_wrong(caplog: pytest.LogCaptureFixture) -> None:
    """A run whose answer cannot be kept for a fault of ours leaves the live ones all the same."""

    def faulty(*_: object) -> Never:
        raise RuntimeError("a fault of ours")

    async def kept() -> tuple[int, bool]:
        """Fail in place of keeping."""
        runs = registry(MemoryJournal(), keep=faulty)
        asked = order(question())
        run = runs.open(asked)
        await whole(run)
        await asyncio.sleep(0)
        return runs.live, runs.flight(asked.key) is None

    assert jump(kept()) == (0, True)
    assert "a step at the end" in caplog.text
