"""The one number or date that a text states as its answer, read from where it ends.

It is `marked` (`#### 42`, `The answer is 42`, `\\boxed{42}`, or nothing but 42), `derived` (the result of a calculation
that the text shows), or merely `told`. Where two readings are possible there is none.
"""

import re
from typing import Final, Literal, NamedTuple

from app.agreement.dates import dates, starts_month
from app.agreement.numbers import value
from app.agreement.quantities import Quantity, Value, quantities, unit_of
from app.agreement.units import unit
from app.agreement.words import folded

_TAIL: Final = 700  # characters from the end in which the last sentence must begin
_NOTE: Final = re.compile(r"<<[^<>]*>>")  # a calculator's note beside the number
_BOXED: Final = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_TEX: Final = (
    (re.compile(r"\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}"), r"\1/\2"),
    (re.compile(r"\\(?:text|mathrm|mathbf)\s*\{([^{}]*)\}"), r" \1"),
    (re.compile(r"\\([$%#])"), r"\1"),
    (re.compile(r"\\[,;! ()\[\]]"), " "),
    (re.compile(r"\\(?:times|cdot)"), "*"),
)
_MATHS: Final = re.compile(r"(?<![\w$])\$([-+]?\d[\d.,/]*)\$(?!\d)")
_BOUNDARY: Final = re.compile(r"[.!?。\n](?:\s+|(?<=\n))")
_BREAKS: Final = (". ", "! ", "? ", "\n", "。")
_ABBREVIATED: Final = re.compile(r"(?:\bapprox|\be\.g|\bi\.e|\b[Nn]o|\bca|\bvs)\.\s$")
_CLOSER: Final = re.compile(r"\W*(?:i hope (?:this|that) helps|hope this helps|let me know if)\b", re.IGNORECASE)
_BULLET: Final = re.compile(r"^\s*(?:[*•]|-(?!\s*\d))\s+")
_HAN: Final = re.compile(r"(?<=[\u3040-\u30ff\u4e00-\u9fff])(?=[\d$€£¥-])|(?<=\d)(?=[\u3040-\u30ff\u4e00-\u9fff])")
_DIGIT: Final = re.compile(r"\d")
_CROWD: Final = re.compile(r"\D*+(?:\d++\D++){16}\d")  # more than 16 numbers

_WORD: Final = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_CALCULATION: Final = re.compile(r"\d[%)]?[^=\d]{0,60}?(?:[-+*/×÷]|\bx\b)\s*[(\\]*\s*[$€£]?\s*[\d.(]")  # noqa: RUF001

_EQUALS: Final = re.compile(r"=\s*[$€£]?\s*(-?\d(?:[\d.,]*\d)?)")
_HASHES: Final = re.compile(r"\W*####")
_EXPLICIT: Final = re.compile(
    r"\W*####|.*\b(?:answer|result|solution|réponse|antwort|respuesta|risposta|lösung|ответ)\b|.*(?:答案|答え)",
    re.IGNORECASE | re.DOTALL,
)
# What may stand around a number without changing what it answers.
_AROUND: Final = """so thus therefore hence then and the final correct answer result solution total is are was were
 equals to there it it's that that's we get have a an of on in boxed this gives my our
 die der das antwort ist lautet es also lösung la le el réponse est respuesta risposta è donc il c'est son sind ответ
 答案 答案是 答え 答えは 是 ="""
_CARRIERS: Final = frozenset(_AROUND.split())
_NEGATION: Final = re.compile(
    r"\b(?:not|cannot|whether|unsure|unclear|unknown|guess|never|no|nor|neither|wrong|incorrect|false|minus|negative|unlikely|except|without|impossible|maybe|perhaps"
    r"|possibly|probably|might|could|if|unless|either|or|nicht|kein|keine|pas|jamais|nunca|non|не)\b|n't\b|不",
    re.IGNORECASE,
)
_DOUBT_AFTER: Final = re.compile(
    r"\b(?:not|wrong|incorrect|false|maybe|perhaps|possibly|probably|either|or|half|quarter|third|thirds|quarters|but|nicht|below"
    r"|falsch|faux|pas|when|if|unless|assuming|provided|depending)\b|n't\b|不|错|(?<!')\b[NSEW]\b(?!')",
    re.IGNORECASE,
)
_QUALIFIER: Final = re.compile(
    r"\b(?:about|around|approximately|approx|roughly|nearly|almost|over|under|least|most|than|up to|above|below|within"
    r"|between|only|circa|etwa|environ|ungefähr|loss|debt|deficit|fell|dropped|decreased|declined)\b(?=\W+(?:\w+\W+)?\W*$|\W*$)|[~≈<>≤≥±](?=\W*$)",
    re.IGNORECASE,
)
_RATE: Final = re.compile(r"\W{0,2}(?:[^\W\d_]+)?(?:/|\s*per\s+)([^\W\d_]+)")
_UNTIL: Final = re.compile(r"\b(before|after|since|until|till|by|from|vor|nach|seit|bis)\W*$", re.IGNORECASE)
_JOINED: Final = re.compile(r"\W{0,3}(?:[^\W\d_]+\s+)?(?:and|or|to|und|et|y|[-–,&])\s*[$€£]?\d")  # noqa: RUF001
_AND_BEFORE: Final = re.compile(r"\d(?:\W{0,2}\s[^\W\d_]+)?\s*(?:,|&|\b(?:and|or|to|und|et|y))\s+(?:and\s+)?\S?$")

