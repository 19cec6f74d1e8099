"""The ladder: the first rung that applies decides whether two answers say the same.

A wrong `agree` tells somebody that an answer was verified when it was not, so every doubt is `unknown`: a sign, a unit,
a scale, a negation or a second number that only one of the answers has. Similarity is reported and decides nothing.
"""

from datetime import date
from decimal import Decimal
from typing import Final, Literal

from app.agreement.choice import choice, polar, same_choice, same_polar
from app.agreement.numbers import final
from app.agreement.quantities import values
from app.agreement.statement import Statement, calculates, is_bare, statement, unit_elsewhere
from app.agreement.structured import same_structure, structure
from app.agreement.units import CURRENCIES
from app.agreement.words import compared, words
from app.events import Agreement

VERSION: Final = 2
MAX_CHARS: Final = 8_000  # of both answers together; more would hold up the event loop

_VERSION_MAX: Final = 100  # a number with a point that is at least this is no version
_SHORT: Final = 60  # characters of an answer that can be nothing but numbers

Verdict = Literal["agree", "disagree", "unknown"]


def compare(one: str, other: str) -> Agreement:
    """By typed final answer, then by equal words; a doubt at the first rung that applies leaves it `unknown`."""
    if one == other:
        return Agreement("agree", "exact", VERSION, 1.0)
    if len(one) + len(other) > MAX_CHARS:
        return Agreement("unknown", "none", VERSION, None)
    verdict, method = _typed(one, other)
    equal, alike = compared(one, other)
    if equal and verdict != "disagree" and method != "json":
        verdict, method = "agree", "exact"
    return Agreement(verdict, method if verdict != "unknown" else "none", VERSION, alike)


def _typed(one: str, other: str) -> tuple[Verdict, str]:
    """The verdict of the first kind of final answer that both texts have."""
    structures = structure(one), structure(other)
    if structures[0] is not None and structures[1] is not None:
        return _named(same_structure(*structures)), "json"
    choices = choice(one), choice(other)
    if choices[0] and choices[1]:
        return _named(same_choice(choices[0], choices[1])), "choice"
    polars = polar(one), polar(other)
    if polars[0] and polars[1]:
        return _named(same_polar(polars[0], polars[1])), "yes_no"
    if any(choices) or any(polars) or structures != (None, None):
        return "unknown", "none"
    return _numbers(one, other)


def _named(same: bool | None) -> Verdict:
    return "unknown" if same is None else "agree" if same else "disagree"


def _numbers(one: str, other: str) -> tuple[Verdict, str]:
    """By the numbers or dates that both state; where only one states a number, by whether the other has it at all."""
    first = statement(one)
    if first is None and not calculates(one):
        return _bare(one, other)  # whatever the other states, this one can be held to nothing
    second = statement(other)
    if first and second:
        return _stated((one, first), (other, second))
    if (first and _absent(first, one, other)) or (second and _absent(second, other, one)):
        return "disagree", "number_set"
    return _bare(one, other)


def _stated(one: tuple[str, Statement], other: tuple[str, Statement]) -> tuple[Verdict, str]:
    first, second = one[1], other[1]
    method = "date" if isinstance(first.value, date) else "final_number"
    if isinstance(first.value, date) != isinstance(second.value, date) or not _one_kind(one, other):
        return "unknown", method
    told = first.strength == second.strength == "told"
    if told and first.words != second.words:
        return "unknown", method
    if first.value != second.value:
        return ("unknown" if first.fraction != second.fraction or _thousandfold(first, second) else "disagree"), method
    return ("unknown" if _spelt(first, second) or _others_differ(one, other) else "agree"), method


def _others_differ(one: tuple[str, Statement], other: tuple[str, Statement]) -> bool:
    """The number-set veto: where no side marks its number as the answer, no other number may differ."""
    first, second = one[1], other[1]
    if first.strength == second.strength == "told":
        return values(one[0]) != values(other[0])
    alike = "marked" not in (first.strength, second.strength) and first.words == second.words
    return alike and values(first.around) != values(second.around)


def _spelt(one: Statement, other: Statement) -> bool:
    """Whether two small equal numbers may be versions: 3.10 is not 3.1 there."""
    if one.unit or other.unit or "derived" in (one.strength, other.strength):
        return False
    if not isinstance(one.value, Decimal) or not isinstance(other.value, Decimal) or abs(one.value) >= _VERSION_MAX:
        return False
    places = one.value.as_tuple().exponent, other.value.as_tuple().exponent
    return places[0] != places[1] and all(isinstance(place, int) and place < 0 for place in places)


def _thousandfold(one: Statement, other: Statement) -> bool:
    """Whether a full stop in one of the numbers may separate thousands: 1.000 and 1,000."""
    for first, second in ((one.value, other.value), (other.value, one.value)):
        if isinstance(first, Decimal) and isinstance(second, Decimal) and first.as_tuple().exponent == -3:
            return first.scaleb(3) == second
    return False


def _one_kind(one: tuple[str, Statement], other: tuple[str, Statement]) -> bool:
    """Whether two numbers count the same thing in the same unit; a missing unit is looked for earlier in its text."""
    first, second = one[1], other[1]
    if first.about != second.about:
        return False
    if first.per != second.per and ((first.per and second.per) or first.unit == second.unit not in ("", *CURRENCIES)):
        return False
    if first.unit != second.unit:
        if first.unit and second.unit:
            return False
        bare, wanted = (one, second.unit) if not first.unit else (other, first.unit)
        return unit_elsewhere(*bare) == wanted
    if not first.noun or not second.noun or first.noun == second.noun:
        return True
    return first.noun in _singular(second) or second.noun in _singular(first)


def _singular(told: Statement) -> set[str]:
    return {word.rstrip("s") for word in told.words}


def _absent(stated: Statement, own: str, text: str) -> bool:
    """Whether a text that calculates too never comes to the number that the other one states."""
    if stated.strength == "told" or not calculates(text) or not (calculates(own) or stated.strength == "marked"):
        return False
    return isinstance(stated.value, Decimal) and stated.value.copy_abs() not in values(text)


def _bare(one: str, other: str) -> tuple[Verdict, str]:
    """The last numbers of two short texts that are nothing but numbers, when they differ and are of one kind."""
    if max(len(one), len(other)) > _SHORT:
        return "unknown", "none"
    found = words(one), words(other)
    last = final(found[0]), final(found[1])
    if not last[0] or not last[1] or not all(map(is_bare, found)):
        return "unknown", "none"
    shared = last[0][0].copy_abs() in values(other) or last[1][0].copy_abs() in values(one)
    negated = last[0][0] == last[1][0].copy_negate()
    differ = last[0][0] != last[1][0] and last[0][1] == last[1][1] and (negated or not shared)
    return ("disagree" if differ else "unknown"), "final_number"
