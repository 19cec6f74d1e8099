"""What hostile and broken clients do, told without a flood: once at once, then one line in a while for each kind."""

import asyncio
import logging
from collections import Counter
from typing import Final, Literal

logger = logging.getLogger(__name__)

EVERY_S: Final = 10.0

Kind = Literal[
    "malformed",
    "head_late",
    "head_large",
    "never_read",
    "body_unwanted",
    "pipelined",
    "too_many_connections",
    "overloaded",
]
WORDS: Final[dict[Kind, str]] = {
    "malformed": "what came is no HTTP/1.1",
    "head_late": "the head of a request did not come in time (LOAD_HEAD_TIMEOUT_S)",
    "head_large": "the head of a request was too large",
    "never_read": "the client did not read its answer (SEND_TIMEOUT_S)",
    "body_unwanted": "the client went on with a body that had been refused",
    "pipelined": "too many requests came before their answers",
    "too_many_connections": "too many connections are open (LOAD_MAX_CONNECTIONS)",
    "overloaded": "the server has more to do than it can (LOAD_MAX_RACES, LOAD_MAX_LAG_S)",
}


class Notices:
    """Counts connections that were ended, by why. Belongs to one event loop, and has a timer only while there are any.

    counts: since the start.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._untold: dict[Kind, int] = {}

    def tell(self, kind: Kind, client: str) -> None:
        """One more; client: its address."""
        self.counts[kind] += 1
        if kind in self._untold:
            self._untold[kind] += 1
            return
        logger.warning("a connection from %s was closed: %s", client, WORDS[kind])
        self._rest(kind)

    def _rest(self, kind: Kind) -> None:
        self._untold[kind] = 0
        asyncio.get_running_loop().call_later(EVERY_S, self._sum_up, kind)

    def _sum_up(self, kind: Kind) -> None:
        untold = self._untold.pop(kind)
        if untold:
            logger.warning("%d more connections were closed within %g s: %s", untold, EVERY_S, WORDS[kind])
            self._rest(kind)
