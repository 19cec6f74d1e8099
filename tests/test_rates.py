"""Requests counted in sliding windows, here and in Redis alike, and what the doorman says of them."""

import itertools
import re
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from cells import rows
from redises import RedisServer

from app.admission.allowance import Allowances, Defaults, parse_endpoints, parse_limits
from app.admission.doorman import Asked, Doorman, SharedWindows, Window, Windows
from app.admission.rates import MemoryWindows, window_of
from app.admission.sparing import CountersUnavailable, Sparing
from app.breaker import Breaker
from app.errors import RateLimited
from app.question import Caller, Grant
from app.redis.client import Client
from app.redis.rates import RedisWindows

pytestmark = pytest.mark.usefixtures("within_a_minute")
ADA, BOB = Caller("ada", "acme"), Caller("bob", "acme")
MINUTE, HOUR = Asked("ada:minute", 3, 60), Asked("ada:hour", 5, 3600)


@pytest_asyncio.fixture(params=["memory", "redis"])
async def windows(request: pytest.FixtureRequest) -> AsyncIterator[Windows]:
    """Empty windows of either kind."""
    if request.param == "memory":
        yield MemoryWindows()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    async with Client(server.url, "t") as client:
        yield RedisWindows(client, 1.0)


def doorman(caller: str = "", *, tenant: str = "", everybody: str = "", endpoints: str = "") -> Doorman:
    """A doorman over this process's windows."""
    defaults = Defaults(parse_limits(caller), parse_limits(tenant), parse_limits(everybody), parse_endpoints(endpoints))
    return Doorman(Allowances(defaults), MemoryWindows(), Counter())


async def test_a_window_lets_in_so_many(windows: Windows) -> None:
    """Three of three a minute are counted, and each is told how many are left; the fourth is not."""
    found = [await windows.take([MINUTE]) for _ in range(4)]
    assert [(window.taken, window.left) for (window,) in found] == [(True, 2), (True, 1), (True, 0), (False, 0)]
    assert all(0 < window.reset_s <= 60 for (window,) in found)


async def test_who_is_refused_by_the_first_window_is_not_counted_by_the_next(windows: Windows) -> None:
    """Windows are asked in their order up to the first that is full."""
    found = [await windows.take([MINUTE, HOUR]) for _ in range(4)]
    assert found[-1] == [Window(False, 0, found[-1][0].reset_s)]
    (hour,) = await windows.take([HOUR])
    assert (hour.taken, hour.left) == (True, 1)


async def test_to_look_counts_nothing(windows: Windows) -> None:
    """Whoever looks at windows finds them as they were, full ones too."""
    for _ in range(3):
        await windows.take([MINUTE])
    for _ in range(2):
        looked = await windows.take([MINUTE, HOUR], count=False)
        assert [window.left for window in looked] == [0, 5]


async def test_a_window_of_nothing_lets_nobody_in(windows: Windows) -> None:
    """Zero requests a minute are none at all."""
    assert [window.taken for window in await windows.take([Asked("x", 0, 60)])] == [False]


async def test_a_window_slides(monkeypatch: pytest.MonkeyPatch) -> None:
    """The requests of the span before weigh less and less, until none of them counts."""
    windows, now = MemoryWindows(), 6000.0
    monkeypatch.setattr(time, "time", lambda: now)  # the library takes no clock
    for _ in range(3):
        await windows.take([MINUTE])
    for now, left in ((6030.0, 0), (6061.0, 1), (6081.0, 2), (6101.0, 3), (6121.0, 3)):  # noqa: B007  # the clock reads it
        assert [window.left for window in await windows.take([MINUTE], count=False)] == [left]


async def test_a_window_in_redis_slides(redis_server: RedisServer) -> None:
    """When its span is over a counter becomes the one before, and weighs as much as is left of it."""
    async with Client(redis_server.url, "t") as client:
        windows = RedisWindows(client, 1.0)
        for _ in range(3):
            await windows.take([MINUTE])
        (name,) = re.findall(r"t:rate:\S+", redis_server.ask("KEYS *"))
        redis_server.ask(f"PEXPIRE {name} 30000")  # 90 s later
        (window,) = await windows.take([MINUTE], count=False)
    assert window.left == 2
    assert 9 < window.reset_s <= 10


@pytest.mark.parametrize(
    ("before", "current", "window"),
    [
        ((0, 0.0), (0, 0.0), Window(True, 3, 0.0)),
        ((3, 30.0), (1, 90.0), Window(True, 1, 10.0)),
        ((0, -0.001), (3, 70.0), Window(True, 0, 10.0)),
    ],
)
def test_two_counters_make_a_window(before: tuple[int, float], current: tuple[int, float], window: Window) -> None:
    """What is left and when the next place is free, by the two counters that Redis keeps."""
    assert window_of(MINUTE, True, before, current) == window


async def test_what_is_left_stands_in_headers() -> None:
    """Every limit is a policy with its quota and window, and says what remains and for how long it counts."""
    headers = dict(await doorman("3 requests/minute, 9 requests/hour").arrive(ADA, "reason"))
    assert (
        headers[b"ratelimit-policy"] == b'"caller_requests_per_minute";q=3;w=60, "caller_requests_per_hour";q=9;w=3600'
    )
    pattern = rb'"caller_requests_per_minute";r=2;t=\d+, "caller_requests_per_hour";r=8;t=\d+'
    assert re.fullmatch(pattern, headers[b"ratelimit"])


