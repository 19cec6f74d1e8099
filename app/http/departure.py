"""How a response learns that its client has gone."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from starlette.types import Receive, Scope

CONNECTION = "tandem.connection"  # an ASGI extension of our own server; its `lost` is a future, done when that happened


def lost_of(scope: Scope) -> asyncio.Future[None] | None:
    """What is done when the client has gone; None where our own server does not tell."""
    lost: asyncio.Future[None] | None = scope.get("extensions", {}).get(CONNECTION, {}).get("lost")
    return lost


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
