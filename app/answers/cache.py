"""Stored answers: looked for in memory, then level by level; a find is filled upwards; a level's failure is a miss."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, Self, TypeVar

from app.answers.answer import Answer, decode
from app.answers.guarded import Guarded
from app.answers.level import Level, LevelUnavailable, Size
from app.answers.lifetime import Lifetimes
from app.answers.memory import Memory
from app.answers.stats import Counters, Stats
from app.answers.writer import CANCEL_S, Writer
from app.breaker import Breaker
from app.errors import CacheUnavailable
from app.question import Key

logger = logging.getLogger(__name__)

INLINE_BYTES: Final = 16 * 1024  # to decode more takes about a millisecond or longer, and is done in a thread
THREADS: Final = 2

_T = TypeVar("_T")


class Bounded(NamedTuple):
    """A level, and how long a question waits for it."""

    level: Level
    timeout_s: float


class Cache:
    """Answers by key, over all levels. Belongs to one event loop; `async with` starts and ends its writer.

    Closed, it finds what is in memory and stores nothing beyond.
    """

    def __init__(
        self,
        memory: Memory,
        levels: Sequence[Bounded],
        lifetimes: Lifetimes,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._memory = memory
        self._levels = [Guarded(level, timeout_s, Breaker()) for level, timeout_s in levels]
        self._lifetimes = lifetimes
        self._wall = wall
        self._thread = ThreadPoolExecutor(THREADS, thread_name_prefix="answers")
        self._writer = Writer(self._thread)
        self._asking: dict[Key, asyncio.Future[Answer | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._age = 0  # rises with every removal: what was found before one must not fill a level after it
        self._closed = True
        self._counters = Counters()
        self._sizes: list[Size | None] = [None] * len(self._levels)

    async def __aenter__(self) -> Self:
        self._closed = False
        await self._writer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await self._writer.close()
        for level in self._levels:
            await level.close(CANCEL_S)
        self._thread.shutdown(wait=False, cancel_futures=True)

    # -- finding

    def at_hand(self, key: Key) -> Answer | None:
        """The answer if it is in memory; a miss is not counted, since `find` may follow."""
        answer = self._memory.get(key)
        if answer is not None:
            self._counters.hit()
        return answer

    async def find(self, key: Key) -> Answer | None:
        """The answer, from memory or from the first level that has it within its time. Raises nothing.

        Who asks for the same meanwhile shares the search, which goes on when one of them is cancelled. When there is
        nothing to wait for it does not yield to the loop.
        """
        answer = self.at_hand(key)
        if answer is not None:
            return answer
        self._counters.miss()
        asking = self._asking.get(key)
        if asking is None:
            if self._closed or not any(level.ready for level in self._levels):
                return None
            asking = self._begin(key)
        answer = await asyncio.shield(asking)
        self._counters.hits += answer is not None
        return answer

    def _begin(self, key: Key) -> asyncio.Future[Answer | None]:
        """A search of its own task, for all who ask."""
        asking: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._asking[key] = asking
        task = asyncio.create_task(self._search(key, asking), name="answers-search")
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if self._asking.get(key) is asking:
                del self._asking[key]
            if not asking.done():
                asking.set_result(None)  # the cache was closed

        task.add_done_callback(ended)
        return asking

    async def _search(self, key: Key, asking: asyncio.Future[Answer | None]) -> None:
        try:
            asking.set_result(await self._found(key))
        except Exception:  # whatever is wrong with a stored answer, the question can still be asked
            logger.exception("a stored answer could not be looked for")

    async def _found(self, key: Key) -> Answer | None:
        """Look down level by level, and fill those above that said they had none."""
        age = self._age
        without: list[Guarded] = []
        for level in self._levels:
            try:
                answer = await self._read(level, key)
            except LevelUnavailable:
                continue
            if answer is not None:
                if age == self._age:
                    self._memory.put(answer)
                    self._writer.put(answer, without)
                return answer
            without.append(level)
        return None

    async def _read(self, level: Guarded, key: Key) -> Answer | None:
        """The level's answer to exactly this; what is damaged, expired or another's is a miss, and removed.

        Raises LevelUnavailable.
        """
        data = await level.get(key)
        if data is None:
            return None
        if len(data) > INLINE_BYTES:
            answer = await asyncio.get_running_loop().run_in_executor(self._thread, decode, data)
        else:
            answer = decode(data)
        sound = answer is not None and _key(answer) == key and answer.expires_at > self._wall()
        level.found(sound=sound)
        if not sound:
            self._writer.remove(key, level)
            return None
        return answer

    # -- keeping and forgetting

    def until(self, prompt_class: str | None) -> float | None:
        """When an answer of now to a question of this class expires, in Unix time; None: it is not to be kept."""
        return self._lifetimes.until(self._wall(), prompt_class)

    def keep(self, answer: Answer, *, here: bool = False) -> None:
        """Hold it in memory at once and put it into every level soon; here: in the memory of this process alone."""
        if answer.expires_at > self._wall():
            self._memory.put(answer)
            if not here:
                self._writer.put(answer, self._levels)

    def credit(self, answer: Answer) -> None:
        """It was given once more."""
        self._counters.credit(answer)

    async def remove(self, key: Key) -> bool:
        """Forget one answer; whether there was one. Raises CacheUnavailable when a level failed, after all the others.

        Other instances hold it in their memory until it is too old for that.
        """
        held, removed = await self._everywhere(lambda each: each == key, lambda level: level.remove(key))
        return any([held, *removed])

    async def clear(self, scope: str | None) -> int:
        """As remove, for all answers of a scope, or all; how many there were on the level that had the most."""
        which = (lambda _: True) if scope is None else (lambda key: key.scope == scope)
        held, removed = await self._everywhere(which, lambda level: level.clear(scope))
        return max([held, *removed])

    async def _everywhere(
        self, which: Callable[[Key], bool], call: Callable[[Guarded], Awaitable[_T]]
    ) -> tuple[int, list[_T]]:
        """Do this to all levels at once while nothing is written, and let nothing found before it come back.

        How many there were in memory, and what the levels returned.
        """
        held = self._forget(which)
        async with self._writer.lock:
            results = await asyncio.gather(*(_tried(call(level)) for level in self._levels))
        self._forget(which)  # what was found in a level just before it was removed there
        failed = [level.name for level, result in zip(self._levels, results, strict=True) if result is None]
        if failed:
            raise CacheUnavailable(f"not removed from {' and '.join(failed)}, try again later", levels=failed)
        return held, [result for result in results if result is not None]

    def _forget(self, which: Callable[[Key], bool]) -> int:
        self._age += 1
        self._writer.forget(which)
        for key in filter(which, list(self._asking)):
            del self._asking[key]  # who asks from now on does not share a search that began before
        return self._memory.forget(which)

    # -- what an operator sees

    @property
    def state(self) -> Mapping[str, str]:
        """By level: `ok`, `off` (memory of no size), `away` (it failed, and is spared for a while) or `stuck`."""
        return {"memory": "off" if self._memory.off else "ok"} | {level.name: level.state for level in self._levels}

    @property
    def breakers(self) -> dict[str, Breaker]:
        """By level beyond memory."""
        return {level.name: level.breaker for level in self._levels}

    @property
    def last_ms(self) -> dict[str, float | None]:
        """How long the last call of each level beyond memory took."""
        return {level.name: level.last_ms for level in self._levels}

    async def stats(self) -> Stats:
        """The counts, and what each level holds now; within about a second."""
        self._sizes = await asyncio.gather(*(level.size() for level in self._levels))
        return self.counts()

    def counts(self) -> Stats:
        """The same at once; what the levels below memory hold is as `stats` found it the last time."""
        memory = self._counters.memory(self._memory.size(), dict(self._memory.evictions), self.state["memory"])
        beyond = {level.name: level.stats(size) for level, size in zip(self._levels, self._sizes, strict=True)}
        return self._counters.stats({"memory": memory, **beyond}, self._writer.dropped)


def _key(answer: Answer) -> Key:
    return Key(answer.scope, answer.fingerprint)


async def _tried(call: Awaitable[_T]) -> _T | None:
    """What it returns; None when the level is unavailable."""
    try:
        return await call
    except LevelUnavailable:
        return None
