"""The writer thread of the spool: takes what the loop put on a queue, writes it in groups and reports.

While the disk is ill, entries stay here in memory and are tried again.
"""

import contextlib
import logging
import queue
import shutil
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from app.errors import StartupError
from app.record.backlog import Item, Prepare, shape
from app.record.directory import set_aside
from app.record.shelf import Found, Place, Shelf, is_corrupt

logger = logging.getLogger(__name__)

GROUP_ENTRIES: Final = 128  # a report of them takes the loop less than a millisecond
GROUP_BYTES: Final = 8 * 1024 * 1024
IDLE_S: Final = 1.0  # between looks at the disk while nothing comes
RETRY_S: Final = 0.25  # between attempts at an ill disk
SLICE_S: Final = 0.0005  # of work on entries, after which the event loop may have the interpreter
REST_S: Final = 0.00002
STALL_S: Final = 1.0  # of one write, after which the disk is said not to answer


class Report(NamedTuple):
    """What the thread tells the loop, one thing at a time, in the order in which it happened.

    landed: these are durable. stranded: these are not, so far. adopted: an earlier process left this. aside: the name
    of a damaged file that was replaced.
    """

    landed: Sequence[Item] = ()
    stranded: Sequence[Item] = ()
    adopted: Found | None = None
    aside: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """To be run after the next commit; it never raises."""

    run: Callable[[], object]


