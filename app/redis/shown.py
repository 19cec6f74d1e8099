"""One run that is shown to other instances: how much of it Redis has, and who reads it there."""

from bisect import bisect_left
from typing import Final, NamedTuple

import msgspec

from app.reasoning.log import Reader
from app.reasoning.run import Run
from app.redis.card import Card
from app.redis.client import Part

BLOCK_BYTES: Final = 256 * 1024  # of events in one entry, unless one event is larger


class _Holder(NamedTuple):
    """A reader that stands for all those of one instance; it reads nothing."""

    reader: Reader
    guest: bool
    until: float


class Shown:
    """A cursor into the run's log, in bytes, that does not count as a reader, and the readers on other instances.

    urgent: Redis is to be told at the next tick what is new, else at due_at on the loop's clock. unsure: whether Redis
    still has what it was sent.
    """

    def __init__(self, run: Run, card: Card) -> None:
        self.run = run
        self.card = card
        self.urgent = True
        self.due_at = 0.0
        self.unsure = True
        self.admitted = 0
        self._encoded = msgspec.json.encode(card)
        self._sent = 0
        self._spoilt = False
        self._holders: dict[str, _Holder] = {}

    # -- what Redis has

    @property
    def news(self) -> bool:
        """Whether there is anything to send."""
        return self.unsure or self._sent < self.run.size

    @property
    def over(self) -> bool:
        """Whether Redis has all there will ever be."""
        return self.run.closed and not self.news

    @property
    def unsent(self) -> int:
        """How many bytes Redis does not have."""
        return self.run.size - self._sent

    def parcel(self) -> tuple[Part, ...]:
        """(begin, end, events, card, whether the stream is to begin anew): what to send now."""
        block = self.run.since(self._sent)
        if len(block) > BLOCK_BYTES:
            end = block.rfind(b"\n\n", 0, BLOCK_BYTES) + 2
            block = block[: end if end > 1 else block.find(b"\n\n") + 2]
        card = b"" if self._sent else self._encoded
        return self._sent, self._sent + len(block), block, card, int(self._spoilt)

    def received(self, stored: int, end: int) -> None:
        """Redis says how much it has: up to `end`, or less when it lost some, or what nobody of us wrote."""
        self._spoilt = not self._is_boundary(stored)
        self._sent = 0 if self._spoilt else stored
        self.unsure = self._spoilt
        self.urgent = bool(self._holders) or stored != end or self.unsent > 0

    def _is_boundary(self, size: int) -> bool:
        seq = bisect_left(range(len(self.run) + 1), size, key=self.run.begin_of)
        return seq <= len(self.run) and self.run.begin_of(seq) == size

    # -- who reads it elsewhere

    def hold(self, instance: str, until: float, *, guest: bool) -> None:
        """It is read on that instance, until then at least."""
        before = self._holders.get(instance)
        if before is not None and before.guest == guest:
            self._holders[instance] = before._replace(until=until)
            return
        self._holders[instance] = _Holder(self.run.attach(guest=guest), guest, until)
        if before is not None:  # after the new one came, or it would have been the last to leave
            before.reader.close()
        self.urgent = True

    def leave(self, instance: str) -> None:
        """It is not read there any more."""
        holder = self._holders.pop(instance, None)
        if holder is not None:
            holder.reader.close()

    def expire(self, now: float) -> None:
        """Forget instances that have not said for long that it is read there."""
        for instance in [name for name, holder in self._holders.items() if holder.until < now]:
            self.leave(instance)

    def prolong(self, until: float) -> None:
        """Nobody could say so: believe what was said last for longer."""
        self._holders = {name: holder._replace(until=until) for name, holder in self._holders.items()}

    def close(self) -> None:
        """Let go of the run."""
        for instance in list(self._holders):
            self.leave(instance)

    @property
    def held(self) -> bool:
        """Whether it is read elsewhere."""
        return bool(self._holders)
