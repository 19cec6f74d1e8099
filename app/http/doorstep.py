"""What all connections of a server share: who is told of those that are ended, and whom nobody needs to listen to."""

from collections.abc import Callable
from typing import Final, Protocol

from app.errors import Overloaded
from app.http.carried import Pairs, carried, request_id_of
from app.http.closings import asking_again, refused
from app.http.notices import Notices

_METHOD: Final = "POST"
_PATH: Final = "/v1/reason"
_AGAIN: Final = frozenset((b"last-event-id", b"idempotency-key"))  # who comes back to a run that is there
_PROBLEM: Final = asking_again("the server has more to do than it can; runs that are live go on, try again in a moment")

Added = Callable[[Pairs], Pairs]


def nothing(headers: Pairs) -> Pairs:  # noqa: ARG001  # what is added to the answer to these
    """No page of another site may read it."""
    return []


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

    added: what lets a page of another site read the answer.
    """

    def __init__(self) -> None:
        self.notices = Notices()
        self.added: Added = nothing
        self._gate: Gate | None = None
        self._meters: Meters | None = None

    def watch(self, gate: Gate, meters: Meters | None) -> None:
        """From now on look at the gate, and count there."""
        self._gate, self._meters = gate, meters

    def turns_away(self, method: bytes, address: bytes, headers: Pairs) -> bool:
        """Whether this head begins a new question, and there is no hope for it."""
        if self._gate is None or address != _PATH.encode() or method != _METHOD.encode():
            return False
        return _AGAIN.isdisjoint(dict(headers)) and self._gate.turns_away()

    def refusal(self, client: str, headers: Pairs) -> bytes:
        """The whole answer to one more, which is counted like any other, and carries what any other does."""
        self.notices.tell("overloaded", client)
        if self._meters is not None:
            self._meters.began(_METHOD, _PATH)
            self._meters.ended(_METHOD, _PATH, Overloaded.status, 0.0)
            self._meters.refused(Overloaded.code, Overloaded.status)
        given = dict(reversed(headers))
        request_id = request_id_of(given.get(b"x-request-id", b"").decode("latin-1"))
        https = given.get(b"x-forwarded-proto") == b"https"
        return refused(_PROBLEM, request_id, [*carried(request_id, https=https), *self.added(headers)])