@dataclass(slots=True)
class _Group:
    """What is written with one commit, and what is done after it."""

    items: list[Item] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing came."""
        return not (self.items or self.calls)


class Post(Protocol):
    """Calls something on the event loop, in the order of the posts."""

    def __call__(self, call: Callable[..., object], *arguments: object) -> None:
        """Returns at once, from any thread."""
        ...


class Pen:
    """What the thread works with. Other threads may only add to `queue` and `dropped` and look at the rest."""

    def __init__(self, path: Path, prepare: Prepare, post: Post, report: Callable[[Report], None]) -> None:
        self.queue: queue.SimpleQueue[Item | Call | None] = queue.SimpleQueue()
        self.dropped: deque[Place] = deque()  # what need not be kept; it goes with what is written next
        self.error: str | None = None  # why the disk cannot be written now
        self.free_bytes = 0
        self._path = path
        self._prepare = prepare
        self._post = post
        self._report = report
        self._shelf: Shelf | None = None
        self._adopted = False
        self._homeless: list[Item] = []
        self._dropped: list[Place] = []
        self._begun = False
        self._busy_since: float | None = None  # when the disk was last asked for something that it has not done yet
        self._tried_at = self._looked_at = float("-inf")

    @property
    def trouble(self) -> str | None:
        """Why the disk cannot be written now, or that it says nothing."""
        since = self._busy_since
        silent_s = 0.0 if since is None else time.monotonic() - since
        return f"disk: no answer for {silent_s:.0f} s" if silent_s >= STALL_S else self.error

    def run(self, begun: Callable[[StartupError | None], None], ended: Callable[[], None]) -> None:
        """The thread: open the file, then turn after turn until told to stop; no fault of ours ends it before."""
        try:
            self._work(_Group(), quiet=True)
        except StartupError as error:
            self._post(begun, error)
            return
        self._begun = True
        self._post(begun, None)
        while self._turn():
            pass
        if self._shelf is not None:
            with contextlib.suppress(sqlite3.Error):
                self._shelf.close()
        self._post(ended)

    def _turn(self) -> bool:
        """One group; False when it was the last."""
        group = _Group()
        going = True
        try:
            going = self._gather(group)
            self._busy_since = time.monotonic()
            self._work(group, quiet=not going or group.is_empty)
        except Exception:  # the record outlives a fault in its writer; what was in hand is tried again
            logger.exception("the writer of the spool failed; it goes on")
            self._strand([item for item in group.items if item not in self._homeless])
            time.sleep(RETRY_S)  # the pen has a thread of its own
        finally:
            self._busy_since = None
        return going

    def _gather(self, group: _Group) -> bool:
        """Wait for something, then take what has come, shaped, up to the bounds of a group; False at the end."""
        size, rested = 0, time.perf_counter()
        try:
            command = self.queue.get(timeout=RETRY_S if self._homeless else IDLE_S)
            while command is not None:
                if isinstance(command, Item):
                    shape(command, self._prepare)
                    group.items.append(command)
                    size += command.length
                else:
                    group.calls.append(command)
                if len(group.items) >= GROUP_ENTRIES or size >= GROUP_BYTES:
                    return True
                if time.perf_counter() - rested > SLICE_S:
                    time.sleep(REST_S)  # lets the event loop have the interpreter
                    rested = time.perf_counter()
                command = self.queue.get_nowait()
        except queue.Empty:
            return True
        return False

    def _work(self, group: _Group, *, quiet: bool) -> None:
        """Write a group if the disk may be tried, then do what was asked for after it.

        What is dropped goes with the next entries, or when there are none for a while.
        """
        while self.dropped:
            self._dropped.append(self.dropped.popleft())
        now = time.monotonic()
        if now - self._looked_at >= IDLE_S:
            self._look_at_disk(now)
        if self.error is not None and not quiet and now - self._tried_at < RETRY_S:
            self._strand(group.items)
        elif quiet or group.items or self._homeless or len(self._dropped) >= GROUP_ENTRIES:
            self._tried_at = now
            self._attempt(group.items)
        for call in group.calls:
            try:
                call.run()
            except Exception:  # what is asked for beside the entries must not harm them
                logger.exception("the writer of the spool could not do what it was asked for")

    def _attempt(self, items: list[Item]) -> None:
        """Write these, after those that wait for the disk, to the file, or to a new one if it is damaged."""
        self._homeless = [item for item in self._homeless if not item.settled] + items
        for _ in range(2):
            try:
                self._tell(Report(adopted=self._open_shelf()))
                self._write_all()
            except Exception as error:  # a fault of our own is told like one of the disk
                if isinstance(error, StartupError) and not self._begun:
                    raise
                if not self._fail(error):
                    break
            else:
                break
        if left := self._homeless[-len(items) :] if items else []:
            self._tell(Report(stranded=left))

    def _write_all(self) -> None:
        """Group after group until nothing waits; each is durable before the next begins."""
        assert self._shelf is not None
        if not (self._homeless or self._dropped):
            self._shelf.tidy()
        while self._homeless or self._dropped:
            self._busy_since = time.monotonic() if self._begun else None
            group = self._homeless[:GROUP_ENTRIES]
            self._shelf.write(group, self._dropped)
            self._homeless, self._dropped = self._homeless[GROUP_ENTRIES:], []
            self._tell(Report(group))
        self.error = None

    def _strand(self, items: list[Item]) -> None:
        """Keep these in memory until the disk is well."""
        self._homeless += items
        self._tell(Report(stranded=items))

    def _open_shelf(self) -> Found | None:
        """Open the file if it is not; what an earlier process left is adopted once, before anything is written."""
        if self._shelf is not None:
            return None
        self._shelf = Shelf(self._path)
        if self._adopted:
            self._shelf.remember()
            return None
        found = self._shelf.adopt()
        self._adopted = True
        return found

    def _fail(self, error: Exception) -> bool:
        """Note why the disk cannot be used and give the file up; True when it was damaged and is out of the way."""
        damaged = isinstance(error, sqlite3.Error) and is_corrupt(error)
        if self._shelf is not None:
            with contextlib.suppress(sqlite3.Error):
                self._shelf.close()
        self._shelf = None
        ours = not isinstance(error, sqlite3.Error | OSError | StartupError)
        if self.error is None:
            logger.error("the spool cannot be used: %s", error, exc_info=ours)
        self.error = f"fault: {type(error).__name__}" if ours else f"{'corrupt' if damaged else 'disk'}: {error}"
        return damaged and self._set_aside()

    def _set_aside(self) -> bool:
        """Put the damaged file out of the way; False when even that cannot be done now."""
        try:
            aside = set_aside(self._path)
        except OSError:
            return False
        logger.error("the spool was damaged; it is kept as %s and a new one is begun", aside)
        self._dropped = []
        self._tell(Report(aside=aside))
        return True

    def read(self, after: int, before: int, entries: int, size: int) -> tuple[list[Item], bool]:
        """From the file, also while it cannot be written; nothing while it cannot be read."""
        try:
            self._tell(Report(adopted=self._open_shelf()))
            assert self._shelf is not None
            return self._shelf.read(after, before, entries, size)
        except Exception as error:  # noqa: BLE001  # as above: whoever asked must be answered
            self._fail(error)
            return [], False

    def _look_at_disk(self, now: float) -> None:
        """How much is free, and is the file still there? An unreadable disk shows when it is written."""
        self._looked_at = now
        with contextlib.suppress(OSError):
            self.free_bytes = shutil.disk_usage(self._path.parent).free
            if self._shelf is not None and not self._path.exists():  # what is written to it dies with this process
                self._fail(FileNotFoundError("somebody has removed its file"))
                self._dropped = []
                self._tell(Report(aside="removed by somebody"))

    def _tell(self, report: Report) -> None:
        if any(report):
            self._post(self._report, report)
