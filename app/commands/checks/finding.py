"""What one look found, and what to do about it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

Mark = Literal["ok", "off", "mend", "stop"]
EXIT: Final[dict[Mark, int]] = {"ok": 0, "off": 0, "mend": 1, "stop": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """mark: fine; not used; something to mend; the server cannot start so. told and fix have no secret in them.

    ms: what was measured, if anything was.
    """

    check: str
    mark: Mark
    told: str
    fix: str = ""
    ms: float | None = None


def worst(findings: list[Finding]) -> int:
    """The exit status that stands for all of them."""
    return max((EXIT[finding.mark] for finding in findings), default=0)


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """How many milliseconds the block took, or has taken so far."""
    began = time.perf_counter()
    ended: list[float] = []

    def ms() -> float:
        return round(((ended[0] if ended else time.perf_counter()) - began) * 1000, 2)

    try:
        yield ms
    finally:
        ended.append(time.perf_counter())
