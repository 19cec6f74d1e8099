"""AUTH=iap: only what Google's proxy signed counts, by keys that are fetched, believed and doubted within bounds."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any, Final, Self

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from servers import Server, serving
from starlette.datastructures import Headers

from app.errors import ForeignPage, IdentityUnavailable, Unauthenticated
from app.http.iap import FRESH_S, ISSUER, RETRY_S, STALE_S, BehindIap, PublicKeys

AUDIENCE: Final = "/projects/1/global/backendServices/2"
NOW: Final = 1_800_000_000.0


class Clock:
    """A time that the test sets."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Google:
    """Where the keys are, and who signs with them."""

    private: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    fetched: int = 0
    garbage: bytes | None = None
    url: str = ""

    def rotate(self, key_id: str) -> None:
        """Have one more key."""
        self.private[key_id] = ec.generate_private_key(ec.SECP256R1())

    def says(self, key_id: str = "one", **claims: Any) -> str:
        """A signed word; a claim that is None is left out."""
        usual = {"aud": AUDIENCE, "iss": ISSUER, "iat": NOW - 10, "exp": NOW + 600}
        eve = {"sub": "accounts.google.com:42", "email": "accounts.google.com:eve@example.com", "hd": "example.com"}
        told = usual | eve | claims
        told = {name: claim for name, claim in told.items() if claim is not None}
        return jwt.encode(told, self.private[key_id], algorithm="ES256", headers={"kid": key_id})

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request with the keys."""
        await reader.readuntil(b"\r\n\r\n")
        self.fetched += 1
        keys = [
            ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": key_id, "alg": "ES256"}
            for key_id, key in self.private.items()
        ]
        body = json.dumps({"keys": keys}).encode() if self.garbage is None else self.garbage
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()


@pytest.fixture
async def google() -> AsyncIterator[Google]:
    """A server of keys with one key."""
    found = Google()
    found.rotate("one")
    async with await asyncio.start_server(found.serve, "127.0.0.1", 0) as listener:
        found.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/keys"
        yield found


def behind(google: Google, clock: Clock | None = None) -> BehindIap:
    """The identification by that server's keys; Eve's colleague is an admin."""
    keys = PublicKeys(google.url, clock or Clock(0.0))
    return BehindIap(AUDIENCE, frozenset({"adam@example.com"}), keys, lambda: NOW)


async def caller(iap: BehindIap, assertion: str | None, **headers: str) -> Any:
    """Who that says that asks."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if assertion is not None:
        sent["x-goog-iap-jwt-assertion"] = assertion
    return await iap(Headers(sent), {})


class Then(datetime):
    """The time that the library reads."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """Always the same."""
        return cls.fromtimestamp(NOW, tz)


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's clock stands still."""
    monkeypatch.setattr("jwt.api_jwt.datetime", Then)


async def test_who_google_says_asks(google: Google) -> None:
    """The caller is Google's stable number within the organisation; who is listed is an admin, in any spelling."""
    iap = behind(google)
    eve = await caller(iap, google.says())
    assert (eve.id, eve.tenant, eve.rights) == ("iap:accounts.google.com:42", "example.com", {"ask", "read"})
    adam = await caller(iap, google.says(sub="7", email="accounts.google.com:Adam@Example.com", hd=None))
    assert (adam.id, adam.tenant, adam.rights) == ("iap:7", "", {"ask", "read", "admin"})
    assert google.fetched == 1


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "/projects/1/global/backendServices/3"},
        {"aud": None},
        {"iss": "https://accounts.google.com"},
        {"iss": None},
        {"exp": NOW - 31},
        {"exp": None},
        {"iat": NOW + 31},
        {"iat": None},
        {"sub": None},
    ],
    ids=str,
)
async def test_what_is_not_said_for_us_now_is_refused(google: Google, claims: dict[str, Any]) -> None:
    """A word for somebody else, by somebody else, from another time, or without one of these claims is none."""
    with pytest.raises(Unauthenticated):
        await caller(behind(google), google.says(**claims))


