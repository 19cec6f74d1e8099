"""/v1/session: a key is exchanged for a cookie that scripts cannot read, for EventSource without a key in its URL."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Protocol

from fastapi import APIRouter, Path, Request, Response

from app.admission.keys import Seal
from app.admission.ring import Holder, KeysUnavailable, Ring
from app.errors import IdentityUnavailable, NoSuchKey, Unauthenticated
from app.http.callers import Asker
from app.http.describe import REFUSALS
from app.http.given import given
from app.http.keyholders import HOLDER, cookie_name, is_secure
from app.question import Caller

Auth = Literal["off", "keys", "iap"]
KeyId = Annotated[str, Path(pattern="^[a-z0-9]{12}$", description="What stands behind the first `_` of a key")]
NEVER: Final = 400 * 86_400  # seconds; browsers keep no cookie for longer


class KeyStore(Protocol):
    """Where keys and the ends of sessions are written. Raises KeysUnavailable."""

    async def end(self, session: str, ends_at: float) -> None:
        """That session is over, whatever its cookie says."""
        ...

    async def revoke(self, key_id: str) -> bool:
        """That key is good no more; whether there is one."""
        ...


@dataclass(frozen=True, slots=True)
class Sessions:
    """Opens and ends sessions, and revokes keys; this instance knows at once. last_s: how long a session is good."""

    seal: Seal
    ring: Ring
    store: KeyStore
    last_s: float
    wall: Callable[[], float] = time.time

    def open(self, holder: Holder) -> tuple[str, float]:
        """The cookie of a new session, and its end."""
        ends_at = min(self.wall() + min(self.last_s, NEVER), holder.ends_at or math.inf)
        return self.seal.cookie(holder.key_id, ends_at), ends_at

    async def end(self, holder: Holder) -> None:
        """End a session. Raises IdentityUnavailable when other instances could not be told."""
        if holder.session is None or holder.ends_at is None:
            return
        try:
            await self.store.end(holder.session, holder.ends_at)
        except KeysUnavailable as error:
            raise IdentityUnavailable("the end could not be written down; try again") from error
        finally:
            self.ring.forget(holder.key_id)

    async def revoke(self, key_id: str) -> None:
        """Revoke a key. Raises NoSuchKey, IdentityUnavailable."""
        try:
            found = await self.store.revoke(key_id)
        except KeysUnavailable as error:
            raise IdentityUnavailable("the key could not be revoked; try again") from error
        if not found:
            raise NoSuchKey("there is no key of this id")
        self.ring.forget(key_id)


Named = Annotated[Auth, given("auth")]
Given = Annotated[Sessions, given("sessions")]
routes: Final = APIRouter(tags=["session"], responses=REFUSALS)
of_keys: Final = APIRouter(tags=["session"], responses=REFUSALS)  # without keys there is nothing to open or to end


@routes.get("/v1/session", summary="Who asks, and what they may")
async def who(auth: Named, request: Request, caller: Asker) -> dict[str, Any]:
    holder: Holder | None = request.scope.get(HOLDER)
    return _told(auth, caller, holder and holder.ends_at)


@of_keys.post(
    "/v1/session",
    summary="Open a session in this browser",
    description="Show the key in a header; the cookie that comes back stands for it, for our own pages alone.",
)
async def begin(auth: Named, sessions: Given, request: Request, response: Response, caller: Asker) -> dict[str, Any]:
    holder: Holder = request.scope[HOLDER]
    if holder.session is not None:
        raise Unauthenticated("a session is opened with a key")
    cookie, ends_at = sessions.open(holder)
    _set_cookie(request, response, cookie, max(0, int(ends_at - sessions.wall())))
    return _told(auth, caller, ends_at)


@of_keys.delete("/v1/session", status_code=204, response_class=Response, summary="End the session of this browser")
async def end(sessions: Given, request: Request) -> Response:
    await sessions.end(request.scope[HOLDER])
    response = Response(status_code=204)
    _set_cookie(request, response, "", 0)
    return response


@of_keys.delete("/api/keys/{key_id}", tags=["keys"], status_code=204, summary="Revoke a key, here at once")
async def revoke(sessions: Given, key_id: KeyId) -> None:
    await sessions.revoke(key_id)


def _told(auth: Auth, caller: Caller, ends_at: float | None) -> dict[str, Any]:
    return {
        "auth": auth,
        "caller": caller.id,
        "tenant": caller.tenant,
        "rights": sorted(caller.rights),
        "expires_at": None if ends_at is None else datetime.fromtimestamp(ends_at, UTC).isoformat(),
    }


def _set_cookie(request: Request, response: Response, value: str, max_age: int) -> None:
    headers, scope = request.headers, request.scope
    name = cookie_name(headers, scope)
    response.set_cookie(
        name, value, max_age=max_age, path="/", secure=is_secure(headers, scope), httponly=True, samesite="strict"
    )
    response.headers["Cache-Control"] = "no-store"
