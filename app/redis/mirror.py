"""A run that is conducted on another instance, as a log on this one."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec

from app.events import frame, interrupted
from app.reasoning.log import Log, Reader
from app.redis.card import CARD_ID, EVENTS, Card
from app.redis.control import Held

Taken = Literal["taken", "unfit"]
_EVENTS: Final = EVENTS.encode()


class Mirror(Log):
    """The log as far as it has come here; only the one who listens appends. changed: its readers came or left.

    position: behind which entry of the stream to go on. not_before: on the loop's clock, when the stream was not fit to
    be read. told: what the owner knows of our readers.
    """

    def __init__(self, run_id: str, card: Card, changed: Callable[[], None]) -> None:
        super().__init__(run_id, card.opener, card.fingerprint, card.source)
        self.card = card
        self.position = CARD_ID
        self.not_before = 0.0
        self.told: Held | None = None
        self._finish = False
        self._guest_until = 0.0
        self._unread_since = self.loop.time()
        self._changed = changed

    def take(self, entries: Sequence[Any]) -> Taken:
        """Append what is new of these entries. Unfit: they are not the log's; it is to be read from its beginning."""
        for entry in entries:
            if self.closed:
                break
            if not self._take(entry):
                self.position = CARD_ID
                return "unfit"
        return "taken"

    def _take(self, entry: Any) -> bool:  # noqa: ANN401  # as Redis sends it: anybody may have written it
        match entry:
            case [bytes(position), [name, bytes(block)]] if name == _EVENTS and block.endswith(b"\n\n"):
                end = int(position.partition(b"-")[0])
            case _:
                return False
        begin = end - len(block)
        if begin > self.size:
            return False
        if end > self.size:
            rest = block[self.size - begin :]
            if not rest.partition(b"\n\n")[0].find(f"id: {self.run_id}:{len(self)}\n".encode()) > 0:
                return False
            self.relay(rest)
        self.position = position.decode()
        return True

    def interrupt(self, **why: str) -> None:
        """The owner has died, or why else it ends here: the last word, numbered on. The record is not known yet."""
        if not self.closed:
            done = msgspec.structs.replace(interrupted(self.fingerprint), audit="pending", **why)
            self.interrupted = True
            self.relay(frame(self.run_id, len(self), done))

    def attach(self, after: int = -1, *, guest: bool = False) -> Reader:
        """As Log has it."""
        reader = super().attach(after, guest=guest)
        self._changed()
        return reader

    def detach(self, reader: Reader) -> None:
        """As Log has it."""
        super().detach(reader)
        self._unread_since = self.loop.time()
        self._changed()

    def expect(self, within_s: float, *, guest: bool, finish: bool) -> None:
        """A reader is about to come; finish: it wants the run to go on when it leaves."""
        now = self.loop.time()
        self._unread_since = now
        self._finish = self._finish or finish
        if guest:
            self._guest_until = now + within_s
        self._changed()

    def wanted(self, now: float, stays_s: float) -> bool:
        """Whether it has readers, had one lately, or one may come."""
        return self.readers > 0 or now < self._unread_since + stays_s

    def hold(self, now: float) -> Held:
        """What its owner is told of it."""
        return Held(self.run_id, self.guests > 0 or now < self._guest_until, self._finish)
