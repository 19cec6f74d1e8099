"""The circuit breaker, step by step on a clock that is passed in."""

from cells import rows

from app.breaker import Breaker


def opened(most_s: float = 4.0, chance: float = 0.0) -> Breaker:
    """One that opened at 0 and may be asked again at 1."""
    breaker = Breaker(threshold=3, first_s=1.0, most_s=most_s, chance=lambda: chance)
    for _ in range(3):
        assert breaker.ask(0.0)
        breaker.failed(0.0)
    return breaker


def waits(breaker: Breaker, now: float) -> float:
    """How long from now it refuses, in quarters of a second."""
    return next(step / 4 for step in range(1000) if breaker.ready(now + step / 4))


# Steps from closed with a threshold of 2, 1 s open: `+` answered, `-` failed, `?` asked and let, `!` asked and refused,
# a number is a second that passes.
@rows(
    ("steps", "state"),
    [
        ("", "closed"),
        ("-", "closed"),
        ("--", "open"),
        ("-+-", "closed"),
        ("--!", "open"),
        ("--1", "open"),
        ("--1?", "half_open"),
        ("--1?!", "half_open"),
        ("--1?+", "closed"),
        ("--1?+-", "closed"),
        ("--1?-", "open"),
        ("--1?-1!", "open"),
        ("--1?-2?", "half_open"),
        ("--1?1?", "half_open"),
        ("--+", "closed"),
        ("---", "open"),
    ],
)
def test_states(steps: str, state: str) -> None:
    """The breaker follows its table."""
    breaker, now = Breaker(threshold=2, first_s=1.0, chance=lambda: 0.0), 0.0
    for step in steps:
        if step in "?!":
            assert breaker.ask(now) == (step == "?")
        elif step in "+-":
            breaker.succeeded() if step == "+" else breaker.failed(now)
        else:
            now += int(step)
    assert breaker.state == state


def test_ready_takes_nothing() -> None:
    """To look whether a probe is due does not use it up."""
    breaker = opened()
    assert [breaker.ready(1.0), breaker.ready(1.0), breaker.ask(1.0), breaker.ready(1.0)] == [True, True, True, False]


def test_open_time_grows_to_a_bound() -> None:
    """Each probe that fails doubles the wait, up to the bound; a success makes it short again."""
    breaker, now, seen = opened(most_s=4.0), 0.0, []
    for _ in range(4):
        seen.append(waits(breaker, now))
        now += seen[-1]
        assert breaker.ask(now)
        breaker.failed(now)
    assert seen == [1.0, 2.0, 4.0, 4.0]
    breaker.succeeded()
    for _ in range(3):
        breaker.failed(now)
    assert waits(breaker, now) == 1.0


def test_jitter() -> None:
    """Chance shortens a wait by up to a quarter, and never lengthens it."""
    assert [waits(opened(chance=chance), 0.0) for chance in (0.0, 1.0)] == [1.0, 0.75]


def test_late_failures_do_not_prolong() -> None:
    """Calls that were under way when it opened, and fail later, leave its time as it is."""
    breaker = opened()
    breaker.failed(0.9)
    assert breaker.ask(1.0)


def test_lost_probe() -> None:
    """A probe of which nothing is heard blocks the next one for no longer than the breaker was open."""
    breaker = opened()
    assert breaker.ask(1.0)
    assert [breaker.ask(1.9), breaker.ask(2.0)] == [False, True]
