"""What a request learns of its connection: whether its client has gone, and whether all of it has come."""

import asyncio
from collections.abc import Callable

from starlette.types import Receive, Scope

# An ASGI extension of our own server. `lost` is a future, done when the client has gone; `whole` comes with the last of
# the body.
CONNECTION = "tandem.connection"


def lost_of(scope: Scope) -> asyncio.Future[None] | None:
    """What is done when the client has gone; None where our own server does not tell."""
    lost: asyncio.Future[None] | None = scope.get("extensions", {}).get(CONNECTION, {}).get("lost")
    return lost


def is_whole(scope: Scope) -> bool:
    """Whether all of the request has come, so that to read it is to wait for nothing; any other server cannot tell."""
    return "whole" in scope.get("extensions", {}).get(CONNECTION, ())


class Departure:
    """Calls `leave` once when the client goes before the block ends. Any other server has to be asked, by a task."""

    __slots__ = ("_gone", "_leave", "_lost")

    def __init__(self, scope: Scope, receive: Receive, leave: Callable[[], None]) -> None:
        self._lost = lost_of(scope)
        self._gone = asyncio.ensure_future(_disconnected(receive)) if self._lost is None else self._lost
        self._leave = leave

    def __enter__(self) -> None:
        self._gone.add_done_callback(self._tell)

    def __exit__(self, *_: object) -> None:
        self._gone.remove_done_callback(self._tell)
        if self._lost is None:
            self._gone.cancel()

    def _tell(self, _: asyncio.Future[None]) -> None:
        self._leave()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
