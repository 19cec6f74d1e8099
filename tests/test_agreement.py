"""When two answers agree: the table. A wrong `agree` is worse than `unknown`."""
# ruff: noqa: RUF001  # signs that look alike are what is tested

from decimal import Decimal
from time import process_time
from typing import Final

import agreement_rows
import pytest
from cells import rows

from app.agreement import VERSION, compare, final_number, normalised
from app.events import Agreement

AGREE: Final = [
    *agreement_rows.AGREE,
    ("Paris", "Paris", "exact"),
    ("Paris.", "paris", "exact"),
    ("  The capital is Paris! ", "the capital\nis PARIS", "exact"),
    ("**Paris**", "Paris", "exact"),
    ("“Paris”", '"Paris"', "exact"),
    ("- Paris\n- Lyon", "Paris\nLyon", "exact"),
    ("Café", "Cafe\u0301", "exact"),
    ("ｆｕｌｌ　ｗｉｄｔｈ", "full width", "exact"),
    ("巴黎。", "巴黎", "exact"),
    ("don’t", "don't", "exact"),
    ("42", "42.", "exact"),
    ("-5", "\u22125", "exact"),
    ("+", " + ", "exact"),
    ("...", "...", "exact"),
    ("H₂O", "H2O", "exact"),
    ("1", "1.0", "final_number"),
    ("1000", "1,000", "final_number"),
    ("1,234,567.50", "1234567.5", "final_number"),
    ("0.5", ".5", "final_number"),
    ("5", "+5", "final_number"),
    ("1e3", "1000", "final_number"),
    ("٤٢", "42", "final_number"),
    ("42", "The answer is 42.", "final_number"),
    ("6 × 7 = 42", "The answer is **42**.", "final_number"),
    ("6*7=42", "So it is 42", "final_number"),
    ("First 6 and 7.\nThen the product.\nThe final answer is 42.", "42", "final_number"),
    ("There are 42 apples.", "42 apples", "final_number"),
    ("$5.00", "$5", "final_number"),
    ("5 %", "5%", "final_number"),
    ("5 km", "5km", "final_number"),
    ("#### 42", "42", "exact"),
    ("(42)", "42", "final_number"),
    ("\\boxed{42}", "42", "final_number"),
]
DISAGREE: Final = [
    *agreement_rows.DISAGREE,
    ("42", "43", "final_number"),
    ("-5", "5", "final_number"),
    ("\u22125", "5", "final_number"),
    ("The answer is 42.", "The answer is -42.", "final_number"),
    ("1,000", "1.5", "final_number"),
    ("3.14", "3.15", "final_number"),
    ("1, 5", "1.5", "final_number"),
    ("$5", "$50", "final_number"),
    ("50%", "5%", "final_number"),
    ("2 million", "3 million", "final_number"),
    ("It is 12:30.", "It is 12:45.", "final_number"),
    ("1e5", "5", "final_number"),
    ("35", "36", "final_number"),
    ("6*7=43", "The answer is 42.", "final_number"),
]
# What must not be called agreement, and is not called disagreement either.
UNKNOWN: Final = [
    *agreement_rows.UNKNOWN,
    ("Paris", "London"),
    ("Paris", "It is Paris, the city on the Seine"),
    ("It is true.", "It is not true."),
    ("+", "-"),
    ("-", "—"),
    ("*", "/"),
    ("!", "?"),
    ("<", ">"),
    ("👍", "👎"),
    ("x + y", "x - y"),
    ("x - y", "x * y"),
    ("x * y", "x y"),
    ("a<b", "a>b"),
    ("x²", "x2"),
    ("C", "C++"),
    ("C", "C#"),
    ("√2", "2"),
    ("<5", ">5"),
    ("~5", "5"),
    ("5!", "5"),
    ("½", "12"),
    ("1½", "11/2"),
    ("1/2", "2"),
    ("2^3", "3"),
    ("3-5", "5"),
    ("3 or 5", "5"),
    ("3, 5", "5"),
    ("3,5", "35"),
    ("3,5", "3.5"),
    ("10²", "102"),
    ("[1, 2]", "(1, 2)"),
    ("1.2.3", "1.23"),
    ("5", "5%"),
    ("50%", "0.5"),
    ("5", "5 million"),
    ("5 million", "5,000,000"),
    ("$5", "€5"),
    ("5°C", "5°F"),
    ("5 km", "5 miles"),
    ("5 MW", "5 mW"),
    ("5MW", "5mW"),
    ("It is 42", "It is not 42"),
    ("The answer is 42.", "42 is the wrong answer."),
    ("The answer is 42. That is not right.", "42"),
    ("Paris has 2 million people.", "London has 2 million people."),
    ("Napoleon lost in 1815.", "Wellington won in 1815."),
    ("minus 5", "5"),
    ("- 5", "5"),
    ("12:30", "11:30"),
    ("x = 3, y = 5", "x = 2, y = 5"),
    ("H2O", "CO2"),
    ("की", "का"),
    ("Maße", "Masse"),
    ("resume", "résumé"),
    ("", "Paris"),
    ("", "42"),
]


