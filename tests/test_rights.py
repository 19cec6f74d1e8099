"""Every address, asked by every role and by nobody, for what is one's own, another caller's or tenant's, or nobody's.

A route that is not in the table fails: write down who may use it, and see that app/admission/rights.py agrees.
"""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

import httpx
import pytest_asyncio
from keyring import SEAL, bearer, guarded, issued
from servers import Server, eventually
from starlette.datastructures import Headers
from test_two_callers import routes_of
from uuid_utils import uuid7
from wire import valid_stream

from app.admission.keys import Minted
from app.admission.rights import ADMIN, allowed, needed
from app.postgres.keys import PostgresKeys
from app.postgres.pool import Pool
from app.question import Caller, Grant, Right

Whose = Literal["own", "other caller's", "other tenant's", "nobody's"]
WHOSE: Final[tuple[Whose, ...]] = get_args(Whose)
ROLES: Final[tuple[Right, ...]] = get_args(Right)
WORDS: Final[dict[Whose, str]] = {
    "own": "amber-otter",
    "other caller's": "violet-zebra",
    "other tenant's": "green-heron",
}


@dataclass(frozen=True)
class Row:
    """Who may use a route, as letters: `ask`, `read`, `admin`, or everybody; the status for one's own, for others'."""

    roles: str
    own: int = 200
    others: int | None = None  # the same, where nothing is named
    query: str = ""
    body: dict[str, Any] | None = field(default=None, hash=False)

    def may(self, role: Right) -> bool:
        """Whether that role is enough."""
        return self.roles == "everybody" or role in self.roles.split()


EXPERIMENTS: Final = "/api/experiments"
TABLE: Final[dict[str, Row]] = {
    "POST /v1/reason": Row("ask", body={"input": "Who am I?"}),
    "GET /v1/reason": Row("ask", query="input=Who?"),
    "GET /v1/limits": Row("ask read"),
    "GET /v1/runs/{run_id}": Row("ask read", others=404),
    "GET /v1/runs/{run_id}/events": Row("ask read", others=404),
    "POST /v1/runs/{run_id}/cancel": Row("ask", others=404),
    "POST /v1/runs/{run_id}/accept": Row("ask", 409, 404),
    f"GET {EXPERIMENTS}": Row("read", query="payload=true&limit=50"),
    f"GET {EXPERIMENTS}/stats": Row("read"),
    f"GET {EXPERIMENTS}/agreement": Row("read"),
    f"GET {EXPERIMENTS}/deadline-curve": Row("read"),
    f"GET {EXPERIMENTS}/compare": Row("read", query="experiment=e&a=a&b=b"),
    f"GET {EXPERIMENTS}/export": Row("read", query="payload=true"),
    f"GET {EXPERIMENTS}/{{run_id}}": Row("read", others=404),
    f"PUT {EXPERIMENTS}/{{run_id}}/feedback/{{name}}": Row("ask", others=404, body={"value": 1}),
    f"DELETE {EXPERIMENTS}/{{run_id}}/feedback/{{name}}": Row("ask", 204, 404),
    "GET /api/logs": Row("read"),
    "GET /api/cache/stats": Row("read"),
    "DELETE /api/cache/{fingerprint}": Row("admin", 204, 404),
    "DELETE /api/cache": Row("admin"),
    "DELETE /api/keys/{key_id}": Row("admin", 204),
    "GET /api/breakers": Row("admin"),
    "PUT /api/breakers/{name}": Row("admin", 404, body={"state": "auto"}),
    "GET /v1/session": Row("ask read admin"),
    "POST /v1/session": Row("ask read admin"),
    "DELETE /v1/session": Row("ask read admin", 204),
    "GET /health": Row("read"),
    "GET /health/": Row("read"),
    "GET /health/cache": Row("read"),
    "GET /health/detailed": Row("admin"),
    "GET /prometheus": Row("admin"),
    "GET /metrics": Row("admin"),
    "GET /api/metrics/summary": Row("admin"),
    "GET /health/live": Row("everybody"),
    "GET /health/ready": Row("everybody"),
    "GET /": Row("everybody"),
    "MOUNT /console": Row("everybody"),
    "GET /docs": Row("ask read admin"),
    "GET /openapi.json": Row("ask read admin"),
    "HEAD /openapi.json": Row("ask read admin"),
}


@dataclass
class World:
    """A server, a key of Alice's for each role, and what there is of everybody."""

    server: Server
    pool: Pool
    keys: dict[Right, Minted]
    runs: dict[Whose, str] = field(default_factory=dict)
    fingerprints: dict[Whose, str] = field(default_factory=dict)
    spares: int = 0

    async def target(self, route: str, whose: Whose) -> str:
        """The route's address with that name in it."""
        path = route.partition(" ")[2]
        if path == "/console":
            return "/console/main.js"
        names = {
            "run_id": self.runs[whose],
            "fingerprint": self.fingerprints[whose],
            "name": "note",
            "key_id": "0" * 12,
        }
        if "{key_id}" in path and whose != "nobody's":
            self.spares += 1
            names["key_id"] = (await issued(self.pool, f"spare-{self.spares}")).key_id
        return path.format(**names)

    async def ask(self, route: str, whose: Whose, headers: dict[str, str]) -> httpx.Response:
        """The answer to one try."""
        row, method = TABLE[route], route.partition(" ")[0].replace("MOUNT", "GET")
        target = await self.target(route, whose) + (f"?{row.query}" if row.query else "")
        return await self.server.client.request(method, target, headers=headers, json=row.body)


