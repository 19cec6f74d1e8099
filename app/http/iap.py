"""AUTH=iap: who asks is who Google's Identity-Aware Proxy says in a header that it signed."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import jwt
from cachetools import LRUCache
from starlette.datastructures import Headers
from starlette.types import Scope

from app.errors import ForeignPage, IdentityUnavailable, Unauthenticated
from app.question import Caller, Right

log = logging.getLogger(__name__)

HEADER: Final = "x-goog-iap-jwt-assertion"
ISSUER: Final = "https://cloud.google.com/iap"
KEYS_URL: Final = "https://www.gstatic.com/iap/verify/public_key-jwk"
FRESH_S: Final = 3600.0
STALE_S: Final = 86_400.0  # for which keys that cannot be fetched anew are still believed
RETRY_S: Final = 30.0  # between two fetches, whatever key ids are asked for
FETCH_S: Final = 3.0
MOST_BYTES: Final = 256 * 1024
LEEWAY_S: Final = 30.0
PLACES: Final = 1000
_REQUIRED: Final = ["exp", "iat", "aud", "iss", "sub"]


class PublicKeys:
    """Google's keys by their id, fetched when they are asked for and not known, or an hour old."""

    def __init__(self, url: str = KEYS_URL, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = self._tried_at = -STALE_S
        self._failed = False  # the newest fetch: a key that is not known may be a new one
        self._fetching = asyncio.Lock()

    async def get(self, key_id: str) -> jwt.PyJWK | None:
        """The key of that id; None when there is none. Raises IdentityUnavailable when no key can be believed now."""
        if not self._knows(key_id) and self._clock() - self._tried_at >= RETRY_S:
            async with self._fetching:
                if not self._knows(key_id) and self._clock() - self._tried_at >= RETRY_S:
                    await self._fetch()
        new = self._failed and key_id not in self._keys
        if new or self._clock() - self._fetched_at >= STALE_S:
            raise IdentityUnavailable("the keys of the Identity-Aware Proxy cannot be fetched now")
        return self._keys.get(key_id)

    def _knows(self, key_id: str) -> bool:
        return key_id in self._keys and self._clock() - self._fetched_at < FRESH_S

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_S), httpx.AsyncClient(timeout=FETCH_S) as http:
                answer = (await http.get(self._url)).raise_for_status()
            if len(answer.content) > MOST_BYTES:
                raise ValueError("too long to be keys")  # noqa: TRY301  # the same fate as what is no JSON
            found = {key.key_id: key for key in jwt.PyJWKSet.from_dict(answer.json()).keys if key.key_id}
        except (httpx.HTTPError, TimeoutError, ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
            log.warning("the keys of the Identity-Aware Proxy could not be fetched: %s", type(error).__name__)
            self._failed = True
        else:
            self._keys, self._fetched_at, self._failed = found, self._clock(), False
        finally:
            self._tried_at = self._clock()


@dataclass(slots=True)
class BehindIap:
    """Identifies callers by the signed header; admins are told by their address of e-mail.

    A caller is known by Google's stable number, their organisation is the tenant.
    """

    audience: str
    admins: frozenset[str] = frozenset()
    keys: PublicKeys = field(default_factory=PublicKeys)
    wall: Callable[[], float] = time.time
    _verified: LRUCache[str, tuple[Caller, float]] = field(default_factory=lambda: LRUCache(PLACES))

    async def __call__(self, headers: Headers, scope: Scope) -> Caller:  # noqa: ARG002  # as Identify has it
        """Who asks. Raises Unauthenticated, ForeignPage, IdentityUnavailable."""
        if headers.get("sec-fetch-site", "") in ("cross-site", "same-site"):  # the proxy's own cookie came along
            raise ForeignPage("a page of another origin may not use this server")
        assertion = headers.get(HEADER)
        if assertion is None:
            raise Unauthenticated("this request did not come through the Identity-Aware Proxy")
        known = self._verified.get(assertion)
        if known is None or known[1] <= self.wall():
            claims = await self._claims(assertion)
            known = self._verified[assertion] = (self._caller(claims), float(claims["exp"]))
        return known[0]

    async def _claims(self, assertion: str) -> dict[str, Any]:
        try:
            key = await self.keys.get(str(jwt.get_unverified_header(assertion).get("kid", "")))
            if key is None:
                raise Unauthenticated("the Identity-Aware Proxy's word is signed with a key that is not known")
            found: dict[str, Any] = jwt.decode(
                assertion,
                key,
                algorithms=["ES256"],
                audience=self.audience,
                issuer=ISSUER,
                leeway=LEEWAY_S,
                options={"require": _REQUIRED},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the Identity-Aware Proxy's word is not good: {type(error).__name__}") from error
        return found

    def _caller(self, claims: dict[str, Any]) -> Caller:
        rights: set[Right] = {"ask", "read"}
        if str(claims.get("email", "")).lower().rpartition(":")[2] in self.admins:
            rights.add("admin")
        return Caller(f"iap:{claims['sub']}", str(claims.get("hd", "")), frozenset(rights))