Strength = Literal["marked", "derived", "told"]


class Statement(NamedTuple):
    """The value, what kind of number it is, and the words of its sentence.

    unit is a unit of measure, currency or scale; noun the word counted; about a word that makes the number inexact;
    around the rest of the sentence; per what a rate is counted by.
    """

    value: Value
    unit: str
    noun: str
    about: str
    strength: Strength
    around: str
    fraction: bool = False
    per: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """The words of its sentence that may change what it says."""
        return content(self.around)


def statement(text: str) -> Statement | None:
    """What the text states in the end; None when it states nothing, several things, or takes it back."""
    tail = text[-_TAIL:].rstrip()
    if not _DIGIT.search(tail, _last_break(tail)):
        return None
    sentences = _sentences(tail)
    if not sentences or (len(sentences) == 1 and len(text) > _TAIL):
        return None
    sentence = sentences[-1]
    if not _DIGIT.search(sentence) or "<<" in sentence or _crowded(sentence):
        return None
    explicit = _EXPLICIT.match(sentence) is not None
    if not explicit and any(_EXPLICIT.match(earlier) and _DIGIT.search(earlier) for earlier in sentences[:-1]):
        return None  # what follows the answer is a remark on it
    if not explicit and len(sentences) > 1 and _listed(sentences[-2], sentence):
        return None
    whole = len(sentences) == 1
    return _dated(sentence, explicit or whole) or _numbered(sentences, explicit, whole)


def _crowded(sentence: str) -> bool:
    """Whether there are so many numbers in a sentence that it states none of them, and calculates nothing."""
    return "=" not in sentence and _CROWD.match(sentence) is not None


def unit_elsewhere(text: str, wanted: Statement) -> str:
    """The unit with which the text mentions the same number before; empty when it never does."""
    return unit_of(wanted.value, _NOTE.sub("", folded(text)))


def calculates(text: str) -> bool:
    """Whether the text shows a calculation."""
    return any(_CALCULATION.search(part[-80:]) for part in text.split("=")[:-1])


def _last_break(tail: str) -> int:
    """Where the last sentence begins, or the one before a closing phrase: one look is cheaper than a split."""
    marks = [mark for mark in _BREAKS if mark[0] in tail]
    end = len(tail) - 1
    for _ in range(2):
        end = max([0, *(tail.rfind(mark, 0, end) for mark in marks)])
    return end


def is_bare(words: list[str]) -> bool:
    """Whether nothing but numbers and what may stand around them is among the words."""
    return all(_DIGIT.search(word) or word in _CARRIERS for word in words)


def _sentences(tail: str) -> list[str]:
    """The last sentences, plain; a boxed answer stands for the sentence it is in."""
    plain = folded(tail)
    if "<<" in plain:
        plain = _NOTE.sub("", plain)
    if plain.count("$") > 1:
        plain = _MATHS.sub(r"\1", plain)
    if "\\" in plain:
        plain = _untexed(plain)
    if not plain.isascii():
        plain = _HAN.sub(" ", plain)
    sentences = _split(plain)
    while len(sentences) > 1 and _CLOSER.match(sentences[-1]):
        sentences.pop()
    return sentences


def _split(plain: str) -> list[str]:
    """The sentences and lines; neither "approx. 5" nor "5. März" is two."""
    begin, sentences = 0, []
    for boundary in _BOUNDARY.finditer(plain):
        at = boundary.start()
        if _ABBREVIATED.search(plain, max(0, at - 7), at + 2) or (
            plain[at - 1 : at].isdigit() and starts_month(plain, at)
        ):
            continue
        sentences.append(plain[begin : boundary.end()].strip())
        begin = boundary.end()
    return [sentence for sentence in (*sentences, plain[begin:].strip()) if sentence]


def _untexed(plain: str) -> str:
    for pattern, replacement in _TEX:
        plain = pattern.sub(replacement, plain)
    boxed = _BOXED.findall(plain)
    if not boxed:
        return plain
    return f"#### {boxed[0]}" if len(set(boxed)) == 1 else ""


