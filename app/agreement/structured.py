"""An answer that is a JSON object or array, bare or in the only fenced block of a short text."""

import json
import re
from decimal import Decimal
from typing import Final

from app.agreement.words import has_fence

_FENCED: Final = re.compile(r"```(?:json|JSON)?[^\S\n]*\n(.*?)\n?\s*```", re.DOTALL)
_PROSE_MAX: Final = 200  # characters around a fenced block that may introduce it
_NAME_MAX: Final = 3  # words of a string that names something; a longer one is prose


class _Unclear(ValueError):
    """A key comes twice, or a number is none."""


def structure(text: str) -> object:
    """The JSON object or array that the text is; None when it is none."""
    body = text.strip()
    if has_fence(body):
        blocks = _FENCED.findall(body)
        if len(blocks) != 1 or body.count("```") != 2 or len(body) - len(blocks[0]) > _PROSE_MAX:
            return None
        body = blocks[0].strip()
    if body[:1] + body[-1:] not in ("{}", "[]"):
        return None
    try:
        return _DECODER.decode(body)
    except (ValueError, RecursionError, ArithmeticError):
        return None


def same_structure(one: object, other: object) -> bool | None:
    """True when equal but for the order of keys; False when a value is another; None when they are built otherwise."""
    try:
        if one == other:
            return True
        return False if _clash(one, other) else None
    except RecursionError:
        return None


def _clash(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and any(_clash(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other) or sorted(map(repr, one)) == sorted(map(repr, other)):
            return False  # the order may not matter
        return any(_clash(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, str) and isinstance(other, str):
        words = one.casefold().split(), other.casefold().split()
        return words[0] != words[1] and max(map(len, words)) <= _NAME_MAX
    return not isinstance(one, (dict, list)) and type(one) is type(other) and bool(one != other)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Unclear("a key comes twice")
    return found


def _number(text: str) -> tuple[Decimal]:
    """In a tuple, so that 1 is not equal to true."""
    return (Decimal(text),)


def _constant(text: str) -> object:
    raise _Unclear(text)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_number, parse_float=_number, parse_constant=_constant
)
