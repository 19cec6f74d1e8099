"""What stored answers were good for since this process began."""

from typing import Final

import msgspec

from app.answers.answer import Answer
from app.answers.level import Size

NANO: Final = 1_000_000_000


class LevelStats(msgspec.Struct, frozen=True):
    """One level: what it holds (None: it could not be asked), and what came of asking it.

    errors: calls that failed or were late, and values that were no answer. stuck: calls that outlive a cancellation.
    """

    entries: int | None
    bytes: int | None
    hits: int
    misses: int
    errors: int
    evictions: dict[str, int]
    state: str
    stuck: int = 0


class Saved(msgspec.Struct, frozen=True):
    """What the replays did not take again, as far as it is known."""

    latency_ms: float
    input_tokens: int
    output_tokens: int
    cost_usd: float


class Stats(msgspec.Struct, frozen=True):
    """All levels, from the top. dropped: answers that did not get to a level they were meant for."""

    levels: dict[str, LevelStats]
    lookups: int
    hits: int
    hit_rate: float | None
    replays: int
    saved: Saved
    dropped: int


class Counters:
    """The counts of one cache. memory_misses: lookups that went on to the levels below."""

    def __init__(self) -> None:
        self.hits = 0
        self.memory_hits = 0
        self.memory_misses = 0
        self._replays = 0
        self._latency_ms = 0.0
        self._input_tokens = 0
        self._output_tokens = 0
        self._cost_nano = 0

    def hit(self) -> None:
        """Memory had it."""
        self.hits += 1
        self.memory_hits += 1

    def miss(self) -> None:
        """Memory did not have it."""
        self.memory_misses += 1

    def credit(self, answer: Answer) -> None:
        """The answer was given once more; what is not known of it adds nothing."""
        self._replays += 1
        self._latency_ms += answer.latency_ms
        self._input_tokens += answer.usage.input_tokens or 0
        self._output_tokens += answer.usage.output_tokens or 0
        self._cost_nano += answer.cost_nano or 0

    def memory(self, size: Size, evictions: dict[str, int], state: str) -> LevelStats:
        """The level that is this process."""
        return LevelStats(*size, self.memory_hits, self.memory_misses, 0, evictions, state)

    def stats(self, levels: dict[str, LevelStats], dropped: int) -> Stats:
        """The counts now, together with those of the levels."""
        lookups = self.memory_hits + self.memory_misses
        return Stats(
            levels,
            lookups,
            self.hits,
            self.hits / lookups if lookups else None,
            self._replays,
            Saved(self._latency_ms, self._input_tokens, self._output_tokens, self._cost_nano / NANO),
            dropped,
        )
