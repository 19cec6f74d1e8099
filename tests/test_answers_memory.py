"""The level in memory."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from levels import answer

from app.answers.answer import Answer
from app.answers.memory import Memory
from app.question import Key

NOW = 1_000_000.0


class Shelf:
    """A memory on a clock that a test sets."""

    def __init__(self, entries: int = 10, size: int = 1_000_000, age_s: float = 900.0) -> None:
        self.now = NOW
        self.memory = Memory(entries, size, age_s, lambda: self.now)

    def put(self, name: str, run: int = 1, **changes: Any) -> Answer:
        """Hold an answer that expires in an hour."""
        what = answer(Key("me", name), run, **{"created_at": NOW + run, "expires_at": NOW + 3600, **changes})
        self.memory.put(what)
        return what

    def holds(self, names: str) -> str:
        """Which of these it has."""
        return "".join(name for name in names if self.memory.get(Key("me", name)) is not None)


def test_returns_what_it_holds() -> None:
    """An answer is found under its own scope and fingerprint only."""
    shelf = Shelf()
    held = shelf.put("a")
    keys = [Key("me", "a"), Key("me", "b"), Key("you", "a")]
    assert [shelf.memory.get(key) for key in keys] == [held, None, None]


def test_least_recently_used_goes_first() -> None:
    """When there are too many, the answer that was not asked for the longest goes."""
    shelf = Shelf(entries=3)
    for name in "abc":
        shelf.put(name)
    assert shelf.holds("a") == "a"
    shelf.put("d")
    assert (shelf.holds("abcd"), shelf.memory.evictions["entries"]) == ("acd", 1)


def test_bytes_are_bounded() -> None:
    """When there is no room, as many go as it takes."""
    each = answer().size
    shelf = Shelf(entries=100, size=11 * each)
    for name in "abcdefghijk":
        shelf.put(name)
    shelf.put("l", events=b"x" * (each // 10))
    assert (shelf.holds("abcdefghijkl"), shelf.memory.evictions["bytes"]) == ("cdefghijkl", 2)


def test_large_answer() -> None:
    """An answer larger than a tenth of the bytes is not held, and what it replaces is not served any more."""
    shelf = Shelf(size=50_000)
    shelf.put("a")
    shelf.put("a", run=2, events=b"x" * 5_000)
    assert (shelf.holds("a"), shelf.memory.evictions["too_large"]) == ("", 1)


@pytest.mark.parametrize(("age_s", "expires_s"), [(60.0, 3600.0), (3600.0, 60.0)])
def test_expires(age_s: float, expires_s: float) -> None:
    """An answer goes when it expires or has been here too long, whichever comes first, used or not."""
    shelf = Shelf(age_s=age_s)
    shelf.put("a", expires_at=NOW + expires_s)
    shelf.now += 59.9
    assert shelf.holds("a") == "a"
    shelf.now += 0.1
    assert (shelf.holds("a"), *shelf.memory.size()) == ("", 0, 0)
    assert shelf.memory.evictions["expired"] == 1


def test_expired_is_not_held() -> None:
    """An answer that has expired before it came drives nothing out."""
    shelf = Shelf(entries=1)
    shelf.put("a")
    shelf.put("b", expires_at=NOW)
    assert shelf.holds("ab") == "a"


def test_newer_answer_stays() -> None:
    """A newer answer replaces an older one, and is not replaced by it."""
    shelf = Shelf()
    for run in (1, 3, 2):
        shelf.put("a", run)
    held = shelf.memory.get(Key("me", "a"))
    assert held is not None
    assert held.created_at == NOW + 3
    assert shelf.memory.size().entries == 1


def test_forgets() -> None:
    """Forgetting drops what is named and says how many that were."""
    shelf = Shelf()
    for name in "abc":
        shelf.put(name)
    assert shelf.memory.forget(lambda key: key.fingerprint in "abx") == 2
    assert shelf.holds("abc") == "c"


@pytest.mark.parametrize(("entries", "size"), [(0, 1_000_000), (10, 0)])
def test_off(entries: int, size: int) -> None:
    """A memory without room is off, and holds nothing."""
    shelf = Shelf(entries=entries, size=size)
    shelf.put("a")
    assert (shelf.memory.off, shelf.holds("a")) == (True, "")


STEP = some.tuples(some.sampled_from("abcdefgh"), some.integers(0, 4000), some.integers(-5, 50), some.booleans())


@settings(derandomize=True, max_examples=40, deadline=None, database=None)
@given(some.lists(STEP, max_size=40), some.integers(0, 5), some.integers(0, 60_000))
def test_never_beyond_its_bounds(steps: list[tuple[str, int, int, bool]], entries: int, size: int) -> None:
    """Whatever is put, read and forgotten in whatever order, number and bytes stay within their bounds."""
    shelf = Shelf(entries, size, age_s=20.0)
    inside: dict[str, Answer] = {}
    for name, length, lives_s, forget in steps:
        shelf.now += 1
        inside[name] = shelf.put(name, int(shelf.now - NOW), events=b"x" * length, expires_at=shelf.now + lives_s)
        if forget:
            shelf.memory.forget(lambda key, name=name: key.fingerprint == name)  # type: ignore[misc]
        held = [inside[one] for one in "abcdefgh" if shelf.holds(one)]
        assert shelf.memory.size() == (len(held), sum(one.size for one in held))
        assert len(held) <= entries
        assert sum(one.size for one in held) <= size
