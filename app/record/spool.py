"""The spool: entries on a durable disk within milliseconds. One writer thread, one directory, one process.

The event loop puts an entry on a queue; the thread (pen.py) prepares, encodes and writes what has gathered with one
commit to the file (shelf.py) and tells the loop.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final

from app.errors import StartupError
from app.record.backlog import Item, Prepare, unchanged
from app.record.directory import keep_letter, take
from app.record.pen import Call, Pen, Report
from app.record.shelf import Place
from app.record.store import DeadLetter

logger = logging.getLogger(__name__)

FILE: Final = "spool.sqlite"

Deliver = Callable[[list[Item], bool], None]


class Spool:
    """A directory that this process alone owns. `open` takes it, `close` gives it back; both belong to one loop.

    max_bytes bounds the entries on it, min_free_bytes must stay free on its disk; the journal looks at both.
    """

    def __init__(self, directory: Path, *, max_bytes: int = 2 * 1024**3, min_free_bytes: int = 256 * 1024**2) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self.min_free_bytes = min_free_bytes
        self._pen = Pen(directory / FILE, unchanged, self._post, lambda _: None)
        self._lock: IO[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()

    async def open(self, prepare: Prepare, report: Callable[[Report], None]) -> None:
        """Take the directory, adopt what is in it and start the thread. Raises StartupError; an ill disk is none."""
        self._loop = asyncio.get_running_loop()
        self._lock = take(self.directory)
        self._pen = Pen(self.directory / FILE, prepare, self._post, report)
        begun: asyncio.Future[None] = self._loop.create_future()
        arguments = (lambda error: _resolve(begun, error), self._ended.set)
        self._thread = threading.Thread(target=self._pen.run, args=arguments, name="spool", daemon=True)
        self._thread.start()
        try:
            await begun
        except StartupError:
            self._release()
            raise

    def put(self, item: Item) -> None:
        """Write this; a report will tell. Returns at once."""
        self._pen.queue.put(item)

    def drop(self, items: Sequence[Item]) -> None:
        """These need not be kept any more; they go with what is written next; a crash before only repeats them."""
        self._pen.dropped.extend([Place(item.seq, item.id) for item in items])

    def read(self, after: int, before: int, entries: int, size: int, deliver: Deliver) -> None:
        """Ask for the oldest entries with a place between these; they are delivered in order with the reports."""
        pen = self._pen
        pen.queue.put(Call(lambda: self._post(deliver, *pen.read(after, before, entries, size))))

    async def lay_aside(self, letter: DeadLetter) -> None:
        """Keep a dead letter as a file; raises OSError."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def run() -> None:
            """In the thread."""
            try:
                keep_letter(self.directory, letter)
            except OSError as error:
                self._post(_resolve, answer, error)
            else:
                self._post(_resolve, answer, None)

        self._pen.queue.put(Call(run))
        await answer

    @property
    def error(self) -> str | None:
        """Why the disk cannot be written now."""
        return self._pen.trouble

    @property
    def free_bytes(self) -> int:
        """What was free on its disk within the last second."""
        return self._pen.free_bytes

    async def close(self, within_s: float) -> bool:
        """Write what is queued and stop the thread; False when the disk did not answer in time."""
        if self._thread is None:
            return True
        self._pen.queue.put(None)
        try:
            async with asyncio.timeout(within_s):
                await self._ended.wait()
        except TimeoutError as error:
            logger.error("the disk of the spool did not answer in %s s (%r)", within_s, error)  # noqa: TRY400
            return False
        self._release()
        return True

    def _release(self) -> None:
        """The thread has ended: give the directory back."""
        if self._thread is not None:
            self._thread.join()
        if self._lock is not None:
            self._lock.close()
        self._thread = self._lock = None

    def _post(self, call: Callable[..., object], *arguments: object) -> None:
        """Call this on the loop; after the loop's end nobody is left to be told."""
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)


def _resolve(answer: asyncio.Future[None], error: BaseException | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(None)
