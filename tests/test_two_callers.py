"""What one caller asked, got and said is not to be seen, changed or even noticed by another, at no address there is."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx
import pytest
from journals import Underway
from pasts import parts_over
from servers import Server, eventually, serving
from starlette.datastructures import Headers
from starlette.routing import Mount
from starlette.types import Scope
from tails import HANG, Tail, opened
from trespass import Names, Try, tries
from uuid_utils import uuid7
from wire import valid_stream

from app.main import create_app
from app.postgres.pool import Pool
from app.question import Caller

ALICE: Final = {"x-caller": "alice", "x-tenant": "one"}
BOB: Final = {"caller": {"x-caller": "bob", "x-tenant": "one"}, "tenant": {"x-caller": "bob", "x-tenant": "two"}}
QUICK: Final[dict[str, Any]] = {
    "fast_model": "scripted:fast?first=0.005&gap=0",
    "slow_model": "scripted:slow?first=0.01&gap=0",
    "disconnect_grace_s": 0,
}
LIVE: Final = {"slow": {"model": HANG}}  # of a question that is still being answered
SECRET_WORD: Final = "violet-zebra"  # in what Alice asks, and in every answer to it


async def by_header(headers: Headers, _: Scope) -> Caller:
    """Whoever a request says."""
    return Caller(headers.get("x-caller", "nobody"), headers.get("x-tenant", ""))


HERS: Final = Names(
    key="key-of-alice",
    labels={"experiment": "experiment-of-alice", "variant": "variant-of-alice"},
    tag="tag-of-alice",
    prompt_class="class-of-alice",
    text=f"Where is the {SECRET_WORD}?",
    live_text=f"Where is the {SECRET_WORD} now?",
)
REMARK: Final = "remark-of-alice"


# -- Alice


async def asked(server: Server, **body: Any) -> httpx.Response:
    """The answer to Alice, read to its end."""
    headers = {**ALICE, "Idempotency-Key": HERS.key} if body.pop("keyed", False) else ALICE
    return await server.client.post("/v1/reason", json=body, headers=headers)


async def alice_was_here(server: Server) -> tuple[Names, list[Tail]]:
    """Alice asks, is answered, asks again, gives feedback, and has a run that lives and is read twice."""
    labels = {**HERS.labels, "prompt_class": HERS.prompt_class, "tags": [HERS.tag]}
    ended, replay = [await asked(server, input=HERS.text, keyed=keyed, **labels) for keyed in (True, False)]
    assert [answer.headers["x-run-source"] for answer in (ended, replay)] == ["live", "cache"]
    live = []
    for _ in range(2):
        body = {"input": HERS.live_text, **labels, **LIVE}
        tail = await opened(server, "POST", "/v1/reason", json=body, headers=ALICE)
        await tail.until(b"event: preliminary")
        live.append(tail)
    run_id = ended.headers["x-run-id"]
    remark = {"value": REMARK, "comment": REMARK}
    said = await server.client.put(f"/api/experiments/{run_id}/feedback/note", json=remark, headers=ALICE)
    assert said.status_code == 200
    for where in ("in_flight", "spooled"):
        await eventually(lambda where=where: not server.parts.readiness.ledger()[where], 5)  # type: ignore[misc]
    cursors = [
        (await server.client.get(path, params={"limit": 1}, headers=ALICE)).json()["next_cursor"]
        for path in ("/api/experiments", "/api/logs")
    ]
    fingerprint = valid_stream(ended.content)[-1].data["fingerprint"]
    hers = replace(HERS, ended=run_id, live=live[0].run_id, replay=replay.headers["x-run-id"], fingerprint=fingerprint)
    return replace(hers, cursor=cursors[0], log_cursor=cursors[1]), live


async def her_view(server: Server, hers: Names) -> list[str]:
    """Everything that Alice can read of her own."""
    paths = ["/api/experiments?payload=true&limit=50", "/api/logs", "/api/experiments/export?payload=true"]
    paths += [f"/api/experiments/{run_id}" for run_id in hers.runs]
    paths += [f"/v1/runs/{run_id}/events" for run_id in (hers.ended, hers.replay)]
    answers = [await server.client.get(path, headers=ALICE) for path in paths]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.text for answer in answers]


# -- Bob


@dataclass
class Bob:
    """Bob, who looks at whatever a server answers for what is Alice's."""

    server: Server
    headers: dict[str, str]
    secrets: set[str]

    async def tried(self, route: str, one: Try, of: Names) -> tuple[Any, ...]:
        """The answer without what is new in each; it has the status it must have, and nothing of hers."""
        method = route.partition(" ")[0].replace("MOUNT", "GET")
        headers = {**self.headers, **one.headers}
        answer = await self.server.client.request(method, one.target, headers=headers, json=one.body)
        assert answer.status_code == one.status, (route, one, answer.text)
        self.look_at(answer.text, answer.headers, (route, one))
        source = answer.headers.get("x-run-source")
        if source is not None:
            assert source == "live", (route, one)
            return answer.status_code, source
        return answer.status_code, answer.headers.get("retry-after"), _lasting(answer, of)

    def look_at(self, text: str, headers: httpx.Headers, said: object) -> None:
        """Fail if there is anything of hers in it that he has not said himself."""
        found = {secret for secret in self.secrets if secret in text or secret in str(headers)}
        assert {secret for secret in found if secret not in str(said)} == set(), said


