"""Many runs with faults and cancels at random: every cent is accounted for. bench/money.py runs ten thousand."""

from clock import jump

from bench import money


def test_every_cent_is_accounted_for() -> None:
    """Whatever runs and their askers do, nothing stays reserved, what was settled is what the record has, and no limit
    is exceeded by more than what goes on at once.
    """
    book, faults = jump(money.alone(250, 1))
    assert faults == []
    assert sum(book.words.values()) == 250
    assert len(book.words) >= 6


async def test_every_cent_is_accounted_for_by_two(redis_url: str) -> None:
    """The same holds for two instances that share a Redis, next to a third that died with what it held."""
    book, faults = await money.together(redis_url, 60, 3)
    assert faults == []
    assert sum(book.lanes.values()) > 0


def test_the_worst_hour_slides() -> None:
    """An hour is any hour, not one of the clock."""
    assert money.worst_hour([(0, 5), (3599, 7), (3600, 1), (9000, 9)]) == 12
