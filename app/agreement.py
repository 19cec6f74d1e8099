"""Do two answers say the same? Two rungs so far: the same words, or a last number to compare; otherwise unknown.

A wrong `agree` tells somebody that an answer was verified when it was not, so every doubt is `unknown`: a sign, a unit,
a scale, a negation or a second number that only one of the answers has.
"""

import re
import unicodedata
from decimal import Decimal
from typing import Final, NamedTuple

from app.events import Agreement

VERSION: Final = 1
MAX_CHARS: Final = 8_000  # of both answers together; more would hold up the event loop

# Around a word these say nothing; all other signs ("+", "%", "€", "-", "#") are kept.
_QUOTES: Final = "\"'`*_“”‘’«»„"  # noqa: RUF001  # these marks are meant
_EDGES: Final = _QUOTES + ".,;:!?¿¡…()[]{}。、「」『』"
_BULLET: Final = re.compile(r"^[^\S\n]*(?:[*•]|#+|-(?!\s*\d))\s+", re.MULTILINE)
_DASHES: Final = str.maketrans({"\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2019": "'"})
_DIGIT: Final = re.compile(r"\d")
_NUMBER: Final = re.compile(r"(?:(?<![\w)])[-+])?(?<![^\W\d_])(?:\d[\d.,]*|\.\d+)(?:[eE][-+]?\d{1,3}(?!\w))?")
_THOUSANDS: Final = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_SENTENCE: Final = re.compile(r"(?<=[.!?。])\s+|\n+")
_LETTER: Final = re.compile(r"[^\W\d_]")
_SCALE: Final = re.compile("percent|dozen|hundred|thousand|million|billion|trillion|k|m|bn")
_BRACKETS: Final = "()[]{}"

_POWER: Final = re.compile("[\u00b2\u00b3\u00b9\u2070-\u207f]")
_FRACTION: Final = re.compile("[\u00bc-\u00be\u2150-\u215f\u2189]")

# What may stand around a number without changing what it answers.
_CARRIER: Final = re.compile(
    r"so|thus|therefore|hence|then|the|final|answer|result|solution|total|is|are|equals|to|there|it|it's|that|that's"
    r"|we|get|have|an?|of|=|\\boxed"
)


class _Reading(NamedTuple):
    """The last of the numbers in a word, how many there are, and what stands before and behind it."""

    value: Decimal
    before: str
    after: str
    numbers: int


def compare(one: str, other: str) -> Agreement:
    """`disagree` on different final numbers, `agree` on equal words or on the same number stated, else `unknown`."""
    if one == other:
        return Agreement("agree", "exact", VERSION, None)
    if len(one) + len(other) > MAX_CHARS:
        return Agreement("unknown", "none", VERSION, None)
    words = _words(one), _words(other)
    finals = _final(words[0]), _final(words[1])
    if finals[0] and finals[1] and finals[0][0] != finals[1][0] and finals[0][1] == finals[1][1]:
        return Agreement("disagree", "final_number", VERSION, None)
    if words[0] == words[1]:
        return Agreement("agree", "exact", VERSION, None)
    stated = _stated(one)
    if stated is not None and stated == _stated(other):
        return Agreement("agree", "final_number", VERSION, None)
    return Agreement("unknown", "none", VERSION, None)


def normalised(text: str) -> str:
    """The words alone: compatibility characters, case, punctuation around words and white space folded."""
    return " ".join(_words(text))


def final_number(text: str) -> Decimal | None:
    """The last number in the text, thousands separators removed; None when there is none that can be read."""
    final = _final(_words(text))
    return final[0] if final else None


def _words(text: str) -> list[str]:
    words: list[str] = []
    for token in _BULLET.sub("", _folded(text)).split():
        number = _DIGIT.search(token) is not None
        word = (token.strip(_QUOTES).rstrip(".,;:" + _QUOTES) if number else token.strip(_EDGES)) or token
        unit = len(word) <= 3 and bool(words) and words[-1][-1].isdecimal()  # MW is not mW
        words.append(word if unit or word[0].isdecimal() else word.lower())
    return words


def _folded(text: str) -> str:
    """Compatibility characters as their plain ones; a power and a fraction stay what they are."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", _FRACTION.sub(r" \g<0>", _POWER.sub(r"^\g<0>", text))).translate(_DASHES)


def _read(word: str) -> _Reading | None:
    """The last number of a word; None when there is none, or when it can be read in two ways: 3,5 or 1.2.3."""
    matches = list(_NUMBER.finditer(word))
    if not matches:
        return None
    start, text = matches[-1].start(), matches[-1][0].rstrip(".,")
    mantissa = re.split("[eE]", text)[0]
    if mantissa.count(".") > 1 or ("," in mantissa and not _THOUSANDS.fullmatch(mantissa)):
        return None
    before, after = word[:start].strip(_BRACKETS), word[start + len(text) :].strip(_BRACKETS)
    return _Reading(Decimal(text.replace(",", "")), before, after, len(matches))


def _final(words: list[str]) -> tuple[Decimal, tuple[str, ...]] | None:
    """The last number of a text, with the signs, unit and scale that say what kind of number it is."""
    last = next((index for index in reversed(range(len(words))) if _DIGIT.search(words[index])), None)
    reading = None if last is None else _read(words[last])
    if last is None or reading is None:
        return None
    signs = re.split(r"[\w.,=]", reading.before)[-1].strip(_BRACKETS)
    return reading.value, (signs, reading.after, *filter(_SCALE.fullmatch, words[last + 1 : last + 2]))


def _stated(text: str) -> tuple[Decimal, list[str]] | None:
    """The only number of a text's last sentence, and every word there that may change what it says."""
    sentences = [sentence for sentence in _SENTENCE.split(text) if sentence.strip()]
    left, _, right = sentences[-1].partition("=") if sentences else ("", "", "")
    calculation = right and "=" not in right and not _LETTER.search(left)  # 6 * 7 = 42 states 42
    words = _words(right if calculation else left + "=" + right if right else left)
    places = [index for index, word in enumerate(words) if _DIGIT.search(word)]
    reading = _read(words[places[0]]) if len(places) == 1 else None
    if reading is None or reading.numbers > 1:
        return None
    around = [*words[: places[0]], reading.before, reading.after, *words[places[0] + 1 :]]
    return reading.value, [word for word in around if word and not _CARRIER.fullmatch(word)]
