"""A server with AUTH=keys as clients and browsers' rules see it: headers, cookies, pages of other sites, guesses."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest
import pytest_asyncio
from keyring import SEAL, MemoryKeys, bearer, guarded, issued
from servers import Server, eventually, serving
from tails import HANG
from tails import opened as opened_stream

from app.admission.addresses import parse_networks
from app.admission.attempts import Attempts
from app.admission.keys import Minted
from app.admission.ring import Patience, Ring
from app.errors import StartupError
from app.http.keyholders import KeyHolders
from app.postgres.pool import Pool
from app.question import Content, Grant
from app.settings import Settings, read_settings
from bench.proxy import Proxy

OURS = {"sec-fetch-site": "same-origin"}
COOKIE = re.compile(r"tandem_[\w-]+")


@pytest_asyncio.fixture
async def server(dsn: str) -> AsyncIterator[Server]:
    """A server that wants keys, and lets the pages of one other site in."""
    async with guarded(dsn, cors_origins="https://app.example", auth_failures_per_minute=5) as running:
        yield running


@pytest_asyncio.fixture
async def key(pool: Pool) -> Minted:
    """Alice's, to ask and to read."""
    return await issued(pool, "alice")


async def who(server: Server, **headers: str) -> httpx.Response:
    """Who the server says that asks."""
    return await server.client.get("/v1/session", headers={k.replace("_", "-"): v for k, v in headers.items()})


async def test_a_key_is_shown_in_either_header(server: Server, key: Minted) -> None:
    """A key counts in Authorization and in X-API-Key, which stands beside another layer's Authorization."""
    for headers in (bearer(key), {"authorization": f"bEARER  {key.token}"}, {"x-api-key": key.token}):
        told = (await server.client.get("/v1/session", headers=headers)).json()
        assert (told["auth"], told["caller"], told["rights"]) == ("keys", "alice", ["ask", "read"])
    assert (await who(server, authorization="Bearer of-another-layer", x_api_key=key.token)).status_code == 200
    for wrong in (f"Basic {key.token}", key.token, "Bearer", ""):
        assert (await who(server, authorization=wrong)).status_code in {401, 429}
    twice = [("authorization", f"Bearer {key.token}")] * 2
    assert (await server.client.get("/v1/session", headers=twice)).json()["detail"] == "a key was sent twice"


async def test_a_key_in_an_address_is_refused(server: Server, key: Minted, caplog: pytest.LogCaptureFixture) -> None:
    """A key in a query is refused however it is written, though another be in the header, and stands in no log."""
    caplog.set_level(logging.DEBUG)
    for query in (f"key={key.token}", f"input=hi&api_key={key.token}", f"x={key.token.replace('_', '%5F')}"):
        refused = await server.client.get(f"/v1/reason?{query}", headers=bearer(key))
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        assert key.token not in refused.text
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert ours
    assert not [record for record in ours if key.token in f"{record.getMessage()} {vars(record)}"]


async def test_guesses_are_bounded_by_address(server: Server, key: Minted, pool: Pool) -> None:
    """Who guesses too often gets a 429; a good key is good all the while, were it shown here for the first time."""
    await who(server, **bearer(key))
    guesses = [await who(server, authorization=f"Bearer {SEAL.mint().token[:-1]}") for _ in range(7)]
    assert [guess.status_code for guess in guesses] == [401] * 5 + [429] * 2
    assert guesses[-1].json()["code"] == "too_many_attempts"
    assert 0 < int(guesses[-1].headers["retry-after"]) <= 60
    for good in (key, await issued(pool, "bob")):
        assert (await who(server, **bearer(good))).status_code == 200


# -- sessions


async def opened(server: Server, key: Minted, **headers: str) -> tuple[SimpleCookie, str]:
    """A session's Set-Cookie, and its value as a browser sends it."""
    answer = await server.client.post("/v1/session", headers={**bearer(key), **headers})
    server.client.cookies.clear()
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    cookie = SimpleCookie(answer.headers["set-cookie"])
    (name,) = cookie
    return cookie, f"{name}={cookie[name].value}"


