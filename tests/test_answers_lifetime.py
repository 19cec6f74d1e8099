"""How long an answer may be given again."""

import pytest
from cells import rows

from app.answers.lifetime import Lifetimes, parse_classes


@rows(
    ("prompt_class", "chance", "until"),
    [
        (None, 0.0, 1100.0),
        ("essay", 0.0, 1100.0),
        ("faq", 0.0, 1600.0),
        ("news", 0.0, None),
        (None, 1.0, 1080.0),
        ("faq", 0.5, 1540.0),
    ],
)
def test_until(prompt_class: str | None, chance: float, until: float | None) -> None:
    """A class has its own lifetime or the common one, 0 keeps nothing, and chance only shortens."""
    lifetimes = Lifetimes(100.0, {"faq": 600.0, "news": 0.0}, 0.2, lambda: chance)
    assert lifetimes.until(1000.0, prompt_class) == until


def test_jitter_spreads() -> None:
    """Answers stored at the same moment do not all expire at the same moment."""
    lifetimes = Lifetimes(100.0, {}, 0.1)
    ends = {lifetimes.until(0.0, None) for _ in range(50)}
    assert len(ends) > 10
    assert all(end is not None and 90.0 <= end <= 100.0 for end in ends)


@rows("text", ["", " , ", "faq=60", " faq = 60.5 , news=0,", "a=b=1"])
def test_classes(text: str) -> None:
    """The setting is a list of class=seconds, with spaces where one likes them."""
    expected = {"faq=60": {"faq": 60.0}, " faq = 60.5 , news=0,": {"faq": 60.5, "news": 0.0}, "a=b=1": {"a=b": 1.0}}
    assert parse_classes(text) == expected.get(text, {})


@rows(
    ("text", "named"),
    [
        ("faq", "'faq' is not of the form"),
        ("=60", "'=60' is not of the form"),
        ("faq=soon", "'faq' needs a number .* not 'soon'"),
        ("faq=", "'faq' needs"),
        ("faq=-1", "'faq' needs"),
        ("faq=nan", "'faq' needs"),
        ("faq=inf", "'faq' needs"),
        ("faq=1,faq=2", "'faq' is named twice"),
    ],
)
def test_wrong_classes(text: str, named: str) -> None:
    """What is wrong in the setting is named."""
    with pytest.raises(ValueError, match=named):
        parse_classes(text)
