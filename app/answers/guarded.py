"""A level as the cache asks it: no call takes longer than its bound, failures are counted, a sick level is spared."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

from app.answers.level import Level, LevelUnavailable, Size, Stored
from app.answers.stats import LevelStats
from app.breaker import Breaker
from app.question import Key

logger = logging.getLogger(__name__)

WRITE_S: Final = 1.0  # at least, for what nobody waits for
CLEAR_S: Final = 30.0  # it may have to walk over every key
STRAYS: Final = 8  # calls that outlive their cancellation; a level with as many is not asked

_T = TypeVar("_T")


class Guarded:
    """One level behind its breaker. hits and misses count the answers asked for, errors all calls that went wrong.

    A call that does not heed its cancellation is left alone: it becomes a stray, until it ends.
    """

    def __init__(self, level: Level, timeout_s: float, breaker: Breaker) -> None:
        self._level = level
        self._timeout_s = timeout_s
        self.breaker = breaker
        self._strays: set[asyncio.Task[Any]] = set()
        self.name = level.name
        self.last_ms: float | None = None  # what the last call took
        self.hits = 0
        self.misses = 0
        self.errors = 0

    @property
    def ready(self) -> bool:
        """Whether it would be asked now."""
        return self.stuck < STRAYS and self.breaker.ready(asyncio.get_running_loop().time())

    @property
    def stuck(self) -> int:
        """How many calls have not ended that nobody waits for any more."""
        return len(self._strays)

    @property
    def state(self) -> str:
        """`ok`; `away` while it is spared; `stuck` while too many calls to it do not end."""
        if self.stuck >= STRAYS:
            return "stuck"
        return "ok" if self.breaker.state == "closed" else "away"

    async def get(self, key: Key) -> bytes | None:
        """What it holds; `found` is then told whether it is an answer. Raises LevelUnavailable, also when spared."""
        if not self._may():
            raise LevelUnavailable("spared")
        data = None
        try:
            data = await self._watched(self._level.get(key), self._timeout_s)
        finally:
            self.misses += data is None
        return data

    def found(self, *, sound: bool) -> None:
        """What `get` returned was an answer; or it was not, which is a miss."""
        if sound:
            self.hits += 1
        else:
            self.misses += 1
            self.errors += 1

    async def put(self, batch: Sequence[Stored]) -> bool:
        """Store these; False when it failed, was late or is spared."""
        if not self._may():
            return False
        try:
            await self._watched(self._level.put(batch), max(self._timeout_s, WRITE_S))
        except LevelUnavailable:
            return False
        return True

    async def remove(self, key: Key) -> bool:
        """Forget one, also of a level that is spared; whether it was there. Raises LevelUnavailable."""
        return await self._watched(self._level.remove(key), max(self._timeout_s, WRITE_S))

    async def clear(self, scope: str | None) -> int:
        """Forget all of a scope, or all, also of a level that is spared; how many. Raises LevelUnavailable."""
        return await self._watched(self._level.clear(scope), CLEAR_S)

    async def size(self) -> Size | None:
        """How much there is now; None when it fails, is late or is spared. That is not counted."""
        if self.state != "ok":
            return None
        try:
            return await self._bounded(self._level.size(), max(self._timeout_s, WRITE_S))
        except LevelUnavailable:
            return None

    def stats(self, size: Size | None) -> LevelStats:
        """The counts, with what `size` said."""
        entries, held = size or (None, None)
        return LevelStats(entries, held, self.hits, self.misses, self.errors, {}, self.state, self.stuck)

    async def close(self, within_s: float) -> None:
        """Give the strays a last while to end."""
        if self._strays:
            await asyncio.wait(self._strays, timeout=within_s)

    def _may(self) -> bool:
        return self.ready and self.breaker.ask(asyncio.get_running_loop().time())

    async def _watched(self, call: Coroutine[Any, Any, _T], within_s: float) -> _T:
        """As _bounded, and the breaker is told how it went."""
        before = self.breaker.state
        try:
            result = await self._bounded(call, within_s)
        except LevelUnavailable as error:
            self.errors += 1
            self.breaker.failed(asyncio.get_running_loop().time())
            if before == "closed" and self.breaker.state == "open":
                logger.warning("the stored answers in %s are away: %s", self.name, error)
            raise
        self.breaker.succeeded()
        if before != "closed":
            logger.info("the stored answers in %s are back", self.name)
        return result

    async def _bounded(self, call: Coroutine[Any, Any, _T], within_s: float) -> _T:
        """What the call returns; raises LevelUnavailable whatever it raises, or after within_s seconds.

        A task group or asyncio.timeout would wait for a call that swallows its cancellation.
        """
        began = time.perf_counter()
        task = asyncio.create_task(call, name=f"answers-{self.name}")
        try:
            await asyncio.wait([task], timeout=within_s)
        finally:
            self.last_ms = round((time.perf_counter() - began) * 1000, 3)
            if not task.done():
                self._abandon(task)
        if not task.done():
            raise LevelUnavailable(f"no answer within {within_s:g} s")
        if task.cancelled():
            raise LevelUnavailable("the call was cancelled from within")
        error = task.exception()
        if error is not None and not isinstance(error, LevelUnavailable):
            logger.error("the stored answers in %s failed", self.name, exc_info=error)
            raise LevelUnavailable(type(error).__name__) from error
        return task.result()

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        self._strays.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._strays.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not complain of it
