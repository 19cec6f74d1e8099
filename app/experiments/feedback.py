"""What somebody says about a run afterwards: a name, a value and perhaps a comment; saying it twice changes nothing."""

import math
import re
from typing import Any, Final, NamedTuple, Protocol

from app.errors import MalformedRequest
from app.events import clean
from app.question import Caller

NAMES_MAX: Final = 32
TEXT_MAX: Final = 2_000
JUDGEMENTS: Final = frozenset({"fast_correct", "slow_correct"})  # read by the statistics: true or false, nothing else

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

Value = bool | int | float | str


class Feedback(NamedTuple):
    """One thing that is said about a run."""

    name: str
    value: Value
    comment: str | None = None


class FeedbackStore(Protocol):
    """Where feedback is kept. Every call raises RecordUnavailable, and returns None when the caller has no such run."""

    async def put(self, caller: Caller, run_id: str, said: Feedback) -> dict[str, Any] | None:
        """Keep it in place of what was said under that name, and return it as it is kept."""
        ...

    async def remove(self, caller: Caller, run_id: str, name: str) -> bool | None:
        """Take back what was said under that name; False when nothing was."""
        ...

    async def said(self, caller: Caller, run_id: str) -> dict[str, dict[str, Any]] | None:
        """Everything that was said about a run, by name."""
        ...


def checked(name: str, value: Value, comment: str | None) -> Feedback:
    """The feedback, if it is bounded and makes sense; otherwise MalformedRequest names what is wrong."""
    checked_name(name)
    if name in JUDGEMENTS and not isinstance(value, bool):
        raise MalformedRequest(f"value: {name} is true or false")
    if isinstance(value, float) and not math.isfinite(value):
        raise MalformedRequest("value: must be a finite number")
    if isinstance(value, int) and abs(value) > 2**53:
        raise MalformedRequest("value: must be a number from -2^53 to 2^53")
    for field, text in (("value", value), ("comment", comment)):
        if isinstance(text, str) and len(text) > TEXT_MAX:
            raise MalformedRequest(f"{field}: must have at most {TEXT_MAX} characters")
    return Feedback(name, clean(value) if isinstance(value, str) else value, clean(comment) if comment else None)


def checked_name(name: str) -> str:
    """The name, if it is one."""
    if _NAME.fullmatch(name) is None:
        raise MalformedRequest("name: from 1 to 64 of a-z, 0-9 and _, beginning with a letter")
    return name
