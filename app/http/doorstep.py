"""What all connections of a server share: who is told of those that are ended, and whom nobody needs to listen to."""

import json
from typing import Final, Protocol

from uuid_utils import uuid4

from app.errors import Overloaded
from app.http.closings import AGAIN, closing
from app.http.notices import Notices

_METHOD: Final = "POST"
_PATH: Final = "/v1/reason"
_AGAIN: Final = frozenset((b"last-event-id", b"idempotency-key"))  # who comes back to a run that is there
_ID: Final = "00000000000000000000000000000000"
_PROBLEM: Final = {
    "type": "about:blank",
    "title": Overloaded.title,
    "status": Overloaded.status,
    "detail": "the server has more to do than it can; runs that are live go on, try again in a moment",
    "code": Overloaded.code,
    "request_id": _ID,
}


_REFUSAL: Final = closing(
    "503 Service Unavailable",
    "application/problem+json",
    json.dumps(_PROBLEM),
    f"{AGAIN}x-request-id: {_ID}\r\nx-content-type-options: nosniff\r\ncache-control: no-store\r\n",
)


class Gate(Protocol):
    """Knows whether there is any hope for who comes now."""

    def turns_away(self) -> bool:
        """Whether there is none for one more, which is counted then."""
        ...


class Meters(Protocol):
    """Who counts requests."""

    def began(self, method: str, route: str) -> None:
        """A request came."""
        ...

    def ended(self, method: str, route: str, status: int | None, seconds: float) -> None:
        """It is over."""
        ...

    def refused(self, code: str, status: int) -> None:
        """It was refused."""
        ...


class Doorstep:
    """Turns questions away before they are read, at a tenth of what it costs to refuse them inside.

    An overload is the more lasting, and every refusal the later, the more of the loop the refusals take. Until `watch`
    everybody comes in. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self.notices = Notices()
        self._gate: Gate | None = None
        self._meters: Meters | None = None

    def watch(self, gate: Gate, meters: Meters | None) -> None:
        """From now on look at the gate, and count there."""
        self._gate, self._meters = gate, meters

    def turns_away(self, method: bytes, address: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether this head begins a new question, and there is no hope for it."""
        if self._gate is None or address != _PATH.encode() or method != _METHOD.encode():
            return False
        return not any(name in _AGAIN for name, _ in headers) and self._gate.turns_away()

    def refusal(self, client: str) -> bytes:
        """The whole answer to one more, which is counted like any other."""
        self.notices.tell("overloaded", client)
        if self._meters is not None:
            self._meters.began(_METHOD, _PATH)
            self._meters.ended(_METHOD, _PATH, Overloaded.status, 0.0)
            self._meters.refused(Overloaded.code, Overloaded.status)
        return _REFUSAL.replace(_ID.encode(), uuid4().hex.encode())