def _lasting(answer: httpx.Response, of: Names) -> str:
    """The answer without the labels that it repeats, and the id of the request."""
    text = answer.text
    for label in of.labels.values():
        text = text.replace(label, "*")
    return text.replace(answer.headers["x-request-id"], "*")


def routes_of(server: Server) -> Iterator[str]:
    """Every route of the application, those outside of its documentation too."""
    app: Any = server.uvicorn.config.app
    while hasattr(app, "_app"):
        app = app._app

    def walk(routes: Iterable[Any]) -> Iterator[str]:
        for route in routes:
            inner = getattr(route, "original_router", None)
            if inner is not None:
                yield from walk(inner.routes)
            elif isinstance(route, Mount):
                yield f"MOUNT {route.path}"
            else:
                yield from (f"{method} {route.path.replace(':path}', '}')}" for method in route.methods)

    yield from walk(app.routes)


async def test_every_route_is_tried() -> None:
    """A route that Bob does not try fails this test, so that a new one cannot be forgotten."""
    async with serving() as server:
        known = set((await server.client.get("/openapi.json")).json()["paths"])
        in_memory = set(routes_of(server))
    assert known <= {route.partition(" ")[2] for route in in_memory}
    assert in_memory <= set(tries(Names()))


@contextlib.asynccontextmanager
async def instances(count: int, dsn: str, **settings: Any) -> AsyncIterator[list[Server]]:
    """Some servers on one database."""
    async with contextlib.AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(serving(dsn, identify=by_header, **QUICK, **settings)) for _ in range(count)
        ]
        for server in servers:
            server.tasks |= asyncio.all_tasks()
        yield servers


async def bob_trespasses(alices: Server, bobs: Server, scope: str, where: str) -> None:
    """Alice uses her server, Bob tries every route like `where` on his; nothing is told, nothing has changed."""
    hers, live = await alice_was_here(alices)
    before = await her_view(alices, hers)
    assert set(routes_of(bobs)) == set(tries(hers))
    assert SECRET_WORD in before[-1]
    logged = {request["id"] for request in json.loads(before[1])["logs"]}
    said = {SECRET_WORD, REMARK, HERS.key, HERS.tag, HERS.prompt_class, *HERS.labels.values(), "alice"}
    bob = Bob(bobs, BOB[scope], said | logged | {*hers.runs, hers.fingerprint})
    nobodys = Names(cursor=hers.cursor, log_cursor=hers.log_cursor)
    of_nothing = tries(nobodys)
    for route, of_hers in ((route, some) for route, some in tries(hers).items() if re.search(where, route)):
        for mine, nothing in zip(of_hers, of_nothing[route], strict=True):
            told = await bob.tried(route, mine, hers)
            if mine != nothing:
                assert told == await bob.tried(route, nothing, nobodys), route
    joined = await opened(bobs, "POST", "/v1/reason", json={"input": hers.live_text, **LIVE}, headers=bob.headers)
    bob.look_at((await joined.until(b"event: preliminary")).decode(), joined.response.headers, hers.live_text)
    assert joined.response.headers["x-run-source"] == "live"
    await joined.response.aclose()
    assert await her_view(alices, hers) == before
    await alice_goes_on(alices, hers, live)


async def alice_goes_on(server: Server, hers: Names, live: list[Tail]) -> None:
    """Her key, her stored answer and her live run are what they were."""
    again = [await asked(server, input=hers.text, keyed=keyed) for keyed in (True, False)]
    assert [answer.headers["x-run-source"] for answer in again] == ["attached", "cache"]
    assert again[0].headers["x-run-id"] == hers.ended
    await live[1].response.aclose()
    await eventually(lambda: server.runs.find(hers.live, Caller(ALICE["x-caller"])).guests == 0)  # type: ignore[union-attr]
    assert (await server.client.post(f"/v1/runs/{hers.live}/cancel", headers=ALICE)).json()["ended"] is False
    assert valid_stream(await live[0].rest())[-1].data["reason"] == "cancelled"


async def test_a_record_on_its_way_is_hidden(pool: Pool, dsn: str) -> None:
    """While a record is on its way, its caller is told to ask again; to everybody else there is no such run."""
    parts = replace(parts_over(pool, dsn), pending=Underway("alice"), identify=by_header)
    transport = httpx.ASGITransport(create_app(parts, guard_loopback=False))
    feedback = "/api/experiments/{}/feedback/note"
    async with httpx.AsyncClient(transport=transport, base_url="http://past") as client:
        answers = [
            await client.request(method, target.format(uuid7()), headers=who, json={"value": 1})
            for who in (ALICE, BOB["caller"])
            for method, target in (("GET", "/v1/runs/{}"), ("PUT", feedback), ("DELETE", feedback))
        ]
    assert [answer.status_code for answer in answers] == [409] * 3 + [404] * 3


@pytest.mark.parametrize(("scope", "where"), [("caller", ""), ("tenant", "/v1/|/cache")])
async def test_two_callers(dsn: str, scope: str, where: str) -> None:
    """Bob tries every route, or as another tenant those with a scope: there seems to be nothing, and hers stays."""
    async with instances(1, dsn, cache_scope=scope) as (server,):
        await bob_trespasses(server, server, scope, where)


async def test_two_callers_on_two_instances(dsn: str, redis_url: str) -> None:
    """Her runs are hidden as well on another instance, which shares PostgreSQL and Redis with hers."""
    async with instances(2, dsn, redis_url=redis_url) as (alices, bobs):
        await bob_trespasses(alices, bobs, "caller", "/v1/")
