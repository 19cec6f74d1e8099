"""AUTH=keys: who asks is who holds the key in a header, or sits before the browser that a key was once typed into."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from app.admission.addresses import Network, client_address
from app.admission.attempts import Attempts
from app.admission.keys import Claim, Seal
from app.admission.ring import Ring
from app.errors import Unauthenticated
from app.http.door import is_https, is_loopback
from app.question import Caller

HOLDER: Final = "tandem.holder"  # where it is left in the ASGI scope
_HOW: Final = "send `Authorization: Bearer KEY` or `X-API-Key: KEY`"


class KeyHolders:
    """Identifies callers. A key that was seen lately costs no wait.

    Refusals are counted by address; a key that is good is so from every address, so that nobody who shares one with
    somebody who guesses, behind a proxy or a router, is locked out.
    """

    def __init__(self, seal: Seal, ring: Ring, attempts: Attempts, trusted: Sequence[Network] = ()) -> None:
        self._seal = seal
        self._ring = ring
        self._attempts = attempts
        self._trusted = trusted

    async def __call__(self, headers: Headers, scope: Scope) -> Caller:
        """Who asks. Raises Unauthenticated, TooManyAttempts, IdentityUnavailable."""
        token = token_of(headers)
        claim = self._of_cookie(headers, scope) if token is None else self._seal.read_key(token)
        if claim is None:
            self._refused(headers, scope)
            raise Unauthenticated("this key is not known here")
        try:
            holder = self._ring.at_hand(claim) or await self._ring.find(claim)
        except Unauthenticated:
            if claim.session is None:  # a session that is over is no guess
                self._refused(headers, scope)
            raise
        scope[HOLDER] = holder
        return holder.caller

    def _of_cookie(self, headers: Headers, scope: Scope) -> Claim | None:
        """What the browser's session claims."""
        cookie = cookie_parser(headers.get("cookie", "")).get(cookie_name(headers, scope))
        if cookie is None:
            raise Unauthenticated(_HOW)
        if not own_page(headers):
            raise Unauthenticated(f"a session is for the pages of this server alone; {_HOW}")
        return self._seal.read_cookie(cookie)

    def _refused(self, headers: Headers, scope: Scope) -> None:
        """Count it; beyond the limit raise TooManyAttempts."""
        peer = scope.get("client")
        address = client_address(peer and peer[0], headers.getlist("x-forwarded-for"), self._trusted)
        self._attempts.check(address)
        self._attempts.failed(address)


def token_of(headers: Headers) -> str | None:
    """The key in the headers: X-API-Key where another layer has use for Authorization. Raises Unauthenticated."""
    keys = headers.getlist("x-api-key")
    bearers = headers.getlist("authorization") if not keys else []
    if not keys and not bearers:
        return None
    if len(keys) + len(bearers) > 1:
        raise Unauthenticated("a key was sent twice")
    if keys:
        return keys[0].strip()
    scheme, _, token = bearers[0].partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated(_HOW)
    return token.strip()


def cookie_name(headers: Headers, scope: Scope) -> str:
    """Beyond this machine one that no other host may set and that travels by TLS alone."""
    return "__Host-tandem" if is_secure(headers, scope) else "tandem"


def is_secure(headers: Headers, scope: Scope) -> bool:
    """Whether a cookie must travel by TLS alone."""
    return not is_loopback(headers) or is_https(headers, scope)


def own_page(headers: Headers) -> bool:
    """Whether a browser sends this for a page of ours, or because somebody typed the address."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin, host = headers.get("origin"), headers.get("host")
    return origin is not None and urlsplit(origin).netloc == host
