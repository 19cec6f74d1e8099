"""Carries answers to the levels behind everybody's back: a bounded queue, one task, one batch of what gathers."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final

from app.answers.answer import Answer, encode
from app.answers.guarded import Guarded
from app.answers.level import LevelUnavailable, Stored
from app.question import Key

logger = logging.getLogger(__name__)

GATHER_S: Final = 0.02
QUEUE_ENTRIES: Final = 1000
QUEUE_BYTES: Final = 32 * 1024 * 1024
BATCH_ENTRIES: Final = 100
BATCH_BYTES: Final = 4 * 1024 * 1024
CLOSE_S: Final = 1.0
CANCEL_S: Final = 0.25


@dataclass(slots=True)
class _Errand:
    """What is to be done about one key: first remove it from some levels, then put an answer into some."""

    answer: Answer | None = None
    into: set[Guarded] = field(default_factory=set)
    out_of: set[Guarded] = field(default_factory=set)

    @property
    def size(self) -> int:
        return self.answer.size if self.answer is not None else 0


class Writer:
    """Owned by the cache, which starts and closes it; it writes nothing while somebody else holds `lock`.

    dropped: answers, once a level, that found no place in the queue, or whose level failed or is spared.
    """

    def __init__(self, thread: Executor) -> None:
        self.lock = asyncio.Lock()
        self.dropped = 0
        self._thread = thread
        self._due: dict[Key, _Errand] = {}
        self._bytes = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="answers-writer")

    async def close(self) -> None:
        """Write what is queued, in a second at most."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=CLOSE_S)
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CANCEL_S)
        self.forget(lambda _: True, dropped=True)

    def put(self, answer: Answer, levels: Sequence[Guarded]) -> None:
        """Put it into these levels soon; a newer answer takes the place of an older one that still waits."""
        if not levels:
            return
        key = Key(answer.scope, answer.fingerprint)
        errand = self._due.get(key, _Errand())
        if errand.answer is not None and errand.answer.created_at > answer.created_at:
            answer = errand.answer
        if not self._has_room(key, answer.size - errand.size):
            self.dropped += len(levels)
            return
        self._bytes += answer.size - errand.size
        errand.answer = answer
        errand.into.update(levels)
        self._add(key, errand)

    def remove(self, key: Key, level: Guarded) -> None:
        """Take what is no answer out of that level soon."""
        if self._has_room(key, 0):
            errand = self._due.get(key, _Errand())
            errand.out_of.add(level)
            self._add(key, errand)

    def forget(self, which: Callable[[Key], bool], *, dropped: bool = False) -> None:
        """Do nothing of what is queued for these keys."""
        for key in [key for key in self._due if which(key)]:
            errand = self._due.pop(key)
            self._bytes -= errand.size
            self.dropped += len(errand.into) if dropped else 0

    def _has_room(self, key: Key, more: int) -> bool:
        known = key in self._due or len(self._due) < QUEUE_ENTRIES
        return known and self._bytes + more <= QUEUE_BYTES and not self._closing

    def _add(self, key: Key, errand: _Errand) -> None:
        self._due[key] = errand
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_S)  # what comes meanwhile shares the round trips
            self._wake.clear()
            while self._due:
                try:
                    await self._write()
                except Exception:  # a fault of ours costs its batch, not all answers from now on
                    logger.exception("a batch of answers could not be written")
            if self._closing:
                return

    async def _write(self) -> None:
        """Deal with the next batch, one after the other for a level, all levels at once."""
        async with self.lock:
            batch = self._taken()
            answers = [errand.answer for errand in batch.values() if errand.answer is not None]
            stored = await asyncio.get_running_loop().run_in_executor(self._thread, _stored, answers)
            levels = set[Guarded]().union(*(errand.into | errand.out_of for errand in batch.values()))
            async with asyncio.TaskGroup() as group:
                for level in levels:
                    group.create_task(self._write_level(level, batch, stored))

    async def _write_level(self, level: Guarded, batch: dict[Key, _Errand], stored: dict[Key, Stored]) -> None:
        for key, errand in batch.items():
            if level in errand.out_of and level.ready:
                try:
                    await level.remove(key)
                except LevelUnavailable:
                    break  # it is counted, and the next who reads there finds it again
        due = [key for key, errand in batch.items() if level in errand.into]
        ready = [stored[key] for key in due if key in stored]
        put = False
        try:
            put = bool(ready) and await level.put(ready)
        finally:  # also when the cache is closed before the level has answered
            self.dropped += len(due) - len(ready) * put

    def _taken(self) -> dict[Key, _Errand]:
        """Take a batch off the queue, oldest first."""
        batch: dict[Key, _Errand] = {}
        room = BATCH_BYTES
        while self._due and len(batch) < BATCH_ENTRIES and room > 0:
            key = next(iter(self._due))
            errand = batch[key] = self._due.pop(key)
            room -= errand.size
        self._bytes -= sum(errand.size for errand in batch.values())
        return batch


def _stored(answers: Sequence[Answer]) -> dict[Key, Stored]:
    """These as the levels take them, but for those that cannot be encoded."""
    made = {}
    for answer in answers:
        key = Key(answer.scope, answer.fingerprint)
        try:
            made[key] = Stored(key, answer.run_id, answer.expires_at, encode(answer))
        except Exception:  # a fault of ours in one answer must not cost the others
            logger.exception("the answer of run %s could not be encoded", answer.run_id)
    return made
