"""The log of a run: append-only, each event encoded once to its final bytes, read by any number of cursors."""

import asyncio
from array import array
from collections.abc import Iterable, Iterator, Set
from itertools import accumulate
from typing import Literal

from app.question import Caller

Source = Literal["live", "cache"]


class Log:
    """The events of one run and its readers; whose run it is, and who else may read it.

    Belongs to one event loop. Appending wakes every waiting reader without a task or a lock.
    """

    def __init__(self, run_id: str, caller: Caller, fingerprint: str, source: Source = "live") -> None:
        self.run_id = run_id
        self.caller = caller
        self.fingerprint = fingerprint
        self.source: Source = source
        self.loop = asyncio.get_running_loop()
        self.opened_at = self.loop.time()
        self.at_ms = array("I")
        self.closed = False
        self.interrupted = False  # whoever wrote it died, and its `done` was written by somebody else
        self._bytes = bytearray()  # one buffer: an event costs what it is long, and 8 bytes
        self._ends = array("I")  # of each event in it
        self._readers: set[Reader] = set()
        self._welcome: set[Caller] = set()

    def __len__(self) -> int:
        """The number of events so far, which is the sequence number of the next one."""
        return len(self.at_ms)

    # -- writing

    def relay(self, block: bytes) -> None:
        """Append whole events that were encoded before; `done` closes the log."""
        events = list(split(block))
        self._push(block, map(len, events))
        if events and events[-1].startswith(b"event: done\n"):
            self._close()
        self._wake()

    def _add(self, event: bytes) -> None:
        """One event."""
        self._bytes += event
        self._ends.append(len(self._bytes))
        self.at_ms.append(self.elapsed_ms())

    def _push(self, block: bytes, lengths: Iterable[int]) -> None:
        """Events that came together."""
        ends = accumulate(lengths, initial=len(self._bytes))
        next(ends)
        self._ends.extend(ends)
        self.at_ms.extend(array("I", (self.elapsed_ms(),)) * (len(self._ends) - len(self.at_ms)))
        self._bytes += block

    def _close(self) -> None:
        self.closed = True

    def elapsed_ms(self) -> int:
        """Whole milliseconds since the run was opened."""
        return int((self.loop.time() - self.opened_at) * 1000)

    # -- reading

    def admit(self, caller: Caller) -> None:
        """Let another caller, who asked the same, read this run from now on."""
        self._welcome.add(caller)

    def admits(self, caller: Caller) -> bool:
        """Whether the run is this caller's to read."""
        return caller == self.caller or caller in self._welcome

    @property
    def welcome(self) -> Set[Caller]:
        """Who else may read it."""
        return self._welcome

    def attach(self, after: int = -1, *, guest: bool = False) -> "Reader":
        """A reader that begins behind event number `after`; a guest reads for a request that did not open the run."""
        reader = Reader(self, after, guest=guest)
        self._readers.add(reader)
        return reader

    def detach(self, reader: "Reader") -> None:
        """Forget a reader; harmless when called twice."""
        self._readers.discard(reader)

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake()

    def begin_of(self, seq: int) -> int:
        """At which byte of the log event number seq begins; the end of the log when there is no such event yet."""
        return self._ends[min(seq, len(self)) - 1] if seq else 0

    def since(self, begin: int, most: int | None = None) -> bytes:
        """The log from that byte on, or so many bytes of it."""
        return bytes(memoryview(self._bytes)[begin : None if most is None else begin + most])

    @property
    def size(self) -> int:
        """How many bytes the log has."""
        return len(self._bytes)

    @property
    def readers(self) -> int:
        """How many readers are attached."""
        return len(self._readers)

    @property
    def guests(self) -> int:
        """How many of them did not open the run."""
        return sum(reader.guest for reader in self._readers)


class Reader:
    """A cursor into a log. `wake` may be called by anybody, also to make the owner look at something else."""

    __slots__ = ("_log", "_taken", "_waiter", "guest")

    def __init__(self, log: Log, after: int, *, guest: bool) -> None:
        self._log = log
        self._taken = log.begin_of(after + 1)
        self._waiter: asyncio.Future[None] | None = None
        self.guest = guest

    def take(self, most: int | None = None) -> bytes:
        """Everything not yet read, in one piece, or so many bytes of it; empty when there is nothing new."""
        fresh = self._log.since(self._taken, most)
        self._taken += len(fresh)
        return fresh

    @property
    def ended(self) -> bool:
        """True when `done` has been taken."""
        return self._log.closed and self._taken == self._log.size

    def wait(self) -> asyncio.Future[None]:
        """Done at the next append or `wake`; call it after `take` came back empty. Cancelling loses nothing."""
        self._waiter = self._log.loop.create_future()
        return self._waiter

    def wake(self) -> None:
        """Let `wait` return."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Leave the log; harmless when called twice."""
        self._log.detach(self)


def split(block: bytes) -> Iterator[bytes]:
    """The whole events in some bytes of a log; an event's only empty line is its last."""
    for event in block.split(b"\n\n")[:-1]:
        yield event + b"\n\n"
