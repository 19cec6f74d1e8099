"""The audit as a client and an operator meet it: over real sockets, through the settings that choose its parts."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import Server, eventually, serving
from wire import valid_stream

from app.record.entry import Closing
from app.record.packing import unpacked
from app.record.replay import Replay
from bench.proxy import Proxy

KEY = "sk-proj-abcdEFGH1234567890ijklMNOP"
QUICK = "scripted:fast?first=0.005&gap=0&tokens=5"
FREE = "scripted:fast?first=0.005&gap=0&tokens=6"
CUT = "scripted:stall?first=0&gap=0.001&tokens=3"
CHORES = ("heartbeat", "sweep", "roll_up", "days", "answers")
ROOM_NOWHERE = 1 << 60  # bytes that must stay free


async def ask(server: Server, question: str = "Why?", **lanes: Any) -> httpx.Response:
    """The whole answer of two quick models."""
    models = {lane: {"model": QUICK, **lanes.get(lane, {})} for lane in ("fast", "slow")}
    return await server.client.post("/v1/reason", json={"input": question, **models})


async def record(server: Server, answer: httpx.Response) -> dict[str, Any]:
    """The record of the run that gave this answer."""
    found: dict[str, Any] = (await server.client.get(f"/v1/runs/{answer.headers['x-run-id']}")).json()
    return found


async def detailed(server: Server) -> dict[str, Any]:
    """What an operator is told."""
    told: dict[str, Any] = (await server.client.get("/health/detailed")).json()
    return told


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    """A price list of one's own, for two of the models."""
    path, tariff = tmp_path / "prices.json", {"input_usd_per_million": 2, "output_usd_per_million": 10}
    path.write_text(json.dumps({QUICK: tariff, CUT: tariff}))
    return path


async def test_metered(dsn: str, prices: Path) -> None:
    """Every lane's tokens are priced on the stream and in the record alike, and `done` has the sum."""
    async with serving(dsn, prices_file=prices) as server:
        answer = await ask(server)
        ends = [event.data for event in valid_stream(answer.content) if event.name == "lane_end"]
        done = valid_stream(answer.content)[-1].data
        kept = await record(server, answer)
    for end in ends:
        usage = end["usage"]
        assert end["cost_usd"] == pytest.approx((2 * usage["input_tokens"] + 10 * usage["output_tokens"]) / 1e6)
        assert kept["lanes"][end["lane"]]["cost_usd"] == pytest.approx(end["cost_usd"])
    assert done["cost_usd"] == pytest.approx(sum(end["cost_usd"] for end in ends)) == pytest.approx(kept["cost_usd"])


async def test_metered_when_cut(dsn: str, prices: Path) -> None:
    """A lane that is cut is priced by an estimate of its tokens, and says so; no price at all is null, never 0."""
    async with serving(dsn, prices_file=prices) as server:
        answer = await ask(server, fast={"model": FREE}, slow={"model": CUT, "idle_timeout_s": 0.05})
        ends = {event.data["lane"]: event.data for event in valid_stream(answer.content) if event.name == "lane_end"}
        done = valid_stream(answer.content)[-1].data
    assert (ends["slow"]["outcome"], ends["slow"]["usage"]["source"]) == ("timeout", "estimated")
    assert ends["slow"]["cost_usd"] > 0
    assert (ends["fast"]["cost_usd"], done["cost_usd"]) == (None, None)


async def test_a_full_audit_refuses_before_any_model_is_called() -> None:
    """Under `refuse` a run that could not be written down is a 503 with Retry-After, and is never opened."""
    async with serving() as server:
        assert server.journal is not None
        server.journal.full = True
        answer = await ask(server)
        assert (answer.status_code, answer.json()["code"], server.journal.openings) == (503, "audit_full", [])
        assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("policy", ["refuse", "metadata"])
