"""What a request learns of its connection: whether its client has gone, and whether all of it has come."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

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


@contextlib.contextmanager
def told_of_departure(scope: Scope, receive: Receive, leave: Callable[[], None]) -> Iterator[None]:
    """Call `leave` once when the client goes before the block ends. Any other server has to be asked, by a task."""
    lost = lost_of(scope)
    gone = asyncio.ensure_future(_disconnected(receive)) if lost is None else lost

    def tell(_: asyncio.Future[None]) -> None:
        leave()

    gone.add_done_callback(tell)
    try:
        yield
    finally:
        gone.remove_done_callback(tell)
        if lost is None:
            gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
