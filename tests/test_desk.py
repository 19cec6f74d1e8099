"""Who answers a question: a run that is shared, an answer that is stored, a race of its own; over real sockets."""

import asyncio
import hashlib
import json
import time
from typing import Any

import httpx
import pytest
from cells import rows
from fake_openai import fake_openai
from races import ALICE, order, question, registry
from servers import Server, eventually, serving
from starlette.datastructures import Headers
from starlette.types import Scope
from tails import HANG, QUESTION, SHORT, ask, lanes, opened, started
from wire import post, tell, valid_stream

from app.answers.cache import Cache
from app.answers.lifetime import Lifetimes
from app.answers.memory import Memory
from app.question import Caller, Key
from app.reasoning.desk import Asked, Desk, Rules
from app.reasoning.elsewhere import Flight, Nowhere
from app.reasoning.idempotency import IdempotencyKeys, NoUses
from app.reasoning.log import Log
from app.reasoning.runs import Runs

FINE = lanes(SHORT, SHORT)
LATE = lanes(SHORT, "scripted:slow?first=0.25&gap=0&tokens=3")


async def by_header(headers: Headers, _: Scope) -> Caller:
    """Whoever a test says, of whichever tenant."""
    return Caller(headers.get("x-caller", "alice"), headers.get("x-tenant", ""))


def ways(*answers: httpx.Response) -> list[str]:
    """How each came by its run."""
    return [answer.headers["x-run-source"] for answer in answers]


def ids(*answers: httpx.Response) -> list[str]:
    """The run of each."""
    return [answer.headers["x-run-id"] for answer in answers]


# -- one flight


class Others(Nowhere):
    """Other instances, one of which answers, or nobody does; claims: what they were told."""

    def __init__(self, flying: Flight | None = None, log: Log | None = None) -> None:
        self.claims: list[Flight] = []
        self._flying = flying
        self._log = log

    async def claim(self, key: Key, flight: Flight) -> Flight | None:  # noqa: ARG002  # as Elsewhere has it
        """As Elsewhere has it."""
        self.claims.append(flight)
        return self._flying

    async def tail(self, run_id: str, caller: Caller, **_: Any) -> Log | None:  # noqa: ARG002  # as above
        """As Elsewhere has it."""
        return self._log


def desk(runs: Runs, others: Others) -> Desk:
    """A desk beside those, where a question may wait half a minute to be let in."""
    memory = Cache(Memory(1, 1000, 1.0), [], Lifetimes(60.0, {}, 0.0))
    rules = Rules(lambda asked, caller: order(asked, caller).key, waits_s=30.0)
    return Desk(runs, rules, IdempotencyKeys(NoUses(), others, 60.0, lambda: 0.0), others, memory)


async def test_a_claim_lasts_as_long_as_its_run_may() -> None:
    """A claimed run may begin only when it was let in: its end, and that of who would join it, is told with that."""
    runs, nobody = registry(), Others()
    asked = await desk(runs, nobody).ask(question(), ALICE)
    (claimed,) = nobody.claims
    assert isinstance(asked, Asked)
    assert (asked.source, claimed.run_id) == ("live", asked.log.run_id)
    assert claimed.deadline_at == pytest.approx(time.time() + 7.0 + 30.0, abs=5.0)
    for late_s, source in ((0.0, "attached"), (20.0, "live")):
        others = Others(claimed._replace(deadline_at=claimed.deadline_at + late_s), Log("run", ALICE, "f"))
        again = await desk(runs, others).ask(question(slow=f"scripted:slow?tokens={4 + late_s:g}"), ALICE)
        assert isinstance(again, Asked)
        assert again.source == source
    await runs.drain(0.0)


async def test_two_hundred_at_once() -> None:
    """Two hundred identical questions at once are one race, one request a model, and two hundred equal streams."""
    async with fake_openai() as upstream, serving(openai_base_url=upstream.base_url, openai_api_key="k") as server:
        asked = {**QUESTION, **lanes("openai:real-20t-5ms-50ttft", "openai:real-20t-5ms-900ttft")}
        request = post(json.dumps(asked).encode())
        answers = await asyncio.gather(*(tell(server.port, request) for _ in range(200)))
    assert len({answer.headers["x-run-id"] for answer in answers}) == 1
    assert len({answer.body for answer in answers}) == 1
    assert sorted(answer.headers["x-run-source"] for answer in answers) == ["attached"] * 199 + ["live"]
    assert upstream.stats.requests == 2
    assert server.journal is not None
    assert (len(server.journal.openings), len(server.journal.attachments)) == (1, 199)