async def test_a_session_stands_for_its_key(server: Server, key: Minted) -> None:
    """The cookie of a session is as good as its key, for our own pages alone, and opens no further session."""
    _, sent = await opened(server, key)
    assert key.token not in sent
    assert (await who(server, cookie=sent, **OURS)).json()["caller"] == "alice"
    assert (await who(server, cookie=sent, sec_fetch_site="none")).status_code == 200
    assert (await who(server, cookie=sent, origin=server.url)).status_code == 200
    for foreign in (
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "cross-site"},
        {},
        {"origin": "http://evil.example"},
    ):
        assert (await who(server, cookie=sent, **foreign)).status_code == 401
    assert (await who(server, cookie=sent + "0", **OURS)).status_code == 401
    again = await server.client.post("/v1/session", headers={"cookie": sent, **OURS})
    assert (again.status_code, "set-cookie" in again.headers) == (401, False)


async def test_a_session_may_what_its_key_may(server: Server, pool: Pool) -> None:
    """The cookie of a key opens what the key's role opens and nothing else, and shows its caller's runs alone."""
    hers = await issued(pool, "alice", ("ask",), "one")
    asked = await server.client.post("/v1/reason", json={"input": "Why?", "stream": False}, headers=bearer(hers))
    events = f"/v1/runs/{asked.headers['x-run-id']}/events"
    for key, status in ((hers, 200), (await issued(pool, "bob", ("ask",), "one"), 404)):
        cookie = {"cookie": (await opened(server, key))[1], **OURS}
        assert (await server.client.get(events, headers=cookie)).status_code == status
        for path in ("/api/experiments", "/metrics"):
            assert (await server.client.get(path, headers=cookie)).status_code == 403


@pytest.mark.parametrize(
    ("headers", "name", "secure"),
    [
        ({}, "tandem", False),
        ({"host": "localhost:8080"}, "tandem", False),
        ({"host": "localhost:8080", "x-forwarded-proto": "https"}, "__Host-tandem", True),
        ({"host": "tandem.example.com"}, "__Host-tandem", True),
    ],
)
async def test_the_flags_of_the_cookie(
    server: Server, key: Minted, headers: dict[str, str], name: str, secure: bool
) -> None:
    """No script reads the cookie, no other site's page sends it, and beyond this machine it travels by TLS alone."""
    cookie, _ = await opened(server, key, **headers)
    found = cookie[name]
    assert (found["httponly"], found["samesite"], found["path"], found["domain"]) == (True, "strict", "/", "")
    assert (bool(found["secure"]), 3500 < int(found["max-age"]) <= 3600) == (secure, True)  # no longer than its key
    assert COOKIE.fullmatch(found.value)


async def test_a_session_ends_with_its_user_or_its_key(server: Server, pool: Pool, key: Minted) -> None:
    """Ended, a session is worth nothing, and others of its key live on until the key is revoked, here at once."""
    (_, one), (_, other) = await opened(server, key), await opened(server, key)
    ended = await server.client.delete("/v1/session", headers={"cookie": one, **OURS})
    assert (ended.status_code, 'tandem=""; ' in ended.headers["set-cookie"]) == (204, True)
    assert (await who(server, cookie=one, **OURS)).json()["detail"] == "this session was ended; sign in again"
    assert (await who(server, cookie=other, **OURS)).status_code == 200
    admin = bearer(await issued(pool, "root", ("admin",)))
    assert (await server.client.delete(f"/api/keys/{key.key_id}", headers=admin)).status_code == 204
    assert (await who(server, cookie=other, **OURS)).status_code == 401
    assert (await who(server, **bearer(key))).json()["detail"] == "this key was revoked"


async def test_a_session_that_ended_elsewhere_is_over_here(dsn: str, key: Minted) -> None:
    """Another instance knows the end of a session as soon as it looks again."""
    async with guarded(dsn, key_cache_s=0.01) as here, guarded(dsn) as there:
        _, sent = await opened(here, key)
        assert (await who(here, cookie=sent, **OURS)).status_code == 200
        await there.client.delete("/v1/session", headers={"cookie": sent, **OURS})
        await asyncio.sleep(0.02)
        assert (await who(here, cookie=sent, **OURS)).status_code == 401
        here.tasks |= asyncio.all_tasks()


# -- PostgreSQL away


