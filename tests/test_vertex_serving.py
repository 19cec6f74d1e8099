"""Both lanes on Vertex AI, through the real HTTP server, against a real gRPC server: what a client is told.

One server and one gRPC server for all tests but the one on records and those of a process.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from fake_google import account_key
from processes import fresh_home, starting
from raw_upstream import raw_upstream
from seen import Seen, events_in
from servers import Server, eventually, serving
from vertex_models import fake_vertex, fakes, tasks

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOSE_S = 0.25

# What the slow lane's model does, and what is told of it: outcome, reason, retryable, and how the run ends.
ENDS = {
    "0ttft-2t": ("completed", None, False, "completed"),
    "2t-fin2": ("completed", None, False, "completed"),
    "e8x1-wait10-2t": ("completed", None, False, "completed"),
    "2t-fin3": ("refused", "content_filter", False, "partial"),
    "2t-fin4": ("refused", "content_filter", False, "partial"),
    "block1": ("refused", "content_filter", False, "partial"),
    "2t-fin5": ("incomplete", "stopped_early", True, "partial"),
    "9t-open2": ("incomplete", "no_finish", True, "partial"),
    "9t-cut2": ("incomplete", "upstream_cut", True, "partial"),
    "9t-40ttft-rst2": ("incomplete", "upstream_cut", True, "partial"),
    "9t-40ttft-goaway2": ("incomplete", "upstream_cut", True, "partial"),
    "9t-40ttft-drop2": ("incomplete", "upstream_cut", True, "partial"),
    "0t": ("empty", "empty_answer", True, "partial"),
    "e8-wait60000": ("failed", "upstream_rate_limited", True, "partial"),
    "e7": ("failed", "upstream_unauthorized", False, "partial"),
}


class Stage(NamedTuple):
    """A server whose lanes both ask the fake."""

    fake: Any
    server: Server

    async def ask(self, fast: str, slow: str, **body: Any) -> list[Seen]:
        """Every event of one question to these models."""
        lanes = {"fast": {"model": f"vertex:{fast}"}, "slow": {"model": f"vertex:{slow}"}}
        response = await self.server.client.post("/v1/reason", json={"input": "Why?", **lanes, **body})
        assert response.status_code == 200
        return events_in(response.content)


@asynccontextmanager
async def staged(dsn: str | None = None, **settings: Any) -> AsyncIterator[Stage]:
    """A stage until the block ends; its library is loaded."""
    async with fake_vertex() as fake:
        access = {"vertex_project": "p", "vertex_endpoint": fake.endpoint, "disconnect_grace_s": 0.0, "cache": False}
        async with serving(dsn, fast_model="vertex:1t", slow_model="vertex:1t", **{**access, **settings}) as server:
            stage = Stage(fake, server)
            await stage.ask("1t", "1t")
            yield stage
            server.tasks.update(asyncio.all_tasks() - tasks())  # those by which the fake serves


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    """The stage of this file."""
    async with staged() as stage:
        yield stage


def one(events: list[Seen], name: str, lane: str | None = None) -> dict[str, Any]:
    """The data of the one event of that name, and of that lane."""
    (found,) = [event.json for event in events if event.name == name and lane in (None, event.json.get("lane"))]
    return found


@pytest.mark.parametrize("model", ENDS)
async def test_what_is_told_of_a_slow_lane(model: str, stage: Stage) -> None:
    """However the slow model ends, its lane says so, the fast answer stands, and no failure looks like a success."""
    outcome, reason, retryable, status = ENDS[model]
    events = await stage.ask("1t", model)
    end, done = one(events, "lane_end", "slow"), one(events, "done")
    assert (end["outcome"], end["reason"], end["retryable"]) == (outcome, reason, retryable)
    assert (done["status"], one(events, "final")["lane"]) == (status, "slow" if status == "completed" else "fast")
    assert one(events, "lane_end", "fast")["outcome"] == "completed"


async def test_a_whole_question(stage: Stage) -> None:
    """Thoughts are told as thinking, the first token when it came, tokens as they were counted, the model's version."""
    events = await stage.ask("2t", "5t-think2-40ttft")
    end, told = one(events, "lane_end", "slow"), one(events, "preliminary")
    usage = {"input_tokens": 7, "output_tokens": 5, "thinking_tokens": 2, "cached_tokens": 2, "source": "reported"}
    kinds = [event.json["kind"] for event in events if event.name == "delta" and event.json["lane"] == "slow"]
    assert kinds == sorted(kinds, reverse=True)
    assert set(kinds) == {"thinking", "answer"}
    assert (end["usage"], end["model_version"], end["ttft_ms"] >= 40) == (usage, "gemini-fake-001", True)
    assert (told["text"], told["finish_reason"], told["usage"]["output_tokens"]) == (" w0 w1", "stop", 2)
    assert (one(events, "final")["text"], one(events, "done")["usage"]["thinking_tokens"]) == (" w2 w3 w4", 2)


