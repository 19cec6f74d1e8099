"""What several answers to one question agree on: the final answer of each, and the one that most of them gave. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.agreement import final_number, normalised

SIMILAR: Final = 0.5  # of the words of two free texts that both contain, to count as the same answer

_CHOICE: Final = re.compile(r"(?:\b(?:answer|option|choice)\b(?:\s+is)?\s*:?\s*|^\s*)\(?([A-J])(?:[).:]|\s*$)")
_YES_OR_NO: Final = re.compile(r"\s*(yes|no)\b", re.IGNORECASE)
_FILLER: Final = frozenset(
    {"a", "an", "the", "of", "is", "are", "was", "were", "it", "its", "in", "on", "at", "to", "and"}
)


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """What a text says in the end. Texts are compared by their words, everything else by its key."""

    kind: str
    key: str
    words: frozenset[str] = frozenset()

    def same(self, other: "FinalAnswer") -> bool:
        """Whether both say the same: equal keys, or texts that share most of their words."""
        if self.kind != other.kind:
            return False
        return self.key == other.key or (self.kind == "text" and _likeness(self.words, other.words) >= SIMILAR)


@dataclass(frozen=True, slots=True)
class Majority:
    """The text that stands for the largest group, by its index, and how many are in that group."""

    index: int
    votes: int


def final_answer(text: str) -> FinalAnswer:
    """A choice letter, yes or no, the final number, or else the words themselves, in that order."""
    if choices := _CHOICE.findall(text):
        return FinalAnswer("choice", choices[-1])
    if decided := _YES_OR_NO.match(text):
        return FinalAnswer("yes or no", decided[1].casefold())
    number = final_number(text)
    if number is not None:
        return FinalAnswer("number", str(number.normalize()))
    words = normalised(text)
    return FinalAnswer("text", words, frozenset(words.split()) - _FILLER)


def majority(texts: Sequence[str]) -> Majority:
    """The member most like the rest of the largest group; the earlier one wins a tie. There must be a text.

    Where no two agree, it is the text most like all the others.
    """
    answers = [final_answer(text) for text in texts]
    groups = [[j for j, other in enumerate(answers) if answer.same(other)] for answer in answers]
    largest = max(groups, key=len)
    rest = largest if len(largest) > 1 else range(len(answers))
    return Majority(max(rest, key=lambda i: _closeness(answers, i, rest)), len(largest))


def _closeness(answers: Sequence[FinalAnswer], index: int, group: Sequence[int]) -> float:
    """How much a member is like all of its group: the highest is the medoid."""
    return sum(_likeness(answers[index].words, answers[other].words) for other in group)


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of words that two texts have in common, from 0 to 1."""
    either = one | other
    return len(one & other) / len(either) if either else 1.0