async def settle(world: World, caller: str, tenant: str, whose: Whose) -> None:
    """A question of that caller, answered and recorded."""
    key = await issued(world.pool, caller, ("ask",), tenant)
    answer = await world.server.client.post("/v1/reason", json={"input": f"Why {WORDS[whose]}?"}, headers=bearer(key))
    world.runs[whose] = answer.headers["x-run-id"]
    world.fingerprints[whose] = valid_stream(answer.content)[-1].data["fingerprint"]


@pytest_asyncio.fixture
async def world(dsn: str, pool: Pool) -> AsyncIterator[World]:
    """Alice and Bob of one tenant, Carol of another, on one server that shares answers within a tenant at most."""
    async with guarded(dsn) as server:
        keys = {role: await issued(pool, "alice", (role,), "one") for role in ROLES}
        world = World(server, pool, keys, {"nobody's": str(uuid7())}, {"nobody's": "0" * 64})
        await settle(world, "alice", "one", "own")
        await settle(world, "bob", "one", "other caller's")
        await settle(world, "carol", "two", "other tenant's")
        for where in ("in_flight", "spooled"):
            await eventually(lambda where=where: not server.parts.readiness.ledger()[where], 5)  # type: ignore[misc]
        yield world


async def test_every_route_for_every_role(world: World) -> None:
    """A role does what it is for, with what is its caller's alone; whoever is not known gets nothing but a 401."""
    for route, row in TABLE.items():
        for role, whose in itertools.product(ROLES, WHOSE if "{" in route else WHOSE[:1]):
            answer = await world.ask(route, whose, bearer(world.keys[role]))
            tried = (route, role, whose, answer.text[:200])
            if not row.may(role):
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), tried
            elif "{key_id}" in route:  # an operator's: of every caller
                assert answer.status_code == (404 if whose == "nobody's" else row.own), tried
            else:
                mine = whose == "own" or row.others is None
                await _mine_or_not(answer, row, mine=mine, tried=tried)
            assert not any(word in answer.text for name, word in WORDS.items() if name != "own"), tried


async def _mine_or_not(answer: httpx.Response, row: Row, *, mine: bool, tried: object) -> None:
    wanted = row.own if mine else row.others
    gone = wanted == 204 and "fingerprint" in str(tried)  # forgotten by the role before
    assert answer.status_code in ({204, 404} if gone else {wanted}), tried


async def test_every_route_for_nobody(world: World) -> None:
    """Without a key, with a wrong one, a revoked one or a key without roles, only probes and the page are open."""
    revoked, bare = await issued(world.pool, "alice", tenant="one"), await issued(world.pool, "dave", ())
    assert world.server.parts.sessions is not None
    await world.server.parts.sessions.revoke(revoked.key_id)
    wrong = {"authorization": "Bearer tandem_000000000000_" + "0" * 51}
    for route, row in TABLE.items():
        for headers in ({}, wrong, bearer(revoked)):
            answer = await world.ask(route, "own", headers)
            wanted = {row.own} if row.roles == "everybody" else {401, 429}
            assert answer.status_code in wanted, (route, headers, answer.text)
            if answer.status_code == 401:
                assert answer.headers["www-authenticate"] == 'Bearer realm="tandem"'
        if row.roles != "everybody":
            assert (await world.ask(route, "own", bearer(bare))).status_code == 403, route


async def test_the_table_is_whole(world: World) -> None:
    """Every route of the schema and beside it is in the table, and no other is."""
    schema = (await world.server.client.get("/openapi.json", headers=bearer(world.keys["ask"]))).json()
    described = {f"{method.upper()} {path}" for path, ways in schema["paths"].items() for method in ways}
    assert described <= set(TABLE)
    assert set(routes_of(world.server)) == set(TABLE)


def test_what_is_not_named_is_for_admins() -> None:
    """An address that the rule does not know, by whatever method, is closed to all but admins."""
    for method, path in (
        ("GET", "/new"),
        ("POST", "/"),
        ("GET", "/api/new"),
        ("DELETE", "/health/live"),
        ("GET", "//"),
    ):
        assert needed(method, path) is ADMIN, path
        assert not allowed({"ask", "read"}, needed(method, path))
        assert allowed({"admin"}, needed(method, path))


async def test_grants_come_with_the_key(dsn: str, pool: Pool) -> None:
    """What a key grants is what its caller has, and a caller has one tenant for good."""
    grant = Grant(requests_per_minute=5, usd_per_hour=0.5, content="redacted", cache_scope="tenant", priority=9)
    key = await issued(pool, "alice", ("ask",), "one", grant)
    async with guarded(dsn) as server:
        caller = await server.parts.identify(Headers(bearer(key)), {"client": ("127.0.0.1", 1)})
    assert (caller.id, caller.tenant, caller.rights, caller.grant) == ("alice", "one", frozenset({"ask"}), grant)
    minted = SEAL.mint()
    assert await PostgresKeys(pool).add(minted, Caller("alice", "two"), "", None) is None
    assert await PostgresKeys(pool).find(minted.key_id, None) is None