async def test_both_refused(stage: Stage) -> None:
    """A prompt that is blocked for both lanes is a run that failed, with no answer."""
    events = await stage.ask("block1", "block4")
    assert [one(events, "lane_end", lane)["outcome"] for lane in ("fast", "slow")] == ["refused", "refused"]
    assert (one(events, "done")["status"], one(events, "done")["final_lane"]) == ("failed", None)


async def test_many_questions_share_one_connection(stage: Stage) -> None:
    """A hundred lanes that are asked at once, of two models, have one connection to Google."""
    before = stage.fake.connections
    logs = await asyncio.gather(*(stage.ask("2t-40ttft", "3t-80ttft") for _ in range(50)))
    assert {one(events, "done")["status"] for events in logs} == {"completed"}
    assert stage.fake.connections - before <= 1
    assert len(stage.fake.links) == 1


@pytest.mark.parametrize("model", ["1t-60000ttft", "3t-stall2", "400t-10ms"])
@pytest.mark.parametrize("how", ["cancel", "deadline", "leave"])
async def test_upstream_sees_the_end(how: str, model: str, stage: Stage) -> None:
    """Upstream sees a cancel, a deadline and a client's leaving within 250 ms, before the first token too."""
    fake, server, lane = stage.fake, stage.server, {"model": f"vertex:{model}"}
    cancelled, deadline_s = fake.cancelled, 0.4 if how == "deadline" else 30.0  # in which both are asked
    body = {"input": "Why?", "deadline_s": deadline_s, "fast": lane, "slow": lane}
    async with server.client.stream("POST", "/v1/reason", json=body) as response:
        ends = time.monotonic() + deadline_s
        await eventually(lambda: fake.active == 2)
        if how == "cancel":
            await server.client.post(f"/v1/runs/{response.headers['x-run-id']}/cancel")
        elif how == "deadline":
            await asyncio.sleep(ends - time.monotonic())
    await fake.until_idle(CLOSE_S)
    assert fake.cancelled == cancelled + 2


async def test_the_record(dsn: str) -> None:
    """The record has each lane's version, tokens and thoughts, those of a lane that was refused too."""
    async with staged(dsn) as stage:
        events = await stage.ask("2t-think1", "3t-fin3")
        path = f"/v1/runs/{events[0].run_id}"
        await eventually(lambda: not stage.server.parts.pending.may_have(events[0].run_id))
        record = (await stage.server.client.get(path)).json()
    fast, slow = record["lanes"]["fast"], record["lanes"]["slow"]
    assert (fast["model_version"], fast["usage"]["thinking_tokens"], fast["usage"]["cached_tokens"]) == (
        fakes().VERSION,
        1,
        2,
    )
    assert (slow["outcome"], slow["reason"], slow["usage"]["source"]) == ("refused", "content_filter", "reported")


def key_file(folder: Path, token_uri: str) -> Path:
    """A service account's key whose tokens come from there."""
    account = {"type": "service_account", "client_email": "a@p", "private_key": account_key(), "token_uri": token_uri}
    path = folder / "key.json"
    path.write_text(json.dumps(account))
    return path


async def test_told_to_end_while_a_token_does_not_come(tmp_path: Path) -> None:
    """A start that waits for Google is alive and not ready, and SIGTERM does not wait for that thread."""
    fakes()
    models = {"FAST_MODEL": "vertex:1t", "SLOW_MODEL": "vertex:1t", "VERTEX_PROJECT": "p"}
    async with raw_upstream((30.0,)) as silent:
        key = key_file(tmp_path, f"http://127.0.0.1:{silent.port}/token")
        access = {"GOOGLE_APPLICATION_CREDENTIALS": str(key), "DATABASE_URL": "postgresql://u@127.0.0.1:1/x"}
        with fresh_home() as home, starting(home, **models, **access) as server:
            await eventually(lambda: silent.accepted, 30)
            live, ready = await asyncio.to_thread(lambda: [server.status(f"/health/{of}") for of in ("live", "ready")])
            server.terminate()
            assert await asyncio.to_thread(server.wait, 5) == 0
    assert (live, ready) == (200, 503)
    assert "Traceback" not in server.stderr
