"""The option that an answer takes of A to E, and the yes or no that an answer begins with."""

import re
from typing import Final, NamedTuple

_MARKS: Final = str.maketrans(dict.fromkeys("*_`"))
# "B", "(B)", "B.", "b)"; "B) Paris", "(B) Paris" and "B. Paris" on one line
_HEAD: Final = re.compile(r"\W*(?:\(([A-Ea-e])\)|([A-Ea-e])\)|([A-E])[.:]?(?=$|(?<=[.:])\s))[.:,]?[^\S\n]*([^\n]*)$")
_MORE: Final = r"(?!\s*(?:,|and|or|&|/|\+)\s*\(?[A-E]\b)"
_NAMED: Final = re.compile(
    r"(?:[Aa]nswer|ANSWER|[Oo]ption|[Cc]hoice|réponse|Antwort|respuesta|risposta|答案)(?:\s+is|\s+ist|\s+lautet|\s+est|\s+es|\s+è|是|为)?"
    r"\s*[:：]?\s*(?:option\s+|choice\s+)?"  # noqa: RUF001  # the full-width colon is meant
    r"(?:\\boxed\{(?:\\text\{)?)?\(?([A-E])(?=[).:;,!}。]|\s*$|\s*\n|\s+(?:because|since|as|which|[-(\u2013\u2014]))"
    + _MORE
    + r"|\b([A-E])\)?\s+(?:is|would be)\s+(?:the\s+)?(?:correct|right|best)(?!\s*(?:,|and|or)\s*\(?[A-E]\b)",
)
# What every text has that names a letter; looking for it costs a tenth of the expressions.
_NAMING: Final = (
    "nswer",
    "ption",
    "hoice",
    "correct",
    "right",
    "best",
    "boxed",
    "ponse",
    "ntwort",
    "posta",
    "puesta",
    "答案",
)
_LETTER: Final = re.compile(
    r"[A-E](?<![A-Za-z][A-E])(?=[).:;,!}。*_`]|\s*$|\s*\n|\s+(?:is|would|because|since|as|which|[-(\u2013\u2014]))"
)
_LINE: Final = 300  # characters of a letter with its option
_BOXED: Final = re.compile(r"\\boxed\{(?:\\text\{)?\(?([A-E])\)?\}")
_RETRACTED: Final = re.compile(
    r"\b(?:wait|actually|correction|on second thought|mistake|not sure|not (?:right|correct)|(?:is|was) (?:wrong"
    r"|incorrect))\b",
    re.IGNORECASE,
)
_DENIED: Final = re.compile(
    r"\b(?:not|cannot|never|neither|whether|if|unsure|wrong|incorrect|false|worst|which|first|second)\b[^.\n]{0,40}$",
    re.IGNORECASE,
)

_POLAR: Final = {
    "yes": True, "oui": True, "ja": True, "sí": True, "да": True, "是": True, "是的": True, "はい": True,
    "no": False, "non": False, "nein": False, "нет": False, "不是": False, "否": False, "いいえ": False,
    "true": True, "false": False,
}  # fmt: skip
_POLAR_HEAD: Final = re.compile(
    r"\W*(?:(?:the\s+)?(?:final\s+)?answer(?:\s+is|\s*:)\W*)?(" + "|".join(sorted(_POLAR, key=len, reverse=True)) + r")"
    r"(?=[.,;:!。、,\u2013\u2014\n]|\s+[-\u2013\u2014]|\s*$|\s+because)",
    re.IGNORECASE,
)
_BEGINNING: Final = re.compile(r"[\W_]*([^\W_]+)([*_`]?)")  # the first word, unless marks part it
_POLAR_WORDS: Final = frozenset({*_POLAR, "the", "final", "answer"})
_DOUBTS: Final = re.compile(
    r"\b(?:yes|no|but|however|although|though|unless|except|if|depend\w*|sometimes|partly|partially|mostly|technically|usually"
    r"|maybe|perhaps|wait|actually|always|only|not sure|aber|mais|pero|однако|но)\b|但|ただし",
    re.IGNORECASE,
)
_NEGATED: Final = re.compile(r"\b(?:not|never|cannot|without|wrong|false)\b|n't\b", re.IGNORECASE)
_FILLER: Final = re.compile(
    r"it|is|it's|that|that's|this|correct|right|true|indeed|does|do|did|can|could|would|will|was|are|they|there|the|an?"
    r"|of|course|so|he|she|you|we|i|has|have|had"
)
_ENOUGH: Final = 6  # words of an explanation; of fewer, every one may be the answer


class Choice(NamedTuple):
    """The letter, and the option's own words when the answer repeats them."""

    letter: str
    words: str


class Polar(NamedTuple):
    """Yes or no (or true or false, which is another kind of answer), and what is said beside it."""

    yes: bool
    logical: bool
    beside: str


def choice(text: str) -> Choice | None:
    """The one option that the text takes; None when it names none, more than one, or takes it back."""
    head = _HEAD.match(text.translate(_MARKS).strip()) if len(text) <= _LINE else None
    if head:
        return Choice((head[1] or head[2] or head[3]).upper(), " ".join(head[4].lower().rstrip(".").split()))
    if not _LETTER.search(text) or not any(mark in text for mark in _NAMING):
        return None
    plain = text.translate(_MARKS).strip()
    matches = [*_NAMED.finditer(plain), *_BOXED.finditer(plain)]
    letters = {letter for match in matches for letter in match.groups() if letter}
    if (
        len(letters) != 1
        or _RETRACTED.search(plain)
        or any(_DENIED.search(plain[max(0, m.start() - 60) : m.start()]) for m in matches)
    ):
        return None
    return Choice(letters.pop(), "")


def same_choice(one: Choice, other: Choice) -> bool | None:
    """Whether both take the same option; None when the letters are equal and their words are not."""
    if one.letter != other.letter:
        return False
    return True if not one.words or not other.words or one.words == other.words else None


def polar(text: str) -> Polar | None:
    """The yes or no that the text begins with; None when it does not, or goes on to qualify it."""
    first = _BEGINNING.match(text, 0, 80)
    if first is None or (first[1].lower() not in _POLAR_WORDS and not first[2]):
        return None
    head = _POLAR_HEAD.match(text[:80].translate(_MARKS))
    if head is None or head[1].lower() not in _POLAR:  # an old s or a dotted I has no lower case of ours
        return None
    word = head[1].lower()
    beside = text.translate(_MARKS)[head.end() :].strip(" .,;:!-\n。、\u2013\u2014")
    if _DOUBTS.search(beside) or (head[0].strip().islower() and beside):
        return None
    return Polar(_POLAR[word], word in ("true", "false"), beside)


def same_polar(one: Polar, other: Polar) -> bool | None:
    """Whether both say yes or both say no; None when what they say beside it may make a difference."""
    if one.logical != other.logical:
        return None
    if one.yes != other.yes:
        return False
    if not one.beside or not other.beside:
        return True
    return True if _compatible(one.beside, other.beside) else None


def _compatible(one: str, other: str) -> bool:
    if one == other:
        return True
    if bool(_NEGATED.search(one)) != bool(_NEGATED.search(other)) or _numbers(one) != _numbers(other):
        return False
    first, second = (_telling(text) for text in (one, other))
    return not first or not second or first == second or min(len(first), len(second)) >= _ENOUGH


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"\d[\d.,]*", text))


def _telling(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+(?:'\w+)?", text.lower()) if not _FILLER.fullmatch(word)}