def verdict(one: str, other: str) -> tuple[str, str]:
    """Verdict and method, the same whichever answer comes first."""
    there, back = compare(one, other), compare(other, one)
    assert there == back
    return there.verdict, there.method


@rows(("one", "other", "method"), AGREE)
def test_agree(one: str, other: str, method: str) -> None:
    """Answers that differ only in how they are written agree, by the first rung that says so."""
    assert verdict(one, other) == ("agree", method)


@rows(("one", "other", "method"), DISAGREE)
def test_disagree(one: str, other: str, method: str) -> None:
    """Answers with different final answers of one kind disagree."""
    assert verdict(one, other) == ("disagree", method)


@rows(("one", "other"), UNKNOWN)
def test_unknown(one: str, other: str) -> None:
    """A sign, unit, scale, negation, order or word that only one answer has is a doubt: neither agree nor disagree."""
    assert verdict(one, other) == ("unknown", "none")


def test_an_answer_agrees_with_itself() -> None:
    """Every answer agrees with itself, word for word."""
    texts = {text for rows in (AGREE, DISAGREE, UNKNOWN) for row in rows for text in row[:2]}
    assert [text for text in texts if verdict(text, text) != ("agree", "exact")] == []


@rows("mark", ["\x00", "a\ud800", "ye\u017f.", "1e999999999", "9" * 5000, "1" + ",1" * 5000, "=" * 5000])
def test_nothing_breaks_it(mark: str) -> None:
    """No text raises, however odd."""
    assert verdict(mark, "42")[0] in ("unknown", "disagree")
    assert verdict(mark, mark)[0] == "agree"


@rows(
    ("text", "number"),
    [
        ("", None),
        ("no number", None),
        ("It was 1,234 in 1999, then -7.50.", Decimal("-7.5")),
        ("between 10-12", Decimal(12)),
        ("3,5", None),
        ("version 1.2.3", None),
        ("H2O", None),
        ("- 5", Decimal(5)),
        ("5km", Decimal(5)),
    ],
)
def test_final_number(text: str, number: Decimal | None) -> None:
    """The final number is the last one, if it can be read in one way only."""
    assert final_number(text) == number


@rows(("text", "words"), [("", ""), ("*A*,  (b)!\n", "a b"), ("# Head\n* one", "head one"), ("1.5 x", "1.5 x")])
def test_normalised(text: str, words: str) -> None:
    """The normalised text is its words, without the marks around them."""
    assert normalised(text) == words


def test_long_answers_are_not_read() -> None:
    """Answers that are too long to compare between two events are unknown, unless they are equal to the character."""
    long = "word " * 10_000
    assert verdict(long, long)[0] == "agree"
    assert verdict(long, long + ".")[0] == "unknown"


def test_similarity_is_not_called_agreement() -> None:
    """Similarity is the share of words in common, and decides nothing."""
    assert compare("Paris is it", "It is Paris") == Agreement("unknown", "none", VERSION, 1.0)
    assert compare("one two three four", "one two three five").similarity == 0.6
    assert compare("...", "!").similarity is None


@rows(
    "odd",
    ["[" * 3900, '{"a":' * 700, "{" + "9" * 3000 + "}", "[" + "9" * 3500 + "]", "#### " + "=" * 3000, "1/0", "B" * 99],
)
def test_no_structure_breaks_it(odd: str) -> None:
    """No text raises, however deep or long."""
    assert verdict(odd, "[1]")[0] in ("unknown", "disagree")
    assert verdict(odd, "42 = 6 * 7 = 42")[0] in ("unknown", "disagree")


@pytest.mark.long  # it looks at a time
@pytest.mark.parametrize(
    "odd", ["1", "(", "=1+1", "1 x ", "The answer is A, ", "not ", "\n ", "[1,", "1 per ", "é ", "A is correct "]
)
def test_nothing_holds_it_up(odd: str) -> None:
    """No expression runs away: eight times the odd text does not take sixty-four times as long."""
    eighth, whole = (min(_seconds(odd, length) for _ in range(3)) for length in (490, 3920))
    assert whole < 30 * eighth + 0.002


def _seconds(odd: str, length: int) -> float:
    """The processor time of comparing an odd text of that length."""
    text = (odd * length)[:length]
    began = process_time()
    compare(text, text + "\n2 + 3 = 8")
    return process_time() - began
