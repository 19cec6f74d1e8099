"""Health: alive while what has to move moves, ready while a run may begin, and every part's condition for operators."""

import asyncio
import logging
import threading
import time
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from servers import Server, eventually, serving

from app import logs
from app.telemetry.watchdog import Watchdog
from app.wiring.readiness import Readiness
from bench.proxy import Proxy

ASK: dict[str, Any] = {"input": "Why?", "stream": False, "cache": "off"}
ROOM_NOWHERE = 1 << 60  # bytes that must stay free


async def get(server: Server, path: str) -> tuple[int, Any]:
    """The status and the body of one look."""
    answer: httpx.Response = await server.client.get(f"/health/{path}")
    return answer.status_code, answer.json()


def journal_of(server: Server) -> Any:
    """The journal, to look into."""
    return server.parts.pending


def drainer_of(server: Server) -> Any:
    """The drainer, to look into and to turn its clock back."""
    return journal_of(server)._drainer


async def test_a_server_at_rest_is_alive_and_ready(dsn: str) -> None:
    """With nothing to do nothing has to move, for however long."""
    async with serving(dsn, health_stall_s=30) as server:
        await eventually(lambda: server.parts.readiness.ready)
        drainer = drainer_of(server)
        drainer._moved_at -= 3600
        assert await get(server, "live") == (200, {"status": "ok"})
        assert (await get(server, "ready"))[0] == 200


async def test_a_drainer_that_does_nothing_is_not_alive(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When entries wait and the drainer does not move, the process says so with 503, and is not ready either."""
    never = asyncio.Event()

    async def hang(*_: object) -> None:
        """A store that never answers, past every bound."""
        await never.wait()

    async with serving(dsn, health_stall_s=30) as server:
        drainer = drainer_of(server)
        monkeypatch.setattr(drainer, "_store_part", hang)
        await server.client.post("/v1/reason", json=ASK)
        await eventually(lambda: drainer._todo)
        assert (await get(server, "live"))[0] == 200
        drainer._moved_at -= 31
        status, told = await get(server, "live")
        assert (status, told["checks"]["loop"]) == (503, "ok")
        assert told["checks"]["drainer"].startswith("has not moved for 3")
        assert (await get(server, "ready"))[0] == 503
        monkeypatch.undo()
        never.set()


async def test_a_drainer_that_was_not_woken_is_not_alive(dsn: str) -> None:
    """Entries that nobody takes are work too."""
    async with serving(dsn, health_stall_s=30) as server:
        drainer, backlog = drainer_of(server), journal_of(server)._backlog
        drainer._task.cancel()
        await asyncio.wait([drainer._task])
        await server.client.post("/v1/reason", json=ASK)
        await eventually(lambda: backlog.ready_since)
        drainer._moved_at -= 31
        assert (await get(server, "live"))[0] == 200  # they have only just come
        for item in backlog._ready:
            item.at -= 31
        assert (await get(server, "live"))[0] == 503


async def test_a_database_that_is_away_kills_nobody(proxy: tuple[Proxy, str]) -> None:
    """A drainer that tries in vain moves: the server is alive and ready, and says that the database is away."""
    network, dsn = proxy
    async with AsyncExitStack() as away, serving(dsn, health_stall_s=30) as server:
        await eventually(lambda: server.parts.readiness.ready)
        await away.enter_async_context(network.stopped())  # until the server has ended
        await server.client.post("/v1/reason", json=ASK)
        drainer = drainer_of(server)
        await eventually(lambda: drainer.status == "away")
        drainer._moved_at -= 31
        await eventually(lambda: drainer.still_s < 30)
        assert (await get(server, "live"))[0] == 200
        status, told = await get(server, "ready")
        assert (status, told["checks"]["database"]) == (200, "away")
        parts = (await get(server, "detailed"))[1]["parts"]
    assert parts["database"]["answers"] is False
    assert "record waits for its store" in parts["drainer"]["last_error"]["message"]


async def test_a_full_audit_is_not_ready_when_it_refuses(dsn: str) -> None:
    """Where a new run would be refused none should be sent; under AUDIT_FULL=metadata it is taken."""
    for policy, expected in (("refuse", 503), ("metadata", 200)):
        async with serving(dsn, audit_full=policy, spool_min_free_bytes=ROOM_NOWHERE) as server:
            await eventually(lambda: server.parts.readiness.checks()["models"] == "ok")
            status, told = await get(server, "ready")
            assert (status, told["checks"]["audit"]) == (expected, "full" if expected == 503 else "ok")
            assert (await get(server, "live"))[0] == 200


async def test_every_part_tells_its_state_its_latency_and_its_last_error(dsn: str) -> None:
    """An operator sees of each lane, the database, the cache and the loop how it is; no text and no secret among it."""
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    async with serving(dsn, fast_model="scripted:error") as server:
        await server.client.post("/v1/reason", json={**ASK, "input": f"planted {key}", "cache": "use"})
        logging.getLogger("app.postgres.x").warning("refused for %s", key)
        parts = (await get(server, "detailed"))[1]["parts"]
    fast, slow = parts["models"]["fast"], parts["models"]["slow"]
    assert (fast["outcome"], fast["last_error"]["reason"]) == ("failed", "scripted_error")
    assert (slow["outcome"], slow["last_error"]) == ("completed", None)
    assert slow["latency_ms"] > 0
    assert parts["database"]["answers"] is True
    assert parts["database"]["latency_ms"] > 0
    assert "[masked:aws_access_key]" in parts["database"]["last_error"]["message"]
    assert parts["cache"]["levels"]["postgres"]["latency_ms"] > 0
    assert (parts["loop"]["status"], parts["redis"]["status"], parts["traces"]["status"]) == ("ok", "off", "off")
    assert "planted" not in str(parts)
    assert key not in str(parts)


def test_a_loop_that_stands_still_is_told_once_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    """The thread beside the loop says where it stands, once, and once that it moves again."""
    now = 100.0
    dog = Watchdog(clock=lambda: now)
    dog._watched = threading.get_ident()
    for now in (101.0, 105.9, 106.1, 120.0):  # noqa: B007  # the clock reads it
        dog.look()
    assert dog.still_s == 19.0
    dog._beat_at = now
    dog.look()
    dog.look()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "test_a_loop_that_stands_still" in caplog.text


async def test_a_loop_that_moves_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """The beat comes from the loop itself, and ends with the watch."""
    monkeypatch.setattr("app.telemetry.watchdog.BEAT_S", 0.005)
    dog = Watchdog()
    dog.begin()
    began = dog._beat_at
    await eventually(lambda: dog._beat_at > began)
    time.sleep(0.02)  # noqa: ASYNC251  # what a blocked loop is
    assert dog.still_s > 0
    dog.end()
    dog._thread.join(2)
    assert not dog._thread.is_alive()


def test_a_part_without_a_journal_is_judged_all_the_same() -> None:
    """While the parts are being opened nothing is ready, and nothing stands still."""
    readiness = Readiness()
    assert (readiness.ready, readiness.alive) == (False, True)
    assert readiness.checks()["database"] == "connecting"


def test_the_last_trouble_of_each_part_is_remembered() -> None:
    """A warning is noted under the folder its code is in; what is only told is not."""
    troubles = logs.Troubles()
    logger = logging.Logger("app.redis.client")  # noqa: LOG001  # one that nobody else hears
    logger.addHandler(troubles)
    logger.warning("first")
    logger.error("then %s", "x" * 500)
    logger.info("all is well")
    assert list(troubles.last) == ["redis"]
    assert troubles.last["redis"]["severity"] == "ERROR"
    assert len(troubles.last["redis"]["message"]) == 300
