"""Payment cards, IBANs and phone numbers in a text; not prices, dates, sums, measures or plain numbers.

A place worth a look shows in the text's shape (see detectors.py): four digits on end, threes, pairs, or a plus.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

REACH: Final = 42  # no card, IBAN or phone number is longer

_RUNS: Final = (b"0000", b"000 000", b"00 00 00 00 00")
_CARDS: Final = tuple(
    re.compile(rf"(?<![\w.,-])(?:{form})(?!\w|[.,-]\d)")
    for form in (
        r"\d{14,19}",
        r"(?:\d{4}[ -]){3}\d{4}(?:[ -]\d{3})",
        r"(?:\d{4}[ -]){3}\d{4}",
        r"\d{4}[ -]\d{6}[ -]\d{4,5}",
    )
)
_ISSUER: Final = re.compile(
    r"4(?:\d{15}|\d{18})"
    r"|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|64[4-9]\d|65\d{2}|62\d{2}|35(?:2[89]|[3-8]\d))\d{12,15}"  # Discover, UnionPay, JCB
    r"|3(?:0[0-5]|[689]\d)\d{11}"  # Diners Club
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{10,15}"  # Maestro
)
_IBAN_HEAD: Final = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}")
# Country and length, of the ones in the SWIFT registry.
_LENGTHS: Final = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH CR HR LI LV",
        22: "BG BH DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip

# A group that gives nothing back is written as a look ahead and what it saw: before 3.11.5 Python's possessive groups
# match wrongly (gh-106052).
_GAP: Final = r"[ \u00a0./-]{0,2}"
_PLUS: Final = re.compile(
    rf"\+[1-9]\d{{0,2}}{_GAP}(?:\(\d{{1,5}}\){_GAP})?\d{{1,12}}(?=((?:[ \u00a0./-]\d{{1,12}}){{0,6}}))\1(?!\w)"
)
_NATIONAL: Final = re.compile(
    r"""(?x) (?<![\w.,+:/$€£*-]) (?<![=<>+*/$€£]\ ) (?:
      # 0049 30 123456, then the rest of it
      (?<!\d[ /-]) 00 [1-9]\d{0,2} [ /-] (?:\(?\d{1,5}\)?[ /-])? \d{2,12} (?=(?P<a>(?:[ -]\d{2,8}){0,5}))(?P=a)
    | (?<!\d[ /-]) 00 [2-9] \d{9,12}
    | (?:1[ .-])? (?:\([2-9]\d{2}\)[ ]?|[2-9]\d{2}(?P<sep>[.-])) [2-9]\d{2} (?(sep)(?P=sep)|[ .-]) \d{4}  # US
    | 1 - [2-9]\d{2} - [2-9]\d{2} - \d{4}
    | \(0\d{1,4}\) [ ]? \d{3,4} [ -]? \d{3,6}  # (020) 7946 0958
    | (?<!\d[ .-]) 0[1-9] (?:[ .-]\d{2}){4}  # 01 42 68 53 00
    | (?<!\d[ .-]) 0[1-9]\d{1,3} [ ]?[ /-][ ]? \d{3,8} (?=(?P<b>(?:[ -]\d{2,6}){0,3}))(?P=b)  # 030 1234567
    ) (?! \w | [.,:/]\d | -\d | [ ]?[=*+<%€$£] )"""
)
_LOCAL: Final = re.compile(r"\(?\d[\d()\u00a0 ./-]{5,20}\d(?!\w|[.,]\d|[ ]?[=*+%€$£])")
_INTRODUCED: Final = re.compile(
    r"(?i)\b(?:(?:tele)?phone|telefon|tel|mobile?|handy|cell|fax|whats ?app|sms|call|dial|ring|text|reach|contact)\b"
    r"[\s.:#]{0,4}(?:(?:number|nummer|no|nr|is|ist|me|us|him|her|at|on|under|unter|or)\b[\s.:]{0,3}){0,4}\Z"
)
_THOUSANDS: Final = re.compile(r"\d{1,4}(?:[ .\u00a0]000)+|\d{1,3}(?:[.\u00a0]\d{3}){2,}")
_DATE: Final = re.compile(r"(?:19|20)\d\d[-./ ]\d\d?[-./ ]\d\d?|\d\d?[-./ ]\d\d?[-./ ](?:19|20)\d\d")


def number_spans(text: str, shape: bytes, plus: bool) -> Iterator[tuple[int, int, str]]:
    """Every card, IBAN and phone number as (start, end, name), in no order; shape as detectors.Sketch has it."""
    if plus:
        yield from _after_plus(text, shape)
    tried: set[int] = set()
    for run in _RUNS:
        done = 0
        at = shape.find(run)
        while at >= 0:
            past = _end(shape, at)
            if shape.count(b"0", max(0, at - REACH), at + REACH) >= 7:
                for start in _starts(text, shape, at, done):
                    if start not in tried and (span := _number(text, shape, start)):
                        yield span
                        past = max(past, span[1])
                    tried.add(start)
                done = at + 1
            at = shape.find(run, past)


def _end(shape: bytes, at: int) -> int:
    """Where the run of digits at a place ends; a run longer than any number we look for is left in steps."""
    digits = shape[at : at + REACH]
    return at + len(digits) - len(digits.lstrip(b"0"))


def _starts(text: str, shape: bytes, at: int, done: int) -> Iterator[int]:
    """Where the number around a place may begin: with each group of digits from done on, or where an IBAN does."""
    low = max(0, at - REACH)
    head = _IBAN_HEAD.search(text, low, at + 4)
    if head:
        yield head.start() + 2
    low += len(shape[low:at].rstrip(b"0 "))
    for place in range(max(low, done), at + 1):
        if shape[place] == 48 and (place == 0 or shape[place - 1] != 48):
            yield place


def _number(text: str, shape: bytes, start: int) -> tuple[int, int, str] | None:
    """What begins with the group of digits at start, if anything; the cheap questions come first."""
    if text[start] in "23456":
        for card in _CARDS:
            match = card.match(text, start)
            if match and is_card(re.sub(r"\D", "", match[0])):
                return *match.span(), "payment_card"
    before = shape[max(0, start - 12) : start]
    if before.endswith(b"aa") and _IBAN_HEAD.match(text, start - 2) and (end := iban_end(text, start - 2)):
        return start - 2, end, "iban"
    opened = text[max(0, start - 1) : start] == "("
    if opened or text[start] in "01" or text[start + 3 : start + 4] in (".", "-"):
        match = _NATIONAL.match(text, start - opened)
        if match and _plausible(match[0]):
            return *match.span(), "phone"
    match = _LOCAL.match(text, start - opened) if before.find(b"a") >= 0 else None
    if match and _INTRODUCED.search(text[max(0, match.start() - 40) : match.start()]) and _local(match[0]):
        return *match.span(), "phone"
    return None


def _after_plus(text: str, shape: bytes) -> Iterator[tuple[int, int, str]]:
    """Phone numbers in international form."""
    at = text.find("+")
    while at >= 0:
        begins = at == 0 or (shape[at - 1] not in b"0a" and text[at - 1] not in "+=)]")
        match = _PLUS.match(text, at) if begins and shape[at + 1 : at + 2] == b"0" else None
        if match and _international(match[0]):
            yield *match.span(), "phone"
        at = text.find("+", match.end() if match else at + 1)


def _international(found: str) -> bool:
    digits = re.sub(r"\D", "", found)
    if digits[0] == "1":
        return len(digits) == 11 and digits[1] not in "01"
    grouped = len(digits) < len(found) - 1
    return (9 if grouped else 10) <= len(digits) <= 15 and not digits.endswith("00000")


def _plausible(found: str) -> bool:
    """Enough digits, and no row of pairs that only counts up."""
    digits = re.sub(r"\D", "", found)
    pairs = [int(digits[i : i + 2]) for i in range(0, len(digits) - 1, 2)]
    steps = {later - earlier for earlier, later in pairwise(pairs)}
    return 9 <= len(digits) <= 15 and len(steps) > 1 and not _DATE.search(found)


def _local(found: str) -> bool:
    """A number that a word before it calls a phone number: grouped, with a leading zero, or long."""
    digits = re.sub(r"\D", "", found)
    if _THOUSANDS.fullmatch(found) or _DATE.search(found) or not 7 <= len(digits) <= 15:
        return False
    return len(found) > len(digits) or digits[0] == "0" or len(digits) >= 9


def is_card(digits: str) -> bool:
    """A known issuer's prefix, its length, and Luhn's check digit."""
    if not _ISSUER.fullmatch(digits):
        return False
    doubled = (int(d) * 2 for d in digits[-2::-2])
    return (sum(int(d) for d in digits[-1::-2]) + sum(d - 9 if d > 9 else d for d in doubled)) % 10 == 0


def iban_end(text: str, start: int) -> int | None:
    """Where the IBAN that begins at start ends: its country's length, and 1 modulo 97."""
    length = _LENGTHS.get(text[start : start + 2], 0)
    taken, end = "", start
    for c in text[start : start + REACH] if length else "":
        if len(taken) == length or not (c.isalnum() or (c in " -\u00a0" and text[end - 1].isalnum())):
            break
        end += 1
        taken += c if c.isalnum() else ""
    if len(taken) != length or not taken.isascii() or text[end : end + 1].isalnum():
        return None
    number = "".join(str(int(c, 36)) for c in taken[4:] + taken[:4])
    return end if number and int(number) % 97 == 1 else None
