"""Something of Google's that expires: fetched in a thread, kept until shortly before its end, waited for briefly."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from app.record.store import StoreUnavailable

logger = logging.getLogger(__name__)

AHEAD_S: Final = 240.0  # before its end: a connection that begins now may take a while
WAIT_S: Final = 3.0
ABANDONED_S: Final = 30.0  # a thread that is not back by then is no longer waited for by anybody
DOUBT_S: Final = 30.0  # between two doubts
PAUSE_S: Final = 1.0  # between two fetches; a failure is meanwhile told to whoever asks

T = TypeVar("T")


class Fresh(NamedTuple, Generic[T]):
    """A value, and the time of day (seconds since 1970) at which it ends."""

    value: T
    until: float


class Renewed(Generic[T]):
    """One value for all who ask, of one event loop. Never more than one fetch is waited for, and nobody waits long.

    fetch runs in a thread of its own and may block; it raises StoreUnavailable with words, or whatever it likes. The
    thread does not hold up the end of the process. Cancelled, who waits leaves the fetch to the others.
    """

    def __init__(
        self, what: str, fetch: Callable[[], Fresh[T]], wait_s: float = WAIT_S, clock: Callable[[], float] = time.time
    ) -> None:
        self._what = what
        self._fetch = fetch
        self._wait_s = wait_s
        self._clock = clock  # of the day: the monotonic one may stand still while the machine sleeps
        self._kept: Fresh[T] | None = None
        self._flight: asyncio.Future[None] | None = None
        self._began = 0.0

    async def get(self) -> T:
        """The value. Raises StoreUnavailable when there is none that is good and none comes in time."""
        left = self._left()
        if left <= AHEAD_S:
            flight = self._start()
            if left <= 0:
                await asyncio.wait([flight], timeout=self._wait_s)
                if flight.done() and (error := flight.exception()) is not None:
                    raise error
        if self._kept is None or self._left() <= 0:
            raise StoreUnavailable(f"{self._what} did not come within {self._wait_s:g} s")
        return self._kept.value

    def doubt(self) -> None:
        """It may be good no longer, whatever it says: fetch another one, and use this one until that is there."""
        if self._clock() - self._began >= DOUBT_S:
            self._start()

    def _left(self) -> float:
        """Seconds for which the value is good."""
        return 0.0 if self._kept is None else self._kept.until - self._clock()

    def _start(self) -> asyncio.Future[None]:
        """The fetch that is under way or ended just now, or a new one."""
        now = self._clock()
        if self._flight is None or self._is_over(self._flight, now - self._began):
            loop = asyncio.get_running_loop()
            self._flight, self._began = loop.create_future(), now
            threading.Thread(
                target=self._run, args=(loop, self._flight), name=f"fetch {self._what}", daemon=True
            ).start()
        return self._flight

    def _is_over(self, flight: asyncio.Future[None], age_s: float) -> bool:
        """Whether nobody is to wait for that fetch any longer."""
        if not flight.done():
            return age_s >= ABANDONED_S
        return not 0.0 <= age_s < PAUSE_S  # below 0 when the clock was set back

    def _run(self, loop: asyncio.AbstractEventLoop, flight: asyncio.Future[None]) -> None:
        """In the thread: fetch, and tell the loop, if it is still there."""
        found: Fresh[T] | StoreUnavailable
        try:
            found = self._fetch()
        except StoreUnavailable as error:
            found = error
        except Exception as error:  # noqa: BLE001  # of libraries that promise nothing; what they say may hold a secret
            found = StoreUnavailable(f"{self._what} cannot be had: {type(error).__name__}")
            found.__cause__ = error
        try:
            loop.call_soon_threadsafe(self._land, flight, found)
        except RuntimeError:  # the loop is closed
            logger.debug("%s came after the end", self._what)

    def _land(self, flight: asyncio.Future[None], found: "Fresh[T] | StoreUnavailable") -> None:
        """In the loop: keep what came, and end the wait."""
        if isinstance(found, Fresh):
            self._kept = found
            flight.set_result(None)
            return
        logger.warning("%s", found.message)
        flight.set_exception(found)
        flight.exception()  # it may be that nobody waits
