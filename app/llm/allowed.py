"""Which models a question may name: those that an operator chose, and whatever else they let callers ask."""

import re
from collections.abc import Sequence
from fnmatch import translate
from typing import Final

from app.errors import ModelNotAllowed

EVERY: Final = "*"
OFF: Final = "off"


class Allowed:
    """chosen: names that always count; patterns: of further ones, in the style of a shell, over the whole name."""

    def __init__(self, chosen: frozenset[str], patterns: Sequence[str] = (EVERY,)) -> None:
        self.chosen = chosen
        self._patterns = tuple(patterns)
        self._every = EVERY in self._patterns
        self._matches = re.compile("|".join(map(translate, self._patterns)) or r"(?!)").match

    def check(self, name: str) -> None:
        """Raise ModelNotAllowed, which tells what is allowed, unless that model may be named."""
        if self._every or name in self.chosen or self._matches(name):
            return
        allowed = sorted(self.chosen | set(self._patterns))
        raise ModelNotAllowed(f"this server asks for callers only: {', '.join(allowed)}", allowed=allowed)


def parse_patterns(text: str) -> tuple[str, ...]:
    """`vertex:gemini-*, openai:*`, `*` for every model, or `off` for none. Raises ValueError."""
    patterns = tuple(part.strip() for part in text.split(",") if part.strip())
    if patterns == (OFF,):
        return ()
    for pattern in patterns:
        if pattern != EVERY and ":" not in pattern:
            raise ValueError(f"{pattern!r} is neither `provider:model`, perhaps with `*` and `?`, nor `*`, nor `off`")
    return patterns
