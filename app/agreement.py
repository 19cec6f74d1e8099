"""Do two answers say the same? Two rungs so far: the same words, or a last number to compare; otherwise unknown."""

import re
import unicodedata
from decimal import Decimal, InvalidOperation

from app.events import Agreement

VERSION = 1
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
_NOT_A_WORD = re.compile(r"[^\w]+")


def compare(one: str, other: str) -> Agreement:
    """`agree` on equal final numbers or equal words, `disagree` on different final numbers, else `unknown`."""
    numbers = final_number(one), final_number(other)
    if None not in numbers and numbers[0] != numbers[1]:
        return Agreement("disagree", "final_number", VERSION, None)
    if (normalised(one) or one.strip()) == (normalised(other) or other.strip()):
        return Agreement("agree", "exact", VERSION, None)
    if None not in numbers:
        return Agreement("agree", "final_number", VERSION, None)
    return Agreement("unknown", "none", VERSION, None)


def normalised(text: str) -> str:
    """The words alone: compatibility characters, case, punctuation and white space folded."""
    return _NOT_A_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def final_number(text: str) -> Decimal | None:
    """The last number in the text, thousands separators removed; None when there is none."""
    found = _NUMBER.findall(text)
    if not found:
        return None
    try:
        return Decimal(found[-1].replace(",", ""))
    except InvalidOperation:
        return None
