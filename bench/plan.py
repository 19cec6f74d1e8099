"""What is measured: workloads, each named by what its upstream does, and the bounds of every load."""

import re
from dataclasses import dataclass
from typing import Final

WORKLOADS: Final = {
    "W1": "fast-20t-0ms",
    "W2": "slow-100t-10ms-200ttft",
    "W3": "real-40t-100ms-200ttft",
    "long": "long-40t-250ms-200ttft",
}
MAX_TOKENS: Final = 10_000
STAMP_DIGITS: Final = 13  # each token's text ends with @ and this many digits: monotonic microseconds

_FIELD = re.compile(r"(\d+)(ttft|ms|t)")


@dataclass(frozen=True, slots=True)
class Answer:
    """How upstream answers: its number of tokens, the gap between two and the wait for the first, in milliseconds."""

    model: str
    tokens: int
    gap_ms: int
    first_ms: int

    @property
    def lasts_s(self) -> float:
        """How long one answer takes upstream, in seconds."""
        return (self.first_ms + self.gap_ms * (self.tokens - 1)) / 1000

    def ramp_s(self, streams: int) -> float:
        """The seconds over which the first requests are spread, so that streams are out of step."""
        if streams == 1:
            return 0.0
        return min(1.0, max(0.3, self.gap_ms / 100)) if self.gap_ms else 0.05

    def limit_s(self, streams: int, seconds: float) -> float:
        """When a load is cut whatever is still open: far beyond what a saturated server needs."""
        return 15 + seconds + 2 * self.lasts_s + streams * self.tokens * 0.0005


def read_answer(model: str) -> Answer:
    """What a model's name asks for: `<N>t` tokens, `<G>ms` apart, `<T>ttft` ms to the first; other words are free."""
    fields = {unit: int(number) for number, unit in (m.groups() for m in map(_FIELD.fullmatch, model.split("-")) if m)}
    if not 1 <= fields.get("t", 0) <= MAX_TOKENS:
        raise ValueError(f"{model!r} is no workload: one of {', '.join(WORKLOADS)}, or a name like 20t-10ms-200ttft")
    return Answer(model, fields["t"], fields.get("ms", 0), fields.get("ttft", 0))
