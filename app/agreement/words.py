"""The words of a text without what only decorates them; whether two texts have the same ones; how many they share."""

import re
import unicodedata
from collections.abc import Iterator
from itertools import zip_longest
from typing import AnyStr, Final

# Around a word these say nothing; all other signs ("+", "%", "€", "-", "#") are kept.
_QUOTES: Final = "\"'`*_“”‘’«»„"  # noqa: RUF001  # these marks are meant
_EDGES: Final = _QUOTES + ".,;:!?¿¡…()[]{}。、「」『』"
_BULLET: Final = re.compile(r"^[^\S\n]*(?:[*•]|#+|-(?!\s*\d))\s+", re.MULTILINE)
_DASHES: Final = str.maketrans({"\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2019": "'"})
_DIGIT: Final = re.compile(r"\d")
_POWER: Final = re.compile("[\u00b2\u00b3\u00b9\u2070-\u207f]")
_FRACTION: Final = re.compile("[\u00bc-\u00be\u2150-\u215f\u2189]")

# White space says something in program text: between fences, and where a later line is indented.
_FENCE: Final = re.compile(r"^\s*```[^\n]*\n?", re.MULTILINE)
_LAYOUT: Final = re.compile(r"\n(?:\t| {2,})(?![*•+-] |\d+[.)] )\S")
_PLAIN: Final = str.maketrans(dict.fromkeys(_EDGES + "#•-", " "))
_ASCII: Final = "".join(map(chr, range(128))).translate(_PLAIN).lower().encode() + bytes(range(128, 256))


def words(text: str) -> list[str]:
    """The words: compatibility characters, case, punctuation around them and bullets folded."""
    return list(_one_by_one(text))


def _one_by_one(text: str) -> Iterator[str]:
    last = ""
    for token in _BULLET.sub("", folded(text)).split():
        number = _DIGIT.search(token) is not None
        word = (token.strip(_QUOTES).rstrip(".,;:" + _QUOTES) if number else token.strip(_EDGES)) or token
        unit = len(word) <= 3 and last[-1:].isdecimal()  # MW is not mW
        last = word if unit or word[0].isdecimal() else word.lower()
        yield last


def normalised(text: str) -> str:
    """The words alone, one space between them."""
    return " ".join(words(text))


def folded(text: str) -> str:
    """Compatibility characters as their plain ones; a power and a fraction stay what they are."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", _FRACTION.sub(r" \g<0>", _POWER.sub(r"^\g<0>", text))).translate(_DASHES)


def compared(one: str, other: str) -> tuple[bool, float | None]:
    """Whether two texts have the same words in the same order, and their similarity.

    Where layout says something, in program text, equal means line by line.
    """
    alike = similarity(one, other)
    fenced = has_fence(one) or has_fence(other)
    if alike is not None and alike < 1 and not fenced and one.isascii() and other.isascii():
        return False, alike  # equal texts have equal sets of words
    if fenced or _LAYOUT.search(one) or _LAYOUT.search(other):
        return _lines(one) == _lines(other), alike
    return all(word == same for word, same in zip_longest(_one_by_one(one), _one_by_one(other))), alike


def has_fence(text: str) -> bool:
    """Whether program text may begin in it; one character is found faster than three."""
    return "`" in text and "```" in text


def similarity(one: str, other: str) -> float | None:
    """The share of different words that two texts have in common (Jaccard), from 0 to 1; None when they have none."""
    if one.isascii() and other.isascii():
        return _jaccard(set(one.encode().translate(_ASCII).split()), set(other.encode().translate(_ASCII).split()))
    return _jaccard(set(one.translate(_PLAIN).lower().split()), set(other.translate(_PLAIN).lower().split()))


def _jaccard(first: set[AnyStr], second: set[AnyStr]) -> float | None:
    shared = len(first & second)
    either = len(first) + len(second) - shared
    return round(shared / either, 3) if either else None


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in _FENCE.sub("", text).strip("\n").splitlines()]
