"""Agreement on answers as models write them: letters, yes and no, marked numbers, dates, JSON, code, many languages."""
# ruff: noqa: RUF001  # signs that look alike are what is tested

from time import process_time
from typing import Final

import pytest

from app.agreement import compare

CODE: Final = "```python\nif x:\n    a()\nb()\n```"

AGREE: Final[list[tuple[str, str, str]]] = [
    # the option taken
    ("B", "The answer is B.", "choice"),
    ("(B)", "**Answer:** B", "choice"),
    ("B) Paris", "B", "choice"),
    ("B) Paris", "(B) paris.", "exact"),
    ("The correct answer is (C).", "C. Because water boils at 100 °C.\n\nThe answer is C.", "choice"),
    ("The answer is D because the others are too small.", "Answer: D", "choice"),
    ("Final answer: \\boxed{A}", "A", "choice"),
    ("$\\boxed{\\text{B}}$", "b)", "choice"),
    ("Option E is correct.", "The best choice is E.", "choice"),
    ("Let us look at each.\nA is too small.\nThe answer is **B**.", "B", "choice"),
    ("Die Antwort ist C.", "La réponse est C.", "choice"),
    ("答案是B。", "The answer is B.", "choice"),
    # yes and no
    ("Yes", "Yes.", "exact"),
    ("Yes.", "Yes, because it is a mammal and all mammals breathe air.", "yes_no"),
    ("No.", "No, it is not.", "yes_no"),
    ("**Yes**, it is.", "Yes", "yes_no"),
    ("The answer is yes.", "Yes.", "yes_no"),
    ("No — whales are mammals.", "No.", "yes_no"),
    ("Oui.", "Yes.", "yes_no"),
    ("Nein", "No", "yes_no"),
    ("Sí.", "Yes", "yes_no"),
    ("是的。", "Yes.", "yes_no"),
    ("True", "True.", "exact"),
    ("**False**", "Answer: False", "yes_no"),
    # marked numbers
    ("**Answer:** 42", "42", "final_number"),
    ("#### 72", "So she sold 48 + 24 = 72 clips in all.", "final_number"),
    ("#### 72", "The answer is $72$.", "final_number"),
    ("\\boxed{3/4}", "The answer is 3/4.", "final_number"),
    ("\\boxed{\\frac{3}{4}}", "3/4", "final_number"),
    ("\\boxed{3/4}", "0.75", "final_number"),
    ("Thus $\\boxed{1000}$", "1,000", "final_number"),
    ("The result is $3.50.", "$3.5", "final_number"),
    ("Final Answer: -7", "The final answer is −7.", "final_number"),
    ("She has 5 + 3 = 8 apples left.", "5 apples and 3 apples make 5 + 3 = 8.", "final_number"),
    ("She pays 3 * $4 = $12.\n#### 12", "The total is $12.", "final_number"),
    ("12 / 4 = <<12/4=3>>3 hours", "It takes 12 / 4 = 3 hours.", "final_number"),
    ("The answer is 42. I hope this helps!", "42", "final_number"),
    ("The answer is 25%.", "25 percent", "final_number"),
    ("It costs 5 dollars.", "$5", "final_number"),
    ("The distance is 12 kilometres.", "The answer is 12 km.", "final_number"),
    ("approximately 3.14", "The answer is approximately 3.14.", "final_number"),
    ("Die Antwort ist 42.", "42", "final_number"),
    ("La réponse est 42.", "The answer is 42.", "final_number"),
    ("La respuesta es 42.", "42.", "final_number"),
    ("答案是42。", "42", "final_number"),
    ("答えは 42", "42", "final_number"),
    ("Ответ: 42", "42", "final_number"),
    ("1.5e3", "1500", "final_number"),
    # dates
    ("2024-03-05", "5 March 2024", "date"),
    ("It was on March 5, 2024.", "2024-03-05", "date"),
    ("March 5th, 2024", "The answer is 5 March 2024.", "date"),
    ("5. März 2024", "2024-03-05", "date"),
    ("le 5 mars 2024", "2024-03-05", "date"),
    ("25/12/2024", "12/25/2024", "date"),
    ("2024年3月5日", "2024-03-05", "date"),
    # JSON
    ('{"a": 1, "b": [true, null]}', '{\n  "b": [true, null],\n  "a": 1.0\n}', "json"),
    ('```json\n{"city": "Paris"}\n```', '{"city":"Paris"}', "json"),
    ('Here is the JSON:\n```json\n{"x": {"y": 2, "z": 3}}\n```', '{"x": {"z": 3, "y": 2}}', "json"),
    ("[1, 2, 3]", "[1,2,3]", "json"),
    ("{}", "{ }", "json"),
    # code and words
    (CODE, CODE.replace("```python", "```"), "exact"),
    (CODE, CODE + "\n", "exact"),
    ("print(1)", "```python\nprint(1)\n```", "exact"),
    ("La capitale est Paris.", "la capitale est **Paris**", "exact"),
    ("東京です。", "東京です", "exact"),
    ("I'm sorry, I can't help with that.", "I’m sorry, I can’t help with that", "exact"),
]
DISAGREE: Final[list[tuple[str, str, str]]] = [
    ("B", "C", "choice"),
    ("The answer is B.", "Answer: (D)", "choice"),
    ("B) Paris", "C) London", "choice"),
    ("Yes", "No", "yes_no"),
    ("Yes, because it floats.", "No.", "yes_no"),
    ("Ja.", "No.", "yes_no"),
    ("True", "False", "yes_no"),
    ("**Answer:** 42", "**Answer:** 43", "final_number"),
    ("#### 72", "#### 71", "final_number"),
    ("\\boxed{3/4}", "\\boxed{2/3}", "final_number"),
    ("5 + 3 = 8 apples", "5 * 3 = 15 apples", "final_number"),
    ("The answer is $12.", "$13", "final_number"),
    ("Paris has 2 million people.", "Paris has 3 million people.", "final_number"),
    ("2024-03-05", "6 March 2024", "date"),
    ("It was on March 5, 2024.", "March 5, 2023", "date"),
    ('{"a": 1}', '{"a": 2}', "json"),
    ('{"city": "Paris"}', '{"city": "London"}', "json"),
    ("[1, 2]", "[1, 3]", "json"),
    ('{"ok": true}', '{"ok": false}', "json"),
    ("She pays 6 * 7 = 42.\n#### 42", "First 6 + 7 = 13.\nThen she", "number_set"),
]
UNKNOWN: Final[list[tuple[str, str]]] = [
    # letters
    ("A", "a dog"),
    ("The answer is A dog.", "A"),
    ("B) Paris", "B) London"),
    ("The answer is A and C.", "A"),
    ("The answer is A or B.", "B"),
    ("Either A or B.", "A"),
    ("The answer is not B.", "B"),
    ("The answer is A. Wait, the answer is B.", "B"),
    ("The answer is B. Actually, that is wrong.", "B"),
    ("A. Lincoln", "A. Johnson"),
    ("Vitamin C", "Vitamin D"),
    ("The wrong answer is B.", "B"),
    ("The incorrect option is B.", "B"),
    ("Plan B", "B"),
    ("C", "C++"),
    ("F", "The answer is F sharp."),
    # yes and no
    ("Yes, but only on Sundays.", "Yes."),
    ("Yes and no.", "Yes."),
    ("No problem!", "No."),
    ("No one knows.", "No."),
    ("Not always.", "No."),
    ("Yes, it is safe.", "Yes, it is not safe."),
    ("Yes, 5 of them.", "Yes, 7 of them."),
    ("Yes, Paris.", "Yes, London."),
    ("True", "Yes"),
    ("Yes", "False"),
    ("Maybe.", "Yes."),
    ("It depends.", "It does not depend."),
    ("Yes. However, that was long ago.", "Yes."),
    ("Well, yes", "no"),
    ("No, it is safe.", "No, it is not safe."),
    # numbers
    ("The answer is 42 or 43.", "42"),
    ("The answer is either 42", "42"),
    ("42 and 43", "43"),
    ("24 selfies and 18 portraits", "27 selfies and 18 portraits"),
    ("He took 9 * 2 = 18.\nSo 24 selfies and 18 portraits.", "He took 9 * 2 = 18.\nSo 27 selfies and 18 portraits."),
    ("3\n5", "2\n5"),
    ("x = 3\ny = 5", "x = 2\ny = 5"),
    ("Alice: 3\nBob: 5", "Alice: 2\nBob: 5"),
    ("Alice gets 2 + 3 = 5 and then Bob gets only 3 + 1 = 4", "Bob gets 3 + 1 = 4"),
    ("about 42", "42"),
    ("more than 42", "42"),
    ("at least 42", "42"),
    ("less than 42", "more than 42"),
    ("The answer is not 42.", "42"),
    ("It is probably 42.", "42"),
    ("42 is false.", "42"),
    ("42?", "42"),
    ("The answer is 42.\nWait, I made a mistake.", "42"),
    ("5 hours", "5"),
    ("5 hours", "300 minutes"),
    ("1 hour", "60 minutes"),
    ("5 and a half", "5"),
    ("5 dozen", "5"),
    ("5 apples", "5 oranges"),
    ("$5", "5 cents"),
    ("$5", "5"),
    ("5 kg", "5 g"),
    ("5 Mb", "5 MB"),
    ("5 thousand", "5000"),
    ("5th", "5"),
    ("5x", "5"),
    ("5-6", "6"),
    ("x^5", "5"),
    ("5^2", "25"),
    ("COVID-19", "19"),
    ("GPT-4", "4"),
    ("Apollo 11", "Apollo 13 was 11"),
    ("1 1/2", "1/2"),
    ("half", "1/2"),
    ("1,5", "1.5"),
    ("1.000", "1,000"),
    ("12:30 pm", "30 pm"),
    ("\\boxed{3} and \\boxed{4}", "\\boxed{4}"),
    ("I cannot say whether it is 42.", "42"),
    ("It isn't 42.", "42"),
    ("Die Antwort ist nicht 42.", "42"),
    ("Ce n'est pas 42.", "42"),
    ("答案不是42。", "42"),
    ("Alice gets 5 and Bob gets 3 + 1 = 4", "Alice gets 6 and Bob gets 3 + 1 = 4"),
    ("1+1=2, 2+2=4", "4"),
    ("Python 3.10", "Python 3.1"),
    ("3.10", "3.1"),
    ("5 a.m.", "5 p.m."),
    ("5 am", "5 pm"),
    ("at 5 pm", "5"),
    ("44 BC", "44"),
    ("50° N", "50° S"),
    ("5 degrees below zero", "5 degrees"),
    ("a loss of $5", "$5"),
    ("It fell by 5%.", "5%"),
    ("x > 5", "x < 5"),
    ("x ≥ 5", "x ≤ 5"),
    ("x = 5", "y = 5"),
    ("Answer: 5 when x is odd", "5"),
    ("5 of 10", "5"),
    ("The answer is 42 km/h.", "42 km"),
    ("$42/hour", "$42/day"),
    ("$42 per hour", "$42 per day"),
    ("The final answer is 5.\n\nNote that this assumes x > 3.", "5"),
    # dates
    ("03/05/2024", "2024-03-05"),
    ("2024-03-05", "March 2024"),
    ("2024-03-05", "2024"),
    ("It was not on March 5, 2024.", "2024-03-05"),
    ("before March 5, 2024", "2024-03-05"),
    ("March 5, 2024 or later", "2024-03-05"),
    ("2024-02-30", "30 February 2024"),
    ("5 March 2024 to 7 March 2024", "2024-03-07"),
    ("He was born on March 5, 2024.", "He died on March 5, 2024."),
    # JSON
    ('{"a": 1}', '{"a": true}'),
    ('{"a": 1}', '{"a": "1"}'),
    ('{"a": 1}', '{"a": 1, "b": 2}'),
    ('{"a": 1, "a": 2}', '{"a": 2}'),
    ("[1, 2]", "[2, 1]"),
    ('{"a": "x"}', '{"a": "X"}'),
    ('{"a": NaN}', '{"a":NaN }'),
    ('{"why": "it is the capital of France"}', '{"why": "France is ruled from there"}'),
    ('```json\n{"a": 1}\n```\nor\n```json\n{"a": 2}\n```', '{"a": 2}'),
    # code: white space and case count
    (CODE, CODE.replace("b()", "    b()")),
    (CODE, CODE.replace("a()", "A()")),
    ("if x:\n    a()\nb()", "if x:\n    a()\n    b()"),
    # refusals and languages
    ("I cannot answer that.", "42"),
    ("I'm sorry, I can't help with that.", "I can help with that."),
    ("I cannot answer that.", "I can answer that."),
    ("The capital is Paris.", "La capitale est Paris."),
    ("东京", "東京"),
    ("Der Hund", "Der Hund nicht"),
    ("He did it.", "He didn't."),
    ("There is life on Mars.", "There is no life on Mars."),
    ("All of them", "None of them"),
    ("Wellington won in 1815.", "It was in Belgium in 1815."),
]


