"""The line before the races: bounded, fair between tenants and callers, by priority, and nobody starves in it."""

from app.admission.queue import AGE_S, REMEMBERED, STANDING_S, Line, Place
from app.question import Caller, Grant

TIMEOUT_S = 10.0


def caller(name: str, priority: int | None = None, tenant: str = "") -> Caller:
    """Somebody of that priority."""
    return Caller(name, tenant, grant=Grant(priority=priority))


def line_of(*names: str | Caller, length: int = 100) -> Line[str]:
    """A line in which these wait, one after another, from second 0 on; a ticket is `name number`."""
    line: Line[str] = Line(length, TIMEOUT_S)
    for number, who in enumerate(names):
        asker = caller(who) if isinstance(who, str) else who
        line.enter(Place(asker, number / 1000, f"{asker.id} {number}"), number / 1000)
    return line


def order(line: Line[str], now: float = 1.0) -> str:
    """Whom the places are given to, one by one, none of which is returned."""
    found = []
    while (place := line.next(now)) is not None:
        found.append(place.ticket.split()[0])
    return " ".join(found)


def test_one_caller_is_served_in_order() -> None:
    """The questions of one caller go in the order in which they came."""
    line = line_of("a", "a", "a")
    assert [place.ticket for _ in range(3) if (place := line.next(0.1))] == ["a 0", "a 1", "a 2"]
    assert line.next(0.1) is None


def test_callers_take_turns() -> None:
    """A caller whose line is long holds up nobody: who holds fewer places goes first."""
    assert order(line_of("a", "a", "a", "a", "b", "b", "c"), 0.1) == "a b c a b a a"


def test_places_that_are_held_count() -> None:
    """A caller with races under way lets another go first, until those end."""
    line = line_of("a", "b")
    line.take(caller("a"), 0.0)
    assert (place := line.next(0.1)) is not None
    assert place.caller.id == "b"
    line.give_back(caller("a"), 0.0, 1.0)
    assert line.held == 1


def test_tenants_take_turns() -> None:
    """A tenant with many callers is one tenant: its callers share its turns."""
    many = [caller(name, tenant="many") for name in "abc"]
    assert order(line_of(*many, caller("z", tenant="one"), caller("z", tenant="one")), 0.1) == "a z b z c"


def test_a_name_is_no_tenant() -> None:
    """A caller without a tenant shares no turns with a tenant of its name."""
    assert order(line_of(caller("a", tenant="x"), caller("x"), caller("b", tenant="x")), 0.1) == "a x b"


def test_a_higher_priority_goes_first() -> None:
    """The priority of a grant decides before everything else; 5 is that of who was granted none."""
    waiting = (
        caller("low", 0),
        caller("none"),
        caller("six", 6),
        caller("top", 9),
        caller("top", 9),
        caller("four", 4),
    )
    assert order(line_of(*waiting), 0.1) == "top top six none four low"


def test_who_is_passed_over_rises() -> None:
    """A caller of the lowest priority goes before fresh ones of the highest once it was passed over for long enough."""
    line = line_of(caller("low", 0))
    for now in range(1, 30):
        line.enter(Place(caller("top", 9), now * AGE_S, f"top {now}"), now * AGE_S)
        place = line.next(now * AGE_S)
        assert place is not None
        line.give_back(place.caller, now * AGE_S, now * AGE_S)
        if place.caller.id == "low":
            break
    assert now == 9


def test_who_was_refused_goes_on_rising() -> None:
    """A caller that left the line in vain is not younger when it comes again; one that was served is."""
    line: Line[str] = Line(10, TIMEOUT_S)
    low = Place(caller("low", 0), 0.0, "low")
    line.enter(low, 0.0)
    line.leave(low, 1.0)
    for name, expected in (("low", "low"), ("low", "top")):
        line.enter(Place(caller("top", 9), 6.0, "top"), 6.0)
        line.enter(Place(caller(name, 0), 6.0, name), 6.0)
        place = line.next(6.0)
        assert place is not None
        assert place.ticket == expected
        line.next(6.0)


def test_who_asks_much_does_not_rise_by_it() -> None:
    """A flood whose head has waited long loses against a newcomer while its caller is served again and again."""
    line = line_of(*["flood"] * 50)
    for turn in range(1, 20):
        assert line.next(turn * 0.4) is not None
    line.enter(Place(caller("new"), 7.7, "new"), 7.7)
    place = line.next(7.8)
    assert place is not None
    assert place.ticket == "new"


def test_a_full_line_takes_nobody() -> None:
    """Where as many wait as may, the newcomer is who has to leave; and where nobody may, everybody."""
    for line in (line_of("a", "b", length=2), line_of(length=0)):
        waiting = line.waiting
        newcomer = Place(caller("c"), 1.0, "c")
        assert line.enter(newcomer, 1.0) is newcomer
        assert line.waiting == waiting


