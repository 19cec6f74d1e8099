"""Two servers on one PostgreSQL and one Redis: what the one runs, the other shares, resumes and stops."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import starting
from servers import Server, eventually, serving
from tails import HANG, QUESTION, SHORT, Tail, ask, lanes, opened
from wire import read_events, valid_stream

STEADY = lanes(SHORT, "scripted:slow?first=0.05&gap=0.02&tokens=20")
KEY = {"Idempotency-Key": "k-1"}


@contextlib.asynccontextmanager
async def pair(dsn: str, redis_url: str, **settings: Any) -> AsyncIterator[tuple[Server, Server]]:
    """Two servers that know of each other."""
    async with (
        serving(dsn, redis_url=redis_url, **settings) as one,
        serving(dsn, redis_url=redis_url, **settings) as two,
    ):
        for server in (one, two):
            server.tasks |= asyncio.all_tasks()
        yield one, two


async def asked(server: Server, headers: dict[str, str] | None = None, **fields: Any) -> Tail:
    """A stream of which `start` has come."""
    tail = await opened(server, "POST", "/v1/reason", json={**QUESTION, **fields}, headers=headers or {})
    await tail.until(b"event: start")
    return tail


async def stats(server: Server) -> dict[str, Any]:
    """What its levels of stored answers tell."""
    levels: dict[str, Any] = (await server.client.get("/api/cache/stats")).json()["levels"]
    return levels


async def test_joined_across(dsn: str, redis_url: str) -> None:
    """The same question on another instance joins the run, to the byte; models are asked once."""
    async with pair(dsn, redis_url) as (one, two):
        first = await asked(one, **STEADY)
        second = await asked(two, **STEADY)
        assert (second.run_id, second.response.headers["x-run-source"]) == (first.run_id, "attached")
        assert await second.rest() == await first.rest()
        assert valid_stream(first.raw)[-1].data["status"] == "completed"
        assert [server.runs.live for server in (one, two)] == [0, 0]


async def test_resumed_across(dsn: str, redis_url: str) -> None:
    """A client that comes back to another instance while the run lives gets the rest, to the byte."""
    async with pair(dsn, redis_url) as (one, two):
        first = await asked(one, **STEADY)
        await first.until(b"event: preliminary")
        seen = read_events(first.raw[: first.raw.rindex(b"\n\n") + 2])[-3]
        back = await opened(
            two, "GET", f"/v1/runs/{first.run_id}/events", headers={"Last-Event-ID": f"{first.run_id}:{seen.seq}"}
        )
        rest = await back.rest()
        assert (await first.rest()).endswith(rest)
        assert read_events(rest)[0].seq == seen.seq + 1


@pytest.mark.parametrize(("what", "status"), [("cancel", "cancelled"), ("accept", "partial")])
async def test_stopped_across(what: str, status: str, dsn: str, redis_url: str) -> None:
    """A run is cancelled, or its preliminary accepted, wherever the request lands."""
    async with pair(dsn, redis_url) as (one, two):
        tail = await asked(one, **lanes(SHORT, HANG))
        await tail.until(b"event: lane_end")

        assert (await two.client.post(f"/v1/runs/{tail.run_id}/{what}")).status_code == 200
        assert valid_stream(await tail.rest())[-1].data["status"] == status


async def test_shared_across(dsn: str, redis_url: str) -> None:
    """Cancelling is refused while the run is read on another instance by somebody who joined it."""
    async with pair(dsn, redis_url, disconnect_grace_s=0) as (one, two):
        mine, guest = await asked(one, **lanes(SHORT, HANG)), await asked(two, **lanes(SHORT, HANG))

        async def code(server: Server) -> object:
            """Why cancelling is refused there."""
            return (await server.client.post(f"/v1/runs/{mine.run_id}/cancel")).json().get("code")

        assert [await code(two), await code(one)] == ["run_shared", "run_shared"]
        await mine.response.aclose()
        await asyncio.sleep(0.05)
        assert one.runs.live == 1
        await guest.response.aclose()
        await eventually(lambda: one.runs.live == 0, 10)


async def test_stored_across(dsn: str, redis_url: str) -> None:
    """An answer of one instance is told again by the other, from Redis, or from PostgreSQL without one."""
    async with pair(dsn, redis_url) as (one, two):
        await ask(one, **STEADY)
        async with asyncio.timeout(10):  # for the writer, behind everybody's back
            while (await stats(one))["redis"]["entries"] == 0:  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.01)
        again = await ask(two, **STEADY)
        levels = await stats(two)
    assert again.headers["x-run-source"] == "cache"
    assert (levels["redis"]["hits"], levels["memory"]["entries"]) == (1, 1)


async def test_the_same_key_across(dsn: str, redis_url: str) -> None:
    """An idempotency key means the same run on every instance, also when both get it at once."""
    async with pair(dsn, redis_url) as (one, two):
        first, second = await asyncio.gather(*(asked(server, KEY, cache="off", **STEADY) for server in (one, two)))
        assert first.run_id == second.run_id
        assert await first.rest() == await second.rest()
        other = await two.client.post("/v1/reason", json={"input": "Another?"}, headers=KEY)
        assert other.json()["code"] == "idempotency_key_reused"


async def test_the_owner_is_killed(dsn: str, redis_url: str, tmp_path: Path) -> None:
    """When the instance that runs it is killed, who reads along elsewhere gets `done`: failed, interrupted."""
    settings = {"DATABASE_URL": dsn, "REDIS_URL": redis_url, "CACHE": "true", "REDIS_LEASE_S": "1"}
    slow = lanes(SHORT, "scripted:slow?first=0.1&gap=0.1&tokens=600")
    with starting(tmp_path, **settings) as owner:
        await asyncio.to_thread(owner.until_ready)
        client = httpx.AsyncClient(base_url=owner.url, timeout=30, verify=False)
        async with client, serving(dsn, redis_url=redis_url, redis_lease_s=1) as other:
            request = client.build_request("POST", "/v1/reason", json={**QUESTION, **slow})
            first = Tail(await client.send(request, stream=True))
            await first.until(b"event: preliminary")
            guest = await asked(other, **slow)
            assert guest.run_id == first.run_id
            await guest.until(b"event: preliminary")
            owner.kill()
            events = valid_stream_of_the_killed(await asyncio.wait_for(guest.rest(), 25))
            anew = await asked(other, **slow)
            assert anew.response.headers["x-run-source"] == "live"
            await other.client.post(f"/v1/runs/{anew.run_id}/cancel")
            await anew.rest()
    assert (events[-1]["status"], events[-1]["reason"]) == ("failed", "interrupted")


def valid_stream_of_the_killed(raw: bytes) -> list[dict[str, Any]]:
    """The data of every event of a stream that was broken off: numbered without a gap, `done` last and once."""
    events = read_events(raw)
    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.name for event in events].count("done") == 1
    assert events[-1].name == "done"
    return [event.data for event in events]


async def test_a_reader_elsewhere_at_shutdown(dsn: str, redis_url: str) -> None:
    """An instance that stops ends the streams of other instances' runs too with `done`, and the runs go on."""
    async with pair(dsn, redis_url) as (one, two):
        mine, guest = await asked(one, **lanes(SHORT, HANG)), await asked(two, **lanes(SHORT, HANG))
        await guest.until(b"event: preliminary")
        await two.drain(0.05)
        events = valid_stream_of_the_killed(await guest.rest())
        assert (events[-1]["status"], events[-1]["reason"]) == ("shutdown", "shutdown")
        assert one.runs.live == 1
        other = await asked(one, cache="off", **lanes(SHORT, HANG))
        late = await two.client.get(f"/v1/runs/{other.run_id}/events")
        assert (late.status_code, late.json()["code"]) == (409, "run_not_live")
        await other.response.aclose()
        await mine.response.aclose()
        for run in list(one.runs._live.values()):
            run.stop("cancelled")