@pytest.mark.parametrize(
    ("fields", "shared"),
    [
        ({}, True),
        ({"prompt_class": "faq", "tags": ["a"], "replay": "paced", "on_disconnect": "finish"}, True),
        ({"experiment": "e"}, False),
        ({"variant": "v"}, False),
        ({"deadline_s": 0.2}, False),
        ({"slow": {"model": HANG, "timeout_s": 44}}, True),
        ({"slow": {"model": HANG, "timeout_s": 46}}, False),
        ({"fast": {"model": SHORT, "idle_timeout_s": 0.1}}, True),
        ({"cache": "refresh"}, False),
        ({"cache": "off"}, False),
        ({"input": "Something else?"}, False),
    ],
)
async def test_who_joins(fields: dict[str, Any], shared: bool) -> None:
    """A question joins a run of its text, experiment and variant that ends in its time and gives no lane less."""
    async with serving() as server:
        first = await started(server, **lanes(SHORT, HANG))
        second = await opened(server, "POST", "/v1/reason", json={**QUESTION, **lanes(SHORT, HANG), **fields})
        assert (second.response.headers["x-run-source"] == "attached") == shared
        assert (second.run_id == first.run_id) == shared
        for tail in (second, first):
            await tail.response.aclose()
        for run in list(server.runs._live.values()):
            run.stop("cancelled")


async def test_none_joins_a_run_that_keeps_no_answer() -> None:
    """A run asked with `cache: off` is joined by nobody."""
    async with serving(disconnect_grace_s=0) as server:
        alone = await started(server, cache="off", **lanes(SHORT, HANG))
        other = await started(server, **lanes(SHORT, HANG))
        assert other.run_id != alone.run_id
        for tail in (alone, other):
            await tail.response.aclose()


async def test_shared_run_is_not_stopped() -> None:
    """Cancel and accept are 409 `run_shared` while somebody else reads along, and work again once they have left."""
    async with serving() as server:
        mine, guest = [await started(server, **lanes(SHORT, HANG)) for _ in range(2)]
        refused = [await server.client.post(f"/v1/runs/{mine.run_id}/{what}") for what in ("cancel", "accept")]
        assert [(r.status_code, r.json()["code"]) for r in refused] == [(409, "run_shared")] * 2
        await guest.response.aclose()
        await eventually(lambda: server.runs.open_streams == 1)
        assert (await server.client.post(f"/v1/runs/{mine.run_id}/accept")).status_code == 200
        assert valid_stream(await mine.rest())[-1].data["reason"] == "accepted"


@pytest.mark.parametrize(
    ("wanted", "model", "status"),
    [("finish", "scripted:slow?first=0.5&gap=0&tokens=3", "completed"), ("cancel", HANG, "cancelled")],
)
async def test_guests_keep_a_run(wanted: str, model: str, status: str) -> None:
    """A run outlives its opener as long as a guest reads, and its last reader if a guest wanted it to finish."""
    async with serving(disconnect_grace_s=0) as server:
        slow = lanes(SHORT, model)
        mine, guest = await started(server, **slow), await started(server, on_disconnect=wanted, **slow)
        await mine.response.aclose()
        await asyncio.sleep(0.02)
        assert server.runs.live == 1
        await guest.response.aclose()
        await eventually(lambda: server.runs.live == 0)
        assert server.journal is not None
        assert [closing.status for closing in server.journal.closings] == [status]


# -- stored answers


async def test_told_again() -> None:
    """A question that was answered is answered from memory, by a run of its own; `refresh` and `off` ask anew."""
    async with serving() as server:
        live = await ask(server, **FINE)
        again = [await ask(server, **FINE, **more) for more in ({}, {"cache": "refresh"}, {"cache": "off"}, {})]
        stats = (await server.client.get("/api/cache/stats")).json()
    assert ways(live, *again) == ["live", "cache", "live", "live", "cache"]
    assert len(set(ids(live, *again))) == 5
    assert valid_stream(again[0].content)[-1].data["fingerprint"] == valid_stream(live.content)[-1].data["fingerprint"]
    assert (stats["replays"], stats["levels"]["memory"]["entries"]) == (2, 1)


async def test_a_class_that_keeps_nothing() -> None:
    """A question of a class with a time of 0 is neither stored nor answered from what another class left."""
    async with serving(cache_ttl_by_class="news=0") as server:
        answers = [await ask(server, prompt_class=kind, **FINE) for kind in ("news", "faq", "faq", "news")]
    assert ways(*answers) == ["live", "live", "cache", "live"]


async def test_an_object_from_memory() -> None:
    """A stored answer comes as one object too, and says that it is one."""
    async with serving() as server:
        live, again = [(await ask(server, stream=False, **FINE)).json() for _ in range(2)]
    assert again["final"] == live["final"]
    assert (live["done"]["source"], again["done"]["source"], again["done"]["cost_usd"]) == ("live", "cache", 0)


async def test_without_a_cache() -> None:
    """With CACHE=false nothing is stored and nothing is shared."""
    async with serving(cache=False) as server:
        answers = await asyncio.gather(*(ask(server, **LATE) for _ in range(3)))
        answers.append(await ask(server, **LATE))
    assert ways(*answers) == ["live"] * 4


async def test_replay_is_resumed() -> None:
    """A replay is come back to like any run, and says where it comes from."""
    async with serving() as server:
        _, again = [await ask(server, **FINE) for _ in range(2)]
        events = valid_stream(again.content)
        rest = await server.client.get(
            f"/v1/runs/{ids(again)[0]}/events", headers={"Last-Event-ID": f"{ids(again)[0]}:{len(events) - 3}"}
        )
    assert again.content.endswith(rest.content)
    assert ways(rest) == ["cache"]


