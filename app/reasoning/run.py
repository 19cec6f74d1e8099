"""A run is an append-only log of encoded events; only its race appends, everybody else holds a cursor and reads."""

import asyncio
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from app.errors import TandemError
from app.events import FOLLOWS, NAMES, Payload, delta_frames, frame
from app.llm.model import Piece
from app.question import Caller, LaneName, Question
from app.reasoning.verdict import Cause


class OutOfOrder(TandemError):
    """An event was appended where the protocol does not allow it: a bug of ours, never a client's."""


class Run:
    """The log of one run, its readers, and the one request to stop it.

    Belongs to one event loop. Appending wakes every waiting reader without a task or a lock.
    """

    def __init__(self, run_id: str, question: Question, caller: Caller, grace_s: float) -> None:
        self.run_id = run_id
        self.question = question
        self.caller = caller
        self.fingerprint = question.fingerprint(caller)
        self.loop = asyncio.get_running_loop()
        self.opened_at = self.loop.time()
        self.at_ms = array("I")
        self.closed = False
        self.acceptable = False
        self.stopping: asyncio.Future[Cause] = self.loop.create_future()
        self._bytes = bytearray()  # one buffer: an event costs what it is long, and 8 bytes
        self._ends = array("I")  # of each event in it
        self._last: str | None = None
        self._held: list[tuple[LaneName, list[Piece]]] = []
        self._readers: set[Reader] = set()
        self._grace_s = grace_s
        self._absence: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """The number of events so far, which is the sequence number of the next one."""
        return len(self.at_ms)

    # -- writing: the race alone

    def append(self, payload: Payload, *, anywhere: bool = False) -> None:
        """Encode one event and append it; `done` closes the log. Raises OutOfOrder unless it may stand anywhere."""
        name = NAMES[type(payload)]
        if not anywhere:
            self._admit(name)
        event = frame(self.run_id, len(self), payload)
        self._push(event, [len(event)])
        self._last = name
        if name == "start":
            held, self._held = self._held, []
            for lane, pieces in held:
                self.say(lane, pieces)
        elif name == "done":
            self._close()
        self._wake()

    def say(self, lane: LaneName, pieces: Sequence[Piece]) -> None:
        """Append deltas that arrived together, one event each; held back until `start` is there."""
        if self._last is None:
            self._held.append((lane, list(pieces)))
            return
        self._admit("delta")
        block = delta_frames(self.run_id, len(self), lane, pieces)
        self._push("".join(block).encode("ascii"), map(len, block))
        self._last = "delta"
        self._wake()

    def _admit(self, name: str) -> None:
        if name not in FOLLOWS[self._last]:
            raise OutOfOrder(f"{name} may not follow {self._last}")

    def _push(self, block: bytes, lengths: Iterable[int]) -> None:
        ends = list(accumulate(lengths, initial=len(self._bytes)))[1:]
        self._bytes += block
        self._ends.extend(ends)
        self.at_ms.extend([self.elapsed_ms()] * len(ends))

    def _close(self) -> None:
        self.closed = True
        self._cancel_absence()
        if not self.stopping.done():
            self.stopping.cancel()

    def elapsed_ms(self) -> int:
        """Whole milliseconds since the run was opened."""
        return int((self.loop.time() - self.opened_at) * 1000)

    # -- stopping: anybody

    def stop(self, cause: Cause) -> None:
        """Ask the race to end; the first cause stands, later ones change nothing."""
        if not self.stopping.done():
            self.stopping.set_result(cause)

    # -- reading: anybody

    def attach(self, after: int = -1) -> "Reader":
        """A reader that begins behind event number `after`; a reader that comes back calls off the cancellation."""
        reader = Reader(self, after)
        self._readers.add(reader)
        self._cancel_absence()
        return reader

    def detach(self, reader: "Reader") -> None:
        """Forget a reader; when the last one leaves, `on_disconnect` decides what becomes of the run."""
        if reader not in self._readers:
            return
        self._readers.remove(reader)
        if not self._readers and not self.closed:
            self.await_reader(self._grace_s)

    def await_reader(self, within_s: float) -> None:
        """Stop the run with `client_gone` unless a reader attaches within that many seconds."""
        if self.question.on_disconnect == "finish":
            return
        self._cancel_absence()
        self._absence = self.loop.call_later(within_s, self.stop, "client_gone")

    def _cancel_absence(self) -> None:
        if self._absence is not None:
            self._absence.cancel()
            self._absence = None

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake()

    def preview(self, payload: Payload) -> tuple[bytes, tuple[int, ...]]:
        """The log and its times as they will be once the payload is appended."""
        last = frame(self.run_id, len(self), payload)
        return b"".join((self._bytes, last)), (*self.at_ms, self.elapsed_ms())

    def begin_of(self, seq: int) -> int:
        """At which byte of the log event number seq begins; the end of the log when there is no such event yet."""
        return self._ends[min(seq, len(self)) - 1] if seq else 0

    def since(self, begin: int) -> bytes:
        """The log from that byte on."""
        return bytes(memoryview(self._bytes)[begin:])

    @property
    def size(self) -> int:
        """How many bytes the log has."""
        return len(self._bytes)

    @property
    def readers(self) -> int:
        """How many readers are attached."""
        return len(self._readers)


class Reader:
    """A cursor into a run's log. `wake` may be called by anybody, also to make the owner look at something else."""

    __slots__ = ("_run", "_taken", "_waiter")

    def __init__(self, run: Run, after: int) -> None:
        self._run = run
        self._taken = run.begin_of(after + 1)
        self._waiter: asyncio.Future[None] | None = None

    def take(self) -> bytes:
        """Everything not yet read, in one piece; empty when there is nothing new."""
        fresh = self._run.since(self._taken)
        self._taken += len(fresh)
        return fresh

    @property
    def ended(self) -> bool:
        """True when `done` has been taken."""
        return self._run.closed and self._taken == self._run.size

    async def wait(self) -> None:
        """Return at the next append or `wake`; call it after `take` came back empty. Cancelling loses nothing."""
        self._waiter = self._run.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """Let `wait` return."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Leave the run; harmless when called twice."""
        self._run.detach(self)


def split(block: bytes) -> Iterator[bytes]:
    """The whole events in some bytes of a log; an event's only empty line is its last."""
    for event in block.split(b"\n\n")[:-1]:
        yield event + b"\n\n"