async def test_what_others_use_stands_in_no_header() -> None:
    """What is left of an endpoint's limit, or of everybody's, is nobody's to see: only how much that is."""
    limits = {"everybody": "9 requests/hour", "endpoints": "reason: 5 requests/minute"}
    assert [name for name, _ in await doorman(**limits).arrive(ADA, "reason")] == [b"ratelimit-policy"]
    left = dict(await doorman("3 requests/minute", **limits).arrive(ADA, "reason"))[b"ratelimit"]
    assert re.fullmatch(rb'"caller_requests_per_minute";r=2;t=\d+', left)


async def test_a_refusal_says_which_limit_and_when() -> None:
    """Who comes too often is told the limit, its scope and how long to wait, and it is counted."""
    door = doorman("1 requests/minute")
    await door.arrive(ADA, "reason")
    with pytest.raises(RateLimited, match="your limit of 1 requests per minute") as refused:
        await door.arrive(ADA, "runs")
    details = refused.value.details
    assert (details["limit"], details["scope"], details["most"]) == ("requests_per_minute", "caller", 1)
    assert 1 <= int(str(details["retry_after_s"])) <= 60
    assert b";r=0;" in dict(refused.value.headers)[b"ratelimit"]
    assert door.exceeded == {("caller", "requests_per_minute"): 1}
    await door.arrive(BOB, "reason")


@pytest.mark.parametrize(
    ("limits", "scope"),
    [
        ({"tenant": "1 requests/hour"}, "tenant"),
        ({"everybody": "1 requests/hour"}, "global"),
        ({"endpoints": "export: 9 requests/hour; reason: 1 requests/hour"}, "endpoint"),
    ],
)
async def test_others_use_up_what_is_shared(limits: dict[str, str], scope: str) -> None:
    """What a tenant, an endpoint or everybody may do together, one of them can use up."""
    door = doorman(**limits)
    await door.arrive(ADA, "reason")
    with pytest.raises(RateLimited) as refused:
        await door.arrive(BOB, "reason")
    assert refused.value.details["scope"] == scope


async def test_a_grant_takes_the_place_of_the_default() -> None:
    """What a key was granted counts instead of the server's limit of that name, more, less, or none at all."""
    door = doorman("1 requests/minute")
    rich = Caller("rich", grant=Grant(requests_per_minute=2))
    for _ in range(2):
        await door.arrive(rich, "reason")
    with pytest.raises(RateLimited, match="no requests") as refused:
        await door.arrive(Caller("poor", grant=Grant(requests_per_hour=0)), "reason")
    assert "retry_after_s" not in refused.value.details


async def test_nothing_is_said_where_nothing_is_limited() -> None:
    """Without a limit there is no header and no counter."""
    assert await doorman(everybody="off").arrive(ADA, "reason") == []


async def test_one_sees_what_is_left_of_ones_own() -> None:
    """A caller sees their limits and their tenant's, not what everybody has left, and looking costs nothing."""
    door = doorman("3 requests/minute", tenant="5 requests/hour", everybody="9 requests/hour")
    await door.arrive(BOB, "reason")
    for _ in range(2):
        standing = await door.standing(ADA)
    assert [(row["scope"], row["limit"], row["most"], row["left"]) for row in standing] == [
        ("caller", "requests_per_minute", 3, 3),
        ("tenant", "requests_per_hour", 5, 4),
    ]


class Away:
    """Windows that do not answer; asked: how often they were tried."""

    asked = 0

    async def take(self, asked: object, *, count: bool = True) -> list[Window]:  # noqa: ARG002  # as Windows has it
        """Fail."""
        self.asked += 1
        raise CountersUnavailable("gone")


async def test_away_windows_are_counted_here() -> None:
    """While the shared windows are away requests are counted here, and after some failures they are left alone."""
    away = Away()
    sparing = Sparing(Breaker(threshold=3, first_s=3600, most_s=3600), itertools.count().__next__)
    windows = SharedWindows(away, MemoryWindows(), sparing)
    taken = [(await windows.take([MINUTE]))[0].taken for _ in range(5)]
    assert (taken, away.asked, sparing.state) == ([True, True, True, False, False], 3, "away")


async def test_no_request_waits_twice() -> None:
    """Right after a failure the shared counters are not asked again: a request that needs them twice waits once."""
    away, now = Away(), 1.0
    windows = SharedWindows(away, MemoryWindows(), Sparing(Breaker(threshold=3), lambda: now))
    for now in (1.0, 1.04, 1.06):  # noqa: B007  # the clock reads it
        await windows.take([MINUTE])
    assert away.asked == 2


@rows(
    ("text", "fault"),
    [
        ("100", "not a limit"),
        ("-1 requests/minute", "not a limit"),
        ("0.5 requests/minute", "counted whole"),
        ("1 requests/day", "no limit requests_per_day"),
        ("1 usd/hour, 2 usd/hour", "twice"),
    ],
)
def test_a_wrong_limit_is_told(text: str, fault: str) -> None:
    """A setting that is no limit is refused, and why."""
    with pytest.raises(ValueError, match=fault):
        parse_limits(text)


@rows("text", ["nowhere: 1 requests/hour", "reason", "reason: 1 usd/hour", "reason:; reason:"])
def test_a_wrong_endpoint_is_told(text: str) -> None:
    """A setting that names no endpoint, one twice, or limits its money, is refused."""
    with pytest.raises(ValueError, match="endpoint"):
        parse_endpoints(text)