def test_no_more_wait_than_will_have_a_place() -> None:
    """A line takes as many as places will be free for in time, by how long places are held; one in any case."""
    for held_s, room in ((2.0, 5), (100.0, 1), (0.25, 20)):
        line = line_of(length=20)
        line.take(caller("a"), 0.0)
        line.take(caller("a"), 0.0)
        line.give_back(caller("a"), 0.0, held_s)
        for _ in range(30):
            line.enter(Place(caller("a"), 0.0, ""), 0.0)
        assert line.waiting == room


def test_no_more_wait_than_places_will_have_been_held_for_long() -> None:
    """Places that were all taken a moment ago will not be free in time, however many there are; old ones will."""
    for since, room in ((0.0, 1), (-2.0, 3)):  # in a calm, places last 3 s; one may wait for 2
        line: Line[str] = Line(100, 2.0)
        line.take(caller("a"), -6.0)
        line.give_back(caller("a"), -6.0, -3.0)
        for number in range(5):
            line.take(caller("a"), since + number / 1000)
        for _ in range(30):
            line.enter(Place(caller("a"), 0.1, ""), 0.1)
        assert line.waiting == room


def test_a_flood_makes_room_for_others() -> None:
    """In a full line the last of who has the most is displaced by who would have clearly fewer, not by itself."""
    line = line_of("a", "a", "b", length=3)
    displaced = line.enter(Place(caller("c"), 0.1, "c"), 0.1)
    assert displaced is not None
    assert (displaced.ticket, line.waiting) == ("a 1", 3)
    again = Place(caller("a"), 0.1, "a")
    assert line.enter(again, 0.1) is again


def test_who_holds_places_makes_room_for_who_holds_none() -> None:
    """In a full line somebody whose caller holds places is displaced by somebody whose caller holds none."""
    line = line_of("a", length=1)
    line.take(caller("a"), 0.0)
    line._passed_over["a"] = 0.1  # as it is when it asks again
    displaced = line.enter(Place(caller("b"), 0.1, "b"), 0.1)
    assert displaced is not None
    assert displaced.ticket == "a 0"


def test_a_standing_line_is_short() -> None:
    """A line that stands holds no more than will have a place within the moment that they may wait."""
    line = line_of("a")
    for _ in range(200):
        line.take(caller("a"), 0.0)
    line.give_back(caller("a"), 0.0, 0.5)
    late = TIMEOUT_S + 0.1
    waiting = [line.enter(Place(caller("b"), late, ""), late) for _ in range(20)].count(None)
    assert (waiting, line.waiting) == (2, 3)  # 199 places of half a second: 398 a second


def test_a_low_priority_makes_room_for_a_high_one() -> None:
    """In a full line somebody of a lower priority is displaced, never somebody of a higher one."""
    line = line_of(caller("low", 1), caller("high", 8), length=2)
    displaced = line.enter(Place(caller("mid", 5), 0.1, "mid"), 0.1)
    assert displaced is not None
    assert displaced.ticket == "low 0"
    last = Place(caller("least", 0), 0.1, "least")
    assert line.enter(last, 0.1) is last


def test_a_standing_line_has_little_patience() -> None:
    """One may wait for the time that was set, and but a moment once the line was not empty for as long."""
    line = line_of("a", "b")
    assert line.patience_s(TIMEOUT_S - 0.01) == TIMEOUT_S
    assert line.patience_s(TIMEOUT_S) == STANDING_S


def test_patience_comes_back_after_a_calm() -> None:
    """A line that stood has little patience until nobody had to wait for as long; an empty moment is no calm."""
    line = line_of("a")
    assert line.next(TIMEOUT_S) is not None
    for now, patience_s in ((TIMEOUT_S + 1, STANDING_S), (2 * TIMEOUT_S + 2, TIMEOUT_S)):
        line.enter(Place(caller("b"), now, "b"), now)
        assert line.patience_s(now) == patience_s
        assert line.next(now) is not None


def test_a_moment_is_no_calm() -> None:
    """A line that is empty for moments only, because so few may wait in it, stands like one that never is."""
    line = line_of("a")
    for turn in range(1, 12):
        now = turn * TIMEOUT_S / 11
        assert line.next(now) is not None
        line.enter(Place(caller("b"), now + TIMEOUT_S / 20, "b"), now + TIMEOUT_S / 20)
    assert line.patience_s(TIMEOUT_S * 1.1) == STANDING_S


def test_leaving_twice_is_leaving_once() -> None:
    """Who is not in the line cannot leave it."""
    line = line_of("a", "b")
    [first, _] = line
    assert [line.leave(first, 1.0), line.leave(first, 1.0)] == [True, False]
    assert line.waiting == 1


def test_what_is_remembered_is_bounded() -> None:
    """Callers that came once and never again are forgotten, the oldest first."""
    line: Line[str] = Line(0, TIMEOUT_S)
    for number in range(REMEMBERED + 50):
        line.enter(Place(caller(str(number)), 0.0, ""), 0.0)
    assert len(line._passed_over) == REMEMBERED
    assert "0" not in line._passed_over
    assert (line._callers, line._tenants) == ({}, {})
