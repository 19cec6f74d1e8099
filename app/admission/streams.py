"""How many streams each caller has open, and how many it may."""

from collections import Counter

from app.errors import TooManyStreams
from app.question import Caller


class Streams:
    """Counts. most: for a caller whose grant says nothing; None: as many as it likes. refused: how many were."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._open: Counter[str] = Counter()
        self.refused = 0

    def open(self, caller: Caller) -> None:
        """One more, to be closed once. Raises TooManyStreams."""
        most = self._most if caller.grant.streams is None else caller.grant.streams
        if most is not None and self._open[caller.id] >= most:
            self.refused += 1
            raise TooManyStreams(f"{most} streams of yours are open already; close one, or wait for its end", most=most)
        self._open[caller.id] += 1

    def close(self, caller: Caller) -> None:
        """One less."""
        self._open[caller.id] -= 1
        if not self._open[caller.id]:
            del self._open[caller.id]