async def test_a_full_disk_obeys_the_policy(dsn: str, policy: str) -> None:
    """Below the free-disk floor runs are refused, or go on and are recorded without texts; health says `full`."""
    async with serving(dsn, spool_min_free_bytes=ROOM_NOWHERE, audit_full=policy) as server:
        answer = await ask(server, "What is a-word?")
        told = (await detailed(server))["audit"]["status"]
        if policy == "refuse":
            assert (answer.status_code, answer.json()["code"]) == (503, "audit_full")
        else:
            assert valid_stream(answer.content)[-1].data["status"] == "completed"
            kept = await record(server, answer)
            assert ("payload" in kept["content"]["cut"], "a-word" in json.dumps(kept)) == (True, False)
    assert told == "full"


async def test_a_corrupt_spool_is_set_aside_and_told(dsn: str, tmp_path: Path) -> None:
    """A server whose spool is damaged starts with a new one, says so, and records what it is asked."""
    (tmp_path / "spool.sqlite").write_bytes(b"this is no database" * 500)
    async with serving(dsn, spool_dir=tmp_path) as server:
        assert valid_stream((await ask(server)).content)[-1].data["audit"] == "durable"
        aside = (await detailed(server))["audit"]["corrupt"]
    assert (tmp_path / aside).exists()


async def test_without_a_disk_durable_means_postgresql(dsn: str) -> None:
    """With `direct` a run whose `done` says durable is in PostgreSQL, and no file is written."""
    async with serving(dsn, audit_sink="direct") as server:
        answer = await ask(server)
        assert valid_stream(answer.content)[-1].data["audit"] == "durable"
        assert not server.parts.pending.may_have(answer.headers["x-run-id"])
        assert (await record(server, answer))["status"] == "completed"
        assert (await detailed(server))["audit"]["sink"] == "direct"
        assert list(server.settings.spool_path.iterdir()) == []


async def test_without_disk_and_database_the_log_has_it(
    proxy: tuple[Proxy, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """With `direct` and PostgreSQL away a run says `pending`, and its lines in the log are its whole outcome."""
    network, address = proxy
    async with serving(address, audit_sink="direct", audit_fallback_s=0.05) as server:
        await network.down()
        answer = await ask(server)
        assert valid_stream(answer.content)[-1].data["audit"] == "pending"
        await eventually(lambda: server.parts.readiness.ledger()["logged"] >= 2, 5)
    reader = Replay()
    filed = [found for line in capfd.readouterr().out.splitlines() if (found := reader.feed(line)) is not None]
    logs = [unpacked(one.entry.log) for one in filed if isinstance(one.entry, Closing)]
    assert answer.content in logs
    assert reader.missing == []


@pytest.mark.parametrize(("mode", "kept"), [("full", True), ("redacted", True), ("hash_only", False), ("none", False)])
async def test_private(dsn: str, mode: str, kept: bool) -> None:
    """No record has a secret; the stream is kept for a resume equal to the byte, or not at all and then it is a 410."""
    async with serving(dsn, audit_content=mode, kept_runs=0) as server:
        answer = await ask(server, f"My key is {KEY}, is it safe?")
        found = json.dumps(await record(server, answer))
        back = await server.client.get(f"/v1/runs/{answer.headers['x-run-id']}/events")
        exported = (await server.client.get("/api/experiments/export", params={"payload": "true"})).text
    assert (KEY in found, KEY in exported, "is it safe?" in found) == (False, False, kept)
    assert (back.status_code, back.content == answer.content) == ((200, True) if kept else (410, False))


async def test_health_tells_the_audit_in_detail(dsn: str) -> None:
    """The detailed health has the sink, what it waits for, how much it holds, and the chores behind it."""
    async with serving(dsn) as server:
        await ask(server)
        await eventually(lambda: len(server.parts.readiness.audit()["chores"]) == len(CHORES), 10)
        audit = (await detailed(server))["audit"]
    assert (audit["sink"], audit["status"]) == ("spool", "ok")
    assert audit.keys() >= {"spool_bytes", "spool_max_bytes", "disk_free_bytes", "memory_bytes"}
    assert audit["chores"] == dict.fromkeys(CHORES, "ok")