async def test_what_google_did_not_sign_is_refused(google: Google) -> None:
    """Another's key under Google's name, no signature, a changed word, another algorithm: none of them counts."""
    iap, stranger = behind(google), Google()
    stranger.rotate("one")
    good = google.says()
    head, body, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": "one"})
    public = google.private["one"].public_key()
    pem = b"x" * 32 + str(public.public_numbers().x).encode()
    symmetric = jwt.encode({"aud": AUDIENCE}, pem, algorithm="HS256", headers={"kid": "one"})
    flipped = body[:20] + ("A" if body[20] != "A" else "B") + body[21:]
    for wrong in (
        stranger.says(),
        unsigned,
        symmetric,
        f"{head}.{flipped}.{signature}",
        f"{head}.{body}.",
        "x",
        "",
        None,
    ):
        with pytest.raises(Unauthenticated):
            await caller(iap, wrong)


async def test_a_word_is_verified_once_and_ends_in_time(google: Google) -> None:
    """A word that was verified is known until it expires, not longer."""
    iap = behind(google)
    said = google.says(exp=NOW + 5)
    assert await caller(iap, said) is await caller(iap, said)
    iap.wall = lambda: NOW + 5
    google.private = {}
    google.rotate("two")
    iap.keys = PublicKeys(google.url, Clock(0.0))
    with pytest.raises(Unauthenticated, match="not known"):
        await caller(iap, said)


async def test_new_keys_are_fetched_but_not_at_everybodys_word(google: Google) -> None:
    """An unknown key makes one fetch in a while, a known one none for an hour."""
    clock = Clock(0.0)
    iap = behind(google, clock)
    await caller(iap, google.says())
    google.rotate("two")
    for _ in range(5):
        with pytest.raises(Unauthenticated, match="not known"):
            await caller(iap, google.says("two"))
    assert google.fetched == 1
    clock.now += RETRY_S
    assert await asyncio.gather(*(caller(iap, google.says("two", sub=str(i))) for i in range(5)))
    assert google.fetched == 2
    clock.now += FRESH_S
    await caller(iap, google.says(sub="9"))
    assert google.fetched == 3


@pytest.mark.parametrize("garbage", [b"", b"[]", b'{"keys": 1}', b'{"keys": [{"kty": "EC"}]}', b"x" * 300_000])
async def test_old_keys_are_believed_for_a_day(google: Google, garbage: bytes) -> None:
    """While the keys cannot be fetched the old ones count, for a day; who comes with a newer one cannot be told."""
    clock = Clock(0.0)
    iap = behind(google, clock)
    await caller(iap, google.says())
    google.garbage = garbage
    clock.now += FRESH_S
    assert (await caller(iap, google.says(sub="9"))).id == "iap:9"
    google.rotate("two")
    with pytest.raises(IdentityUnavailable):
        await caller(iap, google.says("two"))
    clock.now += STALE_S
    with pytest.raises(IdentityUnavailable):
        await caller(iap, google.says(sub="10"))
    with pytest.raises(IdentityUnavailable):
        await caller(behind(google), google.says())


async def test_a_page_of_another_site_is_refused(google: Google) -> None:
    """The proxy's own cookie makes a browser known whatever page it shows, so other sites' pages are turned away."""
    iap = behind(google)
    for site in ("cross-site", "same-site"):
        with pytest.raises(ForeignPage):
            await caller(iap, google.says(), sec_fetch_site=site)
    assert await caller(iap, google.says(), sec_fetch_site="same-origin")


@contextlib.asynccontextmanager
async def guarded(google: Google) -> AsyncIterator[Server]:
    """A server with AUTH=iap that trusts this Google."""
    async with serving(identify=behind(google), guard=False, auth="iap", iap_audience=AUDIENCE) as server:
        yield server


async def test_a_server_behind_the_proxy(google: Google) -> None:
    """With the proxy's word a question is answered and admins' addresses stay closed; without it all but probes is."""
    async with guarded(google) as server:
        headers = {"x-goog-iap-jwt-assertion": google.says()}
        assert (await server.client.get("/v1/session", headers=headers)).json()["auth"] == "iap"
        assert (await server.client.post("/v1/reason", json={"input": "Why?"}, headers=headers)).status_code == 200
        paths = ("/health/detailed", "/v1/session", "/health/ready")
        assert [(await server.client.get(path)).status_code for path in paths] == [401, 401, 200]
        assert (await server.client.get("/health/detailed", headers=headers)).status_code == 403
        assert (await server.client.post("/v1/session", headers=headers)).status_code == 405
