"""Numbers in a sentence with what belongs to them: sign, currency, unit, the word that is counted."""

import re
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

from app.agreement.numbers import value
from app.agreement.units import CURRENCIES, unit

Value = Decimal | date | tuple[int, int]  # the last is a fraction, reduced to no lower terms

_NUMBER: Final = re.compile(r"(?:\d(?:[\d.,]*\d)?|(?<![\d.,])\.\d+)(?:[eE][-+]?\d{1,3}(?!\w))?(?:/\d+(?![\w/]))?")
_NEXT: Final = re.compile(r"\s(?:\()?([ap]\.m|[^\W\d_]+|%|°[CF]?|[$€£¥])")
_OPEN: Final = "([{\"'*_`=:#\u201c\u2018«„"
_CLOSE: Final = ".,;:)]}\"'*_`。\u201d\u2019»"
_RATE: Final = re.compile(r"/[^\W\d_]+$")
_GLUED: Final = re.compile(r"[^\W_]")
_PARTICLES: Final = """in of to for per after before on at is are was were and that which from each every more left
 total the a an by than with as he she they it we you so when because since less now x or not but if altogether"""
_NO_NOUN: Final = frozenset(_PARTICLES.split())  # what may follow a number without being what is counted


class Quantity(NamedTuple):
    """A number and where it stands; value is None when it is part of something else or can be read in two ways."""

    start: int
    end: int
    value: Value | None
    unit: str
    noun: str
    fraction: bool = False


def quantities(sentence: str) -> list[Quantity]:
    """Every number in the sentence, in order."""
    return [_quantity(sentence, match) for match in _NUMBER.finditer(sentence)]


def values(text: str) -> set[Value | None]:
    """Every number that the text mentions, without its sign; None stands for those that cannot be read."""
    return {_value(match[0], negative=False) for match in _NUMBER.finditer(text)}


def unit_of(value: Value, text: str) -> str:
    """The unit with which the text mentions a number last; empty when it never does."""
    plain = text.replace("\n", "  ")
    found = ""
    for match in _NUMBER.finditer(plain):
        if _value(match[0], negative=False) == value:
            found = _quantity(plain, match).unit or found
    return found


def _quantity(sentence: str, match: re.Match[str]) -> Quantity:
    start, end = match.span()
    until = sentence.find(" ", end)
    suffix = sentence[end : until if until >= 0 else len(sentence)].rstrip(_CLOSE)
    lead = _lead(sentence, start)
    measure, noun = _kind(sentence, end, _RATE.sub("", suffix) if "/" in suffix else suffix)
    if lead is None or measure is None:
        return Quantity(start, end, None, "", "")
    currency = lead.strip("+-")
    if currency and measure == currency:
        measure = ""
    number = _value(match[0], negative="-" in lead)
    return Quantity(start, end, number, currency + measure, noun, "/" in match[0])


def _lead(sentence: str, start: int) -> str | None:
    """The sign and currency before a number; None when it is part of something else, as in H2O, 3-5 or - 5."""
    before = sentence[sentence.rfind(" ", 0, start) + 1 : start]
    if not before:
        return None if sentence[max(0, start - 2) : start] in ("- ", "+ ") else ""
    run = _GLUED.split(before)[-1]
    core = run.lstrip(_OPEN)
    if core.strip(CURRENCIES) not in ("", "+", "-"):
        return None
    if len(run) < len(before) and (not run or core == run or (run[0] == ":" and before[-len(run) - 1].isdigit())):
        return None  # the last are the minutes of a time
    return core


def _kind(sentence: str, end: int, suffix: str) -> tuple[str | None, str]:
    """Unit and counted word; the unit is None when the number is part of something else, as in 5! or 10^2."""
    if suffix:
        known = suffix if suffix in CURRENCIES else unit(suffix)
        if known:
            return known, ""
        return (None, "") if suffix.isascii() or not suffix.isalpha() else ("", suffix)
    following = _NEXT.match(sentence, end)
    if not following or following[1].lower() in _NO_NOUN:
        return "", ""
    word = following[1]
    known = word if word in CURRENCIES else unit(word)
    return (known, "") if known else ("", word.lower().rstrip("s"))


def _value(text: str, *, negative: bool) -> Value | None:
    if text.isdecimal():
        return Decimal("-" + text if negative else text)
    top, slash, bottom = text.partition("/")
    number = value(top)
    if number is None or not slash:
        return number.copy_negate() if number is not None and negative else number
    if not top.isdecimal() or not bottom.isdecimal() or len(text) > 20 or not int(bottom):
        return None
    quotient = Decimal(top) / Decimal(bottom)
    if quotient * Decimal(bottom) == number:
        return -quotient if negative else quotient
    return (-int(top) if negative else int(top)), int(bottom)
