"""A level of stored answers that is a dict, and can be made ill; answers to put into it."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

from app.answers.answer import Answer, Said
from app.answers.cache import Bounded, Cache
from app.answers.level import LevelUnavailable, Size, Stored
from app.answers.lifetime import Lifetimes
from app.answers.memory import Memory
from app.events import Agreement, LaneEnd, Usage
from app.question import Key, LaneName

Mood = Literal["well", "down", "raises", "frozen", "deaf", "slow", "garbage"]
MOODS: tuple[Mood, ...] = ("down", "raises", "frozen", "deaf")  # in which every call fails
KEY = Key("caller:me", "f" * 64)
LANES: tuple[LaneName, LaneName] = ("fast", "slow")


class DictLevel:
    """Holds what it is given. frozen: never answers; deaf: does not heed its cancellation either, until `heard` is set.

    slow: each reply takes slow_s. garbage: it returns damaged bytes.
    """

    def __init__(self, name: str = "redis", wall: Callable[[], float] = time.time) -> None:
        self.name = name
        self.mood: Mood = "well"
        self.slow_s = 0.01
        self.heard = asyncio.Event()
        self.called = asyncio.Event()
        self.calls: Counter[str] = Counter()
        self.batches: list[list[str]] = []
        self.kept: dict[Key, Stored] = {}
        self._wall = wall

    async def get(self, key: Key) -> bytes | None:
        """As the protocol says."""
        stored = self.kept.get(key)
        await self._call("get")
        if self.mood == "garbage":
            return b"\x01 no answer"
        return stored.encoded if stored is not None and stored.expires_at > self._wall() else None

    async def put(self, batch: Sequence[Stored]) -> None:
        """As the protocol says."""
        await self._call("put")
        self.batches.append([stored.run_id for stored in batch])
        for stored in batch:
            held = self.kept.get(stored.key)
            if held is None or held.expires_at <= self._wall() or held.run_id <= stored.run_id:
                self.kept[stored.key] = stored

    async def remove(self, key: Key) -> bool:
        """As the protocol says."""
        await self._call("remove")
        stored = self.kept.pop(key, None)
        return stored is not None and stored.expires_at > self._wall()

    async def clear(self, scope: str | None) -> int:
        """As the protocol says."""
        await self._call("clear")
        gone = [key for key in self.kept if scope in (None, key.scope)]
        return len([self.kept.pop(key) for key in gone])

    async def size(self) -> Size:
        """As the protocol says."""
        await self._call("size")
        lasting = [stored for stored in self.kept.values() if stored.expires_at > self._wall()]
        return Size(len(lasting), sum(len(stored.encoded) for stored in lasting))

    async def _call(self, what: str) -> None:
        self.calls[what] += 1
        self.called.set()
        if self.mood == "down":
            raise LevelUnavailable("connection refused")
        if self.mood == "raises":
            raise ZeroDivisionError
        if self.mood == "frozen":
            await asyncio.Event().wait()
        if self.mood == "slow":
            await asyncio.sleep(self.slow_s)
        while self.mood == "deaf" and not self.heard.is_set():
            try:
                await self.heard.wait()
            except asyncio.CancelledError:
                continue


def answer(key: Key = KEY, run: int = 1, text: str = "Paris.", **changes: Any) -> Answer:
    """A verified answer to that, by run number `run`, that expires in an hour."""
    now = time.time()
    usage = Usage(10, 2, None, None, "reported")
    end = {
        lane: LaneEnd(lane, "completed", None, None, retryable=False, ttft_ms=1.0, latency_ms=9.0, usage=usage,
                      cost_usd=0.001, model_version=None)
        for lane in LANES
    }  # fmt: skip
    values: dict[str, Any] = {
        "scope": key.scope,
        "fingerprint": key.fingerprint,
        "run_id": f"00000000-0000-7000-8000-{run:012}",
        "created_at": now + run,
        "expires_at": now + 3600,
        "lanes": {lane: Said(f"scripted:{lane}", text, "", "stop", end[lane]) for lane in LANES},
        "agreement": Agreement("agree", "exact", 1, 1.0),
        "change": "confirmed",
        "usage": Usage(20, 4, None, None, "reported"),
        "cost_nano": 2_000_000,
        "latency_ms": 80.0,
        "events": b"event: delta\n\n",
        "at_ms": (5,),
    }
    return Answer(**{**values, **changes})


def cache_of(*levels: DictLevel, timeout_s: float = 0.05, entries: int = 1000) -> Cache:
    """A cache over these, with a memory of so many entries."""
    memory = Memory(entries, 1_000_000, 900.0)
    return Cache(memory, [Bounded(level, timeout_s) for level in levels], Lifetimes(3600.0, {"news": 0.0}, 0.0))
