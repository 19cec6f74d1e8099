"""Calendar dates as people and machines write them. One that can be read in two ways (03/05/2024) is none."""

import re
from datetime import date
from typing import Final, NamedTuple

_NAMES: Final = (
    "january|januar|janvier|enero",
    "february|februar|février|febrero",
    "march|märz|mars|marzo",
    "april|avril|abril",
    "may|mai|mayo",
    "june|juni|juin|junio",
    "july|juli|juillet|julio",
    "august|août|agosto",
    "september|septembre|septiembre",
    "october|oktober|octobre|octubre",
    "november|novembre|noviembre",
    "december|dezember|décembre|diciembre",
)
_MONTHS: Final = {name: number for number, names in enumerate(_NAMES, 1) for name in names.split("|")}
_MONTHS.update({name[:3]: number for name, number in list(_MONTHS.items()) if name.isascii()})
_MONTHS["sept"] = 9
_MONTH: Final = "|".join(sorted(_MONTHS, key=len, reverse=True))
_NEXT_MONTH: Final = re.compile(rf"\.\s+(?:{_MONTH})\b", re.IGNORECASE)
_FOUR_DIGITS: Final = re.compile(r"\d{4}")
_DATE: Final = re.compile(
    r"(?<![\w/-])(?:"
    r"(?P<iy>\d{4})(?P<sep>[-/.])(?P<im>\d{1,2})(?P=sep)(?P<id>\d{1,2})"
    rf"|(?P<dd>\d{{1,2}})(?:st|nd|rd|th|er|\.)?\s+(?:of\s+|de\s+)?(?P<dm>{_MONTH})\.?,?\s+(?:de\s+)?(?P<dy>\d{{4}})"
    rf"|(?P<mm>{_MONTH})\.?\s+(?P<md>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<my>\d{{4}})"
    r"|(?P<a>\d{1,2})(?P<mark>[/.])(?P<b>\d{1,2})(?P=mark)(?P<y>\d{4})"
    r"|(?P<cy>\d{4})\s*年\s*(?P<cm>\d{1,2})\s*月\s*(?P<cd>\d{1,2})\s*日"
    r")(?![\w/-])",
    re.IGNORECASE,
)


class Dated(NamedTuple):
    """A date and where it stands; None for one that can be read in two ways or is none."""

    start: int
    end: int
    day: date | None


def dates(sentence: str) -> list[Dated]:
    """Every date with day, month and year in the sentence."""
    if not _FOUR_DIGITS.search(sentence):
        return []
    return [Dated(*match.span(), _day(match)) for match in _DATE.finditer(sentence)]


def starts_month(text: str, at: int) -> bool:
    """Whether the full stop at a place stands between a day and its month, as in 5. März."""
    return _NEXT_MONTH.match(text, at) is not None


def _day(match: re.Match[str]) -> date | None:
    part = match.groupdict()
    for year, month, day in (("iy", "im", "id"), ("cy", "cm", "cd")):
        if part[year]:
            return _valid(part[year], int(part[month]), part[day])
    for year, month, day in (("dy", "dm", "dd"), ("my", "mm", "md")):
        if part[year]:
            return _valid(part[year], _MONTHS[part[month].lower()], part[day])
    if part["mark"] == ".":  # 5.3.2024 is always the fifth of March
        return _valid(part["y"], int(part["b"]), part["a"])
    first, second = int(part["a"]), int(part["b"])
    if first <= 12 and second <= 12 and first != second:
        return None
    return _valid(part["y"], min(first, second), str(max(first, second)))


def _valid(year: str, month: int, day: str) -> date | None:
    try:
        return date(int(year), month, int(day))
    except ValueError:
        return None