def verdict(one: str, other: str) -> tuple[str, str]:
    """Verdict and method, the same whichever answer comes first."""
    there, back = compare(one, other), compare(other, one)
    assert there == back
    return there.verdict, there.method


@pytest.mark.parametrize(("one", "other", "method"), AGREE)
def test_agree(one: str, other: str, method: str) -> None:
    """Two ways to write one final answer agree."""
    assert verdict(one, other) == ("agree", method)


@pytest.mark.parametrize(("one", "other", "method"), DISAGREE)
def test_disagree(one: str, other: str, method: str) -> None:
    """Two final answers of one kind that are not the same disagree."""
    assert verdict(one, other) == ("disagree", method)


@pytest.mark.parametrize(("one", "other"), UNKNOWN)
def test_unknown(one: str, other: str) -> None:
    """What can be read in two ways, is qualified, denied or taken back is no agreement."""
    assert verdict(one, other) == ("unknown", "none")


@pytest.mark.parametrize(
    "odd",
    ["[" * 3900, '{"a":' * 700, "{" + "9" * 3000 + "}", "[" + "9" * 3500 + "]", "#### " + "=" * 3000, "1/0", "B" * 99],
)
def test_nothing_breaks_it(odd: str) -> None:
    """No text raises, however deep or long."""
    assert verdict(odd, "[1]")[0] in ("unknown", "disagree")
    assert verdict(odd, "42 = 6 * 7 = 42")[0] in ("unknown", "disagree")


@pytest.mark.parametrize(
    "odd", ["1", "(", "=1+1", "1 x ", "The answer is A, ", "not ", "\n ", "[1,", "1 per ", "é ", "A is correct "]
)
def test_nothing_holds_it_up(odd: str) -> None:
    """The odd text that takes longest takes milliseconds, not seconds: no expression runs away."""
    text = (odd * 4000)[:3990]
    began = process_time()
    compare(text, text + "\n2 + 3 = 8")
    assert process_time() - began < 0.1
