"""Who is let in: the loopback rule, pages of other sites, who asks, and whether they may do that here."""

import re
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from app.admission.allowance import endpoint_of
from app.admission.doorman import Doorman
from app.admission.keys import CREDENTIAL
from app.admission.rights import allowed, needed
from app.errors import Forbidden, ForeignPage, RateLimited, Unauthenticated
from app.http.callers import CALLER, NOBODY, Identify
from app.http.cors import Cors, Pairs

_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)

RATED = "tandem.rated"  # where the headers that tell what is left are put in the ASGI scope


class Door:
    """Everything that is asked of a request before its body is read.

    guard_loopback: refuse what a foreign web page could have sent to a server that asks nobody who they are. doorman:
    counts the requests of those who are known.
    """

    def __init__(
        self,
        identify: Identify,
        *,
        guard_loopback: bool,
        cors: Cors | None = None,
        doorman: Doorman | None = None,
    ) -> None:
        self._identify = identify
        self._guard = guard_loopback
        self._cors = cors
        self._doorman = doorman

    async def enter(self, headers: Headers, scope: Scope) -> Response | None:
        """Leave the caller in the scope, or return the whole answer. Raises a Refusal."""
        listed = self._cors is not None and self._cors.names(headers)
        if self._guard and (refusal := foreign(headers, scope["path"], listed=listed)):
            raise refusal
        if self._cors is not None and (preflight := self._cors.preflight(scope["method"], headers)):
            return preflight
        query = scope["query_string"]
        if query and CREDENTIAL.search(unquote(query.decode("latin-1"))):
            scope["query_string"] = b""  # whoever writes this request down later finds nothing
            raise Unauthenticated("a key never belongs into an address, where others see it: revoke this one")
        need = needed(scope["method"], scope["path"])
        if need is None:
            scope[CALLER] = NOBODY
            return None
        caller = scope[CALLER] = await self._identify(headers, scope)
        if not allowed(caller.rights, need):
            roles = sorted(need)
            raise Forbidden(f"this asks for the role {' or '.join(roles)}", needs=roles)
        if self._doorman is not None:
            try:
                scope[RATED] = await self._doorman.arrive(caller, endpoint_of(scope["path"]))
            except RateLimited as refused:
                scope[RATED] = refused.headers
                raise
        return None

    def added(self, headers: Headers) -> Pairs:
        """The headers of the answer that let a page of another site read it."""
        return [] if self._cors is None else self._cors.answered(headers)


def foreign(headers: Headers, path: str, *, listed: bool = False) -> ForeignPage | None:
    """Why a request to an unauthenticated loopback server is refused, or None: DNS rebinding and foreign pages.

    A link to the page itself may stand anywhere: following it starts nothing, and the page cannot be framed. listed:
    the operator allows the page that asks.
    """
    if not is_loopback(headers):
        return ForeignPage("this server answers only to loopback names (localhost, 127.0.0.1, [::1]) while AUTH is off")
    followed = path == "/" and headers.get("sec-fetch-mode", "").lower() == "navigate"
    if headers.get("sec-fetch-site", "").lower() in ("cross-site", "same-site") and not followed and not listed:
        return ForeignPage("a page of another origin may not use this server while AUTH is off")
    return None


def is_loopback(headers: Headers) -> bool:
    """Whether the request names a host that is this machine."""
    return _LOOPBACK.fullmatch(",".join(headers.getlist("host"))) is not None


def is_https(headers: Headers, scope: Scope) -> bool:
    """Whether the client came by TLS, also when a proxy ended that.

    A client that pretends it only harms itself: it gets a cookie it will not send, and a header that plain HTTP voids.
    """
    return bool(scope["scheme"] == "https" or headers.get("x-forwarded-proto") == "https")