def _listed(before: str, sentence: str) -> bool:
    """Whether the sentence is the last of several values, one a line: no single answer."""
    return len(sentence.split()) <= 4 and len(before.split()) <= 4 and _DIGIT.search(before) is not None


def _dated(sentence: str, marked: bool) -> Statement | None:
    """The only date of a sentence that has no other number."""
    found = dates(sentence)
    if len(found) != 1 or found[0].day is None:
        return None
    before, after = sentence[: found[0].start], sentence[found[0].end :]
    if _DIGIT.search(before + after) or _NEGATION.search(before) or _DOUBT_AFTER.search(after):
        return None
    around = f"{before} {after}"
    strength: Strength = "marked" if marked and not content(around) else "told"
    return Statement(found[0].day, "", "", _about(before) or _open_end(before), strength, around)


def _numbered(sentences: list[str], explicit: bool, whole: bool) -> Statement | None:
    """The number that the last sentence states."""
    sentence = sentences[-1]
    found = quantities(sentence)
    if "=" in sentence and calculates(sentence):
        return _result(sentence, found)
    number, strength = _told(sentences, found)
    if number is None or number.value is None:
        return None
    before, after = sentence[: number.start], sentence[number.end :]
    if _NEGATION.search(before) or _DOUBT_AFTER.search(after) or _joined(before, after):
        return None
    if _HASHES.match(sentence) or (
        (explicit or whole) and not content(before) and (explicit or len(content(after)) <= 1)
    ):
        strength = "marked"
    around = f"{before} {after}"
    return Statement(
        number.value, number.unit, number.noun, _about(before), strength, around, number.fraction, _per(after)
    )


def _joined(before: str, after: str) -> bool:
    """Whether another number stands beside this one with equal right: 3 or 5, 24 selfies and 18 portraits."""
    return _JOINED.match(after) is not None or _AND_BEFORE.search(before[-40:]) is not None


def _told(sentences: list[str], found: list[Quantity]) -> tuple[Quantity | None, Strength]:
    """The only number of the last sentence, or the only one there that was worked out just before."""
    result = _last_result(sentences[:-1])
    same = [number for number in found if result is not None and number.value == result]
    if len(same) == 1:
        return same[0], "derived"
    return (found[0] if len(found) == 1 else None), "told"


def _last_result(sentences: list[str]) -> Value | None:
    """What the last calculation in these sentences comes to."""
    last = next((sentence for sentence in reversed(sentences) if "=" in sentence), "")
    found = _EQUALS.findall(last)
    return value(found[-1]) if found and calculates(last) else None


def _result(sentence: str, found: list[Quantity]) -> Statement | None:
    """The result of the calculation in a sentence, if it shows one only, however many steps it has."""
    equals = sentence.rindex("=")
    number = next((number for number in found if number.start > equals), None)
    if number is None or number.value is None or sentence[equals + 1 : number.start].strip(" \t$€£¥+-(*_`"):
        return None
    if not _CALCULATION.search(sentence[:equals]) or not _one_chain(sentence, found):
        return None
    after = sentence[number.end :]
    if _DOUBT_AFTER.search(after) or _JOINED.match(after):
        return None
    about, around = _about(sentence[equals : number.start]), f"{sentence[: number.start]} {after}"
    return Statement(number.value, number.unit, number.noun, about, "derived", around, number.fraction, _per(after))


def _one_chain(sentence: str, found: list[Quantity]) -> bool:
    """Whether every result but the last is used again: 2 + 3 = 5 and 3 + 1 = 4 are two answers."""
    last = sentence.rindex("=")
    for index, number in enumerate(found):
        between = sentence[found[index - 1].end if index else 0 : number.start]
        follows = "=" in between and number.start < last
        if follows and all(later.value != number.value for later in found[index + 1 :]) and _prose(sentence, number):
            return False
    return True


def _prose(sentence: str, number: Quantity) -> bool:
    """Whether a comma or words follow the number before the next equals sign, so that something new begins there."""
    rest = sentence[number.end : sentence.index("=", number.end)]
    return rest.lstrip().startswith((",", ";")) or sum(len(word) > 1 for word in _WORD.findall(rest)) > 2


def content(part: str) -> tuple[str, ...]:
    """The words of a part of a sentence that may change what it says."""
    words = (word.lower() for word in _WORD.findall(part))
    return tuple(word for word in words if word not in _CARRIERS)


def _open_end(before: str) -> str:
    """The word that makes a date the end of a time and not its only day."""
    found = _UNTIL.search(before)
    return found[1].lower() if found else ""


def _per(after: str) -> str:
    """What a rate is counted by: the hour of km/h."""
    found = _RATE.match(after)
    return (unit(found[1]) or found[1].lower()) if found else ""


def _about(before: str) -> str:
    """The last word before a number that makes it inexact."""
    found = _QUALIFIER.findall(before[-30:])
    return str(found[-1]).lower() if found else ""