# -- idempotency keys


KEY = {"Idempotency-Key": "order-66"}


async def keyed(server: Server, headers: dict[str, str] = KEY, **fields: Any) -> httpx.Response:
    """The answer to a question under a key."""
    return await server.client.post("/v1/reason", json={**QUESTION, **fields}, headers=headers)


@pytest.mark.parametrize("kept", [1000, 0])
async def test_the_same_key(kept: int) -> None:
    """The same key and question is the same run, at once, while it is kept and from the record, and to the byte."""
    async with serving(kept_runs=kept) as server:
        first, second = await asyncio.gather(keyed(server, cache="off", **LATE), keyed(server, cache="off", **LATE))
        third = await keyed(server, cache="off", **LATE)
        whole = (await keyed(server, cache="off", stream=False, **LATE)).json()
    assert len({answer.content for answer in (first, second, third)}) == 1
    assert ways(first, second, third) == ["live", "attached", "attached"]
    assert whole["done"] == valid_stream(first.content)[-1].data


async def test_another_question_under_a_key() -> None:
    """Another question under a used key is 409; another caller's use of it does not count."""
    async with serving(identify=by_header) as server:
        await keyed(server, **FINE)
        reused = await keyed(server, input="Another?", **FINE)
        other = await keyed(server, {**KEY, "x-caller": "bob"}, input="Another?", **FINE)
    assert (reused.status_code, reused.json()["code"]) == (409, "idempotency_key_reused")
    assert (other.status_code, ways(other)) == (200, ["live"])


@rows("key", ["", "a b", "é", "x" * 256])
async def test_bad_keys(key: str) -> None:
    """A key is 1 to 255 visible ASCII characters."""
    async with serving() as server:
        answer = await keyed(server, {"Idempotency-Key": key.encode("latin-1")}, **FINE)  # type: ignore[dict-item]
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_refused_request_uses_no_key() -> None:
    """A key whose request was refused can be used for another question."""
    async with serving() as server:
        refused = await keyed(server, fast={"model": "scripted:nobody"})
        accepted = await keyed(server, input="Another?", **FINE)
    assert (refused.status_code, accepted.status_code, ways(accepted)) == (422, 200, ["live"])


async def test_the_key_of_a_joined_run() -> None:
    """A key whose request joined a run stands for that run; it is kept as a hash."""
    asked = {**QUESTION, **lanes(SHORT, HANG)}
    async with serving(disconnect_grace_s=0) as server:
        tails = [await started(server, **lanes(SHORT, HANG))]
        tails += [await opened(server, "POST", "/v1/reason", json=asked, headers=KEY) for _ in range(2)]
        for tail in tails:
            await tail.response.aclose()
    assert {tail.run_id for tail in tails} == {tails[0].run_id}
    assert server.journal is not None
    hashed = hashlib.sha256(KEY["Idempotency-Key"].encode()).hexdigest()
    assert [attachment.idempotency_key for attachment in server.journal.attachments] == [hashed]


# -- scopes


@rows(
    ("scope", "other", "shares"),
    [
        ("caller", {"x-caller": "bob", "x-tenant": "t"}, False),
        ("tenant", {"x-caller": "bob", "x-tenant": "t"}, True),
        ("tenant", {"x-caller": "bob", "x-tenant": "u"}, False),
        ("tenant", {"x-caller": "bob"}, False),
        ("global", {"x-caller": "bob"}, True),
    ],
)
async def test_scopes(scope: str, other: dict[str, str], shares: bool) -> None:
    """Answers and live runs are shared within CACHE_SCOPE and never beyond; a caller without a tenant has none."""
    alice = {"x-caller": "alice", "x-tenant": "t"}
    async with serving(identify=by_header, cache_scope=scope) as server:
        first, second = await asyncio.gather(keyed(server, alice, **LATE), keyed(server, other, **LATE))
        third = await keyed(server, other, **LATE)
        rest = await server.client.get(f"/v1/runs/{ids(first)[0]}/events", headers=other)
        record = await server.client.get(f"/v1/runs/{ids(first)[0]}", headers=other)
    assert ways(first, second, third) == (["live", "attached", "cache"] if shares else ["live", "live", "cache"])
    assert (rest.status_code == 200) == shares
    assert record.status_code in (200, 404)


async def test_a_guest_may_not_stop() -> None:
    """A caller that joined another's run may read it, and is told that it may not stop it."""
    async with serving(identify=by_header, cache_scope="global", disconnect_grace_s=0) as server:
        mine = await started(server, **lanes(SHORT, HANG))
        guest = await opened(
            server, "POST", "/v1/reason", json={**QUESTION, **lanes(SHORT, HANG)}, headers={"x-caller": "bob"}
        )
        answers = [
            await server.client.post(f"/v1/runs/{mine.run_id}/cancel", headers={"x-caller": who})
            for who in ("bob", "carol")
        ]
        for tail in (mine, guest):
            await tail.response.aclose()
    assert [(a.status_code, a.json()["code"]) for a in answers] == [(409, "run_shared"), (404, "run_not_found")]
