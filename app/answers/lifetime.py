"""How long an answer may be given again: by the class of its question, shortened at random."""

import math
import random
from collections.abc import Callable, Mapping
from typing import Final

MOST_S: Final = 31_536_000.0  # a year


class Lifetimes:
    """ttl_s for every answer but those of a class that has its own; 0 keeps none of that class.

    Each is shortened by up to the share `jitter`, so that answers stored together do not all expire together.
    """

    def __init__(
        self, ttl_s: float, by_class: Mapping[str, float], jitter: float, chance: Callable[[], float] = random.random
    ) -> None:
        self._ttl_s = ttl_s
        self._by_class = by_class
        self._jitter = jitter
        self._chance = chance

    def until(self, now: float, prompt_class: str | None) -> float | None:
        """When an answer of now expires, on the clock of `now`; None: it is not to be stored."""
        ttl_s = self._ttl_s if prompt_class is None else self._by_class.get(prompt_class, self._ttl_s)
        return now + ttl_s * (1 - self._jitter * self._chance()) if ttl_s > 0 else None


def parse_classes(text: str) -> dict[str, float]:
    """`faq=604800,news=0` as seconds by class. Raises ValueError that says which part is wrong."""
    lifetimes: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (piece.strip() for piece in part.rpartition("="))
        if not name:
            raise ValueError(f"{part!r} is not of the form class=seconds")
        if name in lifetimes:
            raise ValueError(f"the class {name!r} is named twice")
        lifetimes[name] = _seconds(name, value)
    return lifetimes


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MOST_S:
        raise ValueError(f"the class {name!r} needs a number of seconds from 0 to {MOST_S:.0f}, not {value!r}")
    return seconds
