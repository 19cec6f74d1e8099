"""A run that is conducted here: its log, whom it belongs to, and the one request to stop it. Only its race appends."""

import asyncio
from collections.abc import Mapping

from app.errors import TandemError
from app.events import FOLLOWS, NAMES, Payload, delta_frames, frame
from app.llm.model import Along, Pieces
from app.question import Caller, LaneName, Question
from app.reasoning.log import Log, Reader, Source
from app.reasoning.verdict import Cause


class OutOfOrder(TandemError):
    """An event was appended where the protocol does not allow it: a bug of ours, never a client's."""


class Run(Log):
    """The log of a question that is being answered, its readers' patience, and the one request to stop it."""

    def __init__(
        self, run_id: str, question: Question, caller: Caller, fingerprint: str, source: Source = "live"
    ) -> None:
        super().__init__(run_id, caller, fingerprint, source)
        self.question = question
        self.deadline = self.opened_at + question.deadline_s
        self.acceptable = False
        self.grace_s = 0.0  # for a reader to come back
        self.queued_ms = 0  # before it was let in
        self.along: Mapping[LaneName, Along] = {}  # what its lanes' models are sent beside the question
        self.stopping: asyncio.Future[Cause] = self.loop.create_future()
        self._outlives_readers = question.on_disconnect == "finish"
        self._last: str | None = None
        self._held: list[tuple[LaneName, Pieces]] = []
        self._previewed: tuple[Payload, int, bytes] | None = None
        self._absence: asyncio.TimerHandle | None = None

    # -- writing: the race alone

    def append(self, payload: Payload, *, anywhere: bool = False) -> None:
        """Encode one event and append it; `done` closes the log. Raises OutOfOrder unless it may stand anywhere."""
        name = NAMES[type(payload)]
        if not anywhere:
            self._expect(name)
        self._add(self._framed(payload))
        self._last = name
        if name == "start":
            held, self._held = self._held, []
            for lane, pieces in held:
                self.say(lane, pieces)
        elif name == "done":
            self._close()
        self._wake()

    def say(self, lane: LaneName, pieces: Pieces) -> None:
        """Append deltas that arrived together, one event each; held back until `start` is there."""
        if self._last is None:
            self._held.append((lane, pieces))
            return
        self._expect("delta")
        block = delta_frames(self.run_id, len(self), lane, *pieces)
        self._push("".join(block).encode("ascii"), map(len, block))
        self._last = "delta"
        self._wake()

    def _expect(self, name: str) -> None:
        if name not in FOLLOWS[self._last]:
            raise OutOfOrder(f"{name} may not follow {self._last}")

    def relay(self, block: bytes) -> None:
        """As Log has it; what comes next is up to whoever relays."""
        super().relay(block)
        self._last = block[block.rfind(b"event: ") + 7 :].partition(b"\n")[0].decode()

    def _close(self) -> None:
        super()._close()
        self._cancel_absence()
        if not self.stopping.done():
            self.stopping.cancel()

    def preview(self, payload: Payload) -> tuple[bytes, tuple[int, ...]]:
        """The log and its times as they will be once the payload is appended."""
        last = self._framed(payload)
        self._previewed = payload, len(self), last
        return b"".join((self._bytes, last)), (*self.at_ms, self.elapsed_ms())

    def _framed(self, payload: Payload) -> bytes:
        """The bytes of the next event; of one that was previewed they are at hand."""
        seen, self._previewed = self._previewed, None
        if seen is not None and seen[0] is payload and seen[1] == len(self):
            return seen[2]
        return frame(self.run_id, len(self), payload)

    # -- stopping: anybody

    def stop(self, cause: Cause) -> None:
        """Ask the race to end; the first cause stands, later ones change nothing."""
        if not self.stopping.done():
            self.stopping.set_result(cause)

    @property
    def joinable(self) -> bool:
        """Whether another request may still share it: nobody has asked it to stop, and it has not ended."""
        return not self.closed and not self.stopping.done()

    # -- reading: anybody

    def attach(self, after: int = -1, *, guest: bool = False) -> Reader:
        """As Log has it; a reader that comes back calls off the cancellation."""
        self._cancel_absence()
        return super().attach(after, guest=guest)

    def detach(self, reader: Reader) -> None:
        """As Log has it; when the last one leaves, `on_disconnect` decides what becomes of the run."""
        if reader not in self._readers:
            return
        super().detach(reader)
        if not self._readers and not self.closed:
            self.await_reader(self.grace_s)

    def outlive_readers(self) -> None:
        """Go on when the last reader leaves, whatever the opener wanted: a guest asked for it."""
        self._outlives_readers = True
        self._cancel_absence()

    def await_reader(self, within_s: float) -> None:
        """Stop the run with `client_gone` unless a reader attaches within that many seconds."""
        if self._outlives_readers:
            return
        self._cancel_absence()
        self._absence = self.loop.call_later(within_s, self.stop, "client_gone")

    def _cancel_absence(self) -> None:
        if self._absence is not None:
            self._absence.cancel()
            self._absence = None
