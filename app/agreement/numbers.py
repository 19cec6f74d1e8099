"""Numbers in a text: how one is read, and which is the last."""

import re
from decimal import Decimal
from typing import Final, NamedTuple

from app.agreement.words import words

_DIGIT: Final = re.compile(r"\d")
_NUMBER: Final = re.compile(r"(?:(?<![\w)])[-+])?(?<![^\W\d_])(?:\d[\d.,]*|\.\d+)(?:[eE][-+]?\d{1,3}(?!\w))?")
_THOUSANDS: Final = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_EXPONENT: Final = re.compile("[eE]")
_BRACKETS: Final = "()[]{}"
SCALE: Final = re.compile("percent|dozen|hundred|thousand|million|billion|trillion|k|m|bn")


class Reading(NamedTuple):
    """The last number in a word, and what stands before and behind it."""

    value: Decimal
    before: str
    after: str


def value(text: str) -> Decimal | None:
    """The number that the digits, signs and separators spell; None when they can be read in two ways: 3,5 or 1.2.3."""
    mantissa = _EXPONENT.split(text)[0]
    if mantissa.count(".") > 1 or ("," in mantissa and not _THOUSANDS.fullmatch(mantissa)):
        return None
    return Decimal(text.replace(",", ""))


def final(found: list[str]) -> tuple[Decimal, tuple[str, ...]] | None:
    """The last number of these words, with the signs, unit and scale that say what kind of number it is."""
    last = next((index for index in reversed(range(len(found))) if _DIGIT.search(found[index])), None)
    reading = None if last is None else _read(found[last])
    if last is None or reading is None:
        return None
    signs = re.split(r"[\w.,=]", reading.before)[-1].strip(_BRACKETS)
    return reading.value, (signs, reading.after, *filter(SCALE.fullmatch, found[last + 1 : last + 2]))


def final_number(text: str) -> Decimal | None:
    """The last number in the text, thousands separators removed; None when there is none that can be read."""
    found = final(words(text))
    return found[0] if found else None


def _read(word: str) -> Reading | None:
    matches = list(_NUMBER.finditer(word))
    if not matches:
        return None
    start, text = matches[-1].start(), matches[-1][0].rstrip(".,")
    number = value(text)
    if number is None:
        return None
    return Reading(number, word[:start].strip(_BRACKETS), word[start + len(text) :].strip(_BRACKETS))