async def test_keys_while_the_database_is_away(proxy: tuple[Proxy, str], pool: Pool) -> None:
    """A key that was seen works on without PostgreSQL, another gets a 503 and never an answer, a guess a 401."""
    network, through = proxy
    seen, unseen = await issued(pool, "alice"), await issued(pool, "bob")
    async with guarded(through, key_cache_s=0.01) as server:
        assert (await who(server, **bearer(seen))).status_code == 200
        async with network.stopped():
            await asyncio.sleep(0.02)
            assert (await who(server, **bearer(seen))).json()["caller"] == "alice"
            refused = await who(server, **bearer(unseen))
            assert (refused.status_code, refused.json()["code"]) == (503, "identity_unavailable")
            assert refused.headers["retry-after"]
            assert (await who(server, authorization=f"Bearer {SEAL.mint().token[:-1]}")).status_code == 401
        server.tasks |= asyncio.all_tasks()


async def test_a_flood_of_guesses_never_reaches_the_store() -> None:
    """Of any number of wrong keys not one is looked up."""
    store = MemoryKeys()
    holders = KeyHolders(SEAL, Ring(store, Patience()), Attempts(30), parse_networks("10.0.0.0/8"))
    async with serving(identify=holders, guard=False) as server:
        statuses = set()
        for i in range(200):
            headers = {"authorization": f"Bearer tandem_{i:012}_{'a' * 51}", "x-forwarded-for": f"203.0.113.{i}"}
            statuses.add((await server.client.get("/v1/session", headers=headers)).status_code)
        assert (statuses, store.asked) == ({401, 429}, 0)


# -- pages of other sites


async def test_a_listed_page_may_ask(server: Server, key: Minted) -> None:
    """The preflight of a listed page is answered without a key, and it may read answers and refusals."""
    page = {"origin": "https://app.example", "access-control-request-method": "POST"}
    allowed = await server.client.options(
        "/v1/reason", headers={**page, "access-control-request-headers": "authorization"}
    )
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (204, "https://app.example")
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in allowed.headers
    for headers in ({**page, **bearer(key)}, page):
        answer = await server.client.get("/v1/session", headers=headers)
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert ("X-Run-ID" in answer.headers["access-control-expose-headers"], answer.headers["vary"]) == (
            True,
            "Origin",
        )


async def test_another_page_may_not(server: Server, key: Minted) -> None:
    """The page of a site that is not listed gets no preflight and may read nothing; that the answer varies is told."""
    page = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    refused = await server.client.options("/v1/reason", headers=page)
    assert (refused.status_code, refused.json()["code"]) == (403, "foreign_page")
    for answer in (refused, await server.client.get("/v1/session", headers={**page, **bearer(key)})):
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "Origin"


async def test_a_listed_page_may_use_a_laptop() -> None:
    """Without authentication a page of another origin may use a loopback server only if the operator named it."""
    for origins, status in (("http://localhost:3000", 200), ("*", 403), ("", 403)):
        async with serving(cors_origins=origins) as server:
            headers = {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"}
            assert (await server.client.get("/health/", headers=headers)).status_code == status


async def test_https_is_kept(server: Server) -> None:
    """Who came by TLS is told to come so always; who did not is not."""
    for proto, there in (("https", True), ("http", False)):
        answer = await server.client.get("/health/live", headers={"x-forwarded-proto": proto})
        assert ("strict-transport-security" in answer.headers) == there


# -- what is kept of a question


async def test_a_caller_may_be_recorded_more_strictly(server: Server, pool: Pool) -> None:
    """A key's content mode makes the record of its caller stricter than the server's, and nobody else's."""
    asked: dict[str, Any] = {"input": "Mail bob@example.com!", "experiment": "e", "cache": "off"}
    texts = {}
    for mode in ("full", "redacted", "hash_only", "none", None):
        key = await issued(pool, f"caller-{mode}", grant=Grant(content=mode))
        run_id = (await server.client.post("/v1/reason", json=asked, headers=bearer(key))).headers["x-run-id"]
        record = (await server.client.get(f"/v1/runs/{run_id}", headers=bearer(key))).json()
        texts[mode] = record["payload"]["messages"][0]["content"]
    assert texts["full"] == texts[None] == asked["input"]
    assert texts["redacted"] == "Mail [masked:email]!"
    assert (texts["hash_only"][:7], texts["none"]) == ("sha256:", "")


async def asked_twice(server: Server, pool: Pool, content: Content | None) -> tuple[str, int]:
    """Where the second answer to a question comes from, and how many answers PostgreSQL then has of its caller."""
    key = await issued(pool, f"caller-{content}", grant=Grant(content=content))
    for _ in range(2):
        answer = await server.client.post("/v1/reason", json={"input": "Why?"}, headers=bearer(key))
    async with pool.connection() as connection:
        kept = await connection.fetchval("SELECT count(*) FROM answers WHERE scope = $1", f"caller:caller-{content}")
    return answer.headers["x-run-source"], kept


async def test_texts_that_may_not_be_kept_stay_in_this_process(server: Server, pool: Pool) -> None:
    """The answer to a caller without texts is given again from memory alone; others' is in PostgreSQL too."""
    assert await asked_twice(server, pool, "none") == ("cache", 0)
    async with asyncio.timeout(5):
        while await asked_twice(server, pool, None) != ("cache", 1):
            pass  # it is on its way
    assert await asked_twice(server, pool, "none") == ("cache", 0)


async def test_texts_that_may_not_be_kept_are_not_relayed(dsn: str, pool: Pool, redis_url: str) -> None:
    """Another instance reads along with the live run of a caller with texts, and knows nothing of one without."""
    keys = [await issued(pool, f"caller-{mode}", grant=Grant(content=mode)) for mode in (None, "hash_only")]
    statuses = []
    async with guarded(dsn, redis_url=redis_url) as here, guarded(dsn, redis_url=redis_url) as there:
        for key in keys:
            body = {"input": "Why?", "slow": {"model": HANG}}
            live = await opened_stream(here, "POST", "/v1/reason", json=body, headers=bearer(key))
            await live.until(b"event: preliminary")
            ledger = here.parts.readiness.ledger
            await eventually(lambda: ledger()["stored"] == ledger()["accepted"], 5)  # noqa: B023  # awaited here
            path = f"/v1/runs/{live.run_id}/events"
            async with there.client.stream("GET", path, headers=bearer(key)) as response:
                statuses.append(response.status_code)
            await live.response.aclose()
        here.tasks |= asyncio.all_tasks()
    assert statuses == [200, 409]


async def test_a_grant_decides_who_shares_answers(server: Server, pool: Pool) -> None:
    """Callers of a tenant share answers where their keys say so, whatever the server's scope is, and nobody else's."""
    sources = []
    for name, tenant, scope in (
        ("a", "one", "tenant"),
        ("b", "one", "tenant"),
        ("c", "two", "tenant"),
        ("d", "one", None),
    ):
        key = await issued(pool, name, tenant=tenant, grant=Grant(cache_scope=scope))  # type: ignore[arg-type]
        answer = await server.client.post("/v1/reason", json={"input": "Ours?"}, headers=bearer(key))
        sources.append(answer.headers["x-run-source"])
    assert sources == ["live", "cache", "live", "live"]


# -- settings


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"AUTH": "keys"}, "openssl rand -hex 32"),
        ({"AUTH": "keys", "KEY_PEPPER": "short"}, "KEY_PEPPER"),
        ({"AUTH": "iap"}, "IAP_AUDIENCE"),
        ({"TRUSTED_PROXIES": "10.0.0.0/99"}, "TRUSTED_PROXIES"),
        ({"CORS_ORIGINS": "https://a.example/"}, "CORS_ORIGINS"),
    ],
)
def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], word: str) -> None:
    """A server whose identity is not whole does not start, and the message names the setting and what to do."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StartupError) as refused:
        read_settings()
    assert word in refused.value.message
    assert "short" not in refused.value.message


def test_a_public_address_needs_no_word_where_keys_are_wanted() -> None:
    """With keys a public bind is no risk that an operator has to take on; without them it is."""
    Settings(auth="keys", key_pepper="x" * 32, host="0.0.0.0").check_bind()  # type: ignore[arg-type]
    with pytest.raises(StartupError, match="AUTH=keys"):
        Settings(host="0.0.0.0").check_bind()


async def test_a_row_that_cannot_be_read(
    server: Server, pool: Pool, key: Minted, caplog: pytest.LogCaptureFixture
) -> None:
    """A key whose grant is no grant is a 503 of its own, written to the log by its name; other keys are good."""
    other = await issued(pool, "bob")
    async with pool.connection() as connection:
        await connection.execute('UPDATE keys SET granted = \'{"usd_per_hour": "much"}\' WHERE key_id = $1', key.key_id)
    answer = await server.client.get("/v1/session", headers=bearer(key))
    assert (answer.status_code, answer.json()["code"]) == (503, "identity_unavailable")
    assert key.key_id in caplog.text
    assert key.token not in caplog.text + answer.text
    assert (await server.client.get("/v1/session", headers=bearer(other))).status_code == 200
