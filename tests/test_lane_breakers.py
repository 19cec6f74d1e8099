"""Circuit breakers around models: on a clock that jumps, from the pure table to whole races."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

import pytest
from cells import rows
from clock import jump
from journals import MemoryJournal
from msgspec import structs
from races import ALICE, Event, ask, ends, named, nothing_left, order, question, scripted, whole

from app.admission.board import Board
from app.breaker import PASS, Limits, Windowed
from app.errors import NoSuchBreaker, Outcome
from app.events import LaneEnd, Usage
from app.llm.model import Prompt
from app.llm.tripping import Guards, Patience, Rules
from app.question import LANES, LaneAsk, LaneName, Question
from app.reasoning.race import Terms
from app.reasoning.run import Run
from app.reasoning.runs import Bounds, Runs
from app.record.prices import Tariff

LIMITS: Final = Limits(threshold=2, window_s=10, rate=0.5, minimum=6, recovery_s=5, lost_s=50)
FINE: Final = "scripted:fast?first=0.1&gap=0&tokens=3"
SICK: Final = "scripted:error?first=0.1"
SLOW: Final = "scripted:slow?first=0.2&gap=0&tokens=3"


# Steps from closed with LIMITS: `+` and `-` what began now answered, or failed; `o` and `x` what began at 0;
# `?` asked and let through, `!` asked and refused, `b` the last probe was broken off, a number: so many seconds pass.
@rows(
    ("steps", "state"),
    [
        ("", "closed"),
        ("-+-+-", "closed"),
        ("--", "open"),
        ("+-+-+-", "open"),
        ("+-+-9+-", "open"),
        ("+-+-91+-", "closed"),
        ("1--4!", "open"),
        ("1--5?", "half_open"),
        ("1--5?!", "half_open"),
        ("1--5?5!", "half_open"),
        ("1--5?+", "closed"),
        ("1--5?+?-", "closed"),
        ("1--5?-", "open"),
        ("1--5?-4!", "open"),
        ("1--5?-5?", "half_open"),
        ("1--5?b?", "half_open"),
        ("1--5?b?!", "half_open"),
        ("1--bo", "open"),
        ("1--5?o", "half_open"),
        ("1--5?x!", "half_open"),
        ("1--5?+xxxx", "closed"),
        ("1--99999999?!99999!9?", "half_open"),
    ],
)
def test_states(steps: str, state: str) -> None:
    """A model's breaker follows its table, and what began before it opened changes nothing."""
    breaker, now, probe = Windowed(LIMITS), 0.0, PASS
    for step in steps:
        if step in "?!":
            found = breaker.ask(now)
            assert (found is not None) == (step == "?")
            probe = probe if found is None else found
        elif step in "+o":
            breaker.succeeded(now if step == "+" else 0.0, now)
        elif step in "-x":
            breaker.failed(now if step == "-" else 0.0, now)
        elif step == "b":
            breaker.back(probe, now)
        else:
            now += int(step)
    assert breaker.state == state


def test_an_old_probe_gives_nothing_back() -> None:
    """A probe that was given up, and is broken off later, does not let another one beside its successor."""
    breaker = Windowed(LIMITS)
    breaker.failed(0, 0)
    breaker.failed(0, 0)
    lost = breaker.ask(5)
    assert lost
    assert breaker.ask(55)
    breaker.back(lost, 56)
    assert breaker.ask(56) is None


@pytest.mark.parametrize(("hold", "let"), [("open", None), ("closed", PASS)])
def test_hold(hold: Any, let: int | None) -> None:
    """A breaker that is held does as it is told; let go, it does what it has heard meanwhile."""
    breaker = Windowed(LIMITS)
    breaker.hold(hold)
    assert breaker.ask(0) == let
    breaker.failed(0, 0)
    breaker.failed(0, 0)
    assert breaker.state == hold
    breaker.hold(None)
    assert breaker.state == "open"


OWN: Final = question()
PATIENCE: Final = Patience({"fast": OWN.fast, "slow": OWN.slow}, OWN.deadline_s)
HASTY: Final = LaneAsk("m", timeout_s=0.1, first_token_timeout_s=0.1, idle_timeout_s=0.1, max_output_tokens=1)


@rows(
    ("outcome", "reason", "fault", "fault_of_hasty"),
    [
        ("completed", None, False, False),
        ("failed", "upstream_unavailable", True, True),
        ("failed", "upstream_rate_limited", True, True),
        ("incomplete", "no_finish", True, True),
        ("empty", "empty_answer", True, None),
        ("timeout", "first_token_timeout", True, None),
        ("timeout", "idle_timeout", True, None),
        ("timeout", "lane_timeout", None, None),
        ("timeout", "deadline", None, None),
        ("timeout", "connect_timeout", True, True),
        ("refused", "content_filter", None, None),
        ("failed", "upstream_bad_request", None, None),
        ("failed", "upstream_unauthorized", None, None),
        ("failed", "credentials_missing", None, None),
        ("failed", "context_exceeded", None, None),
        ("incomplete", "output_limit", None, None),
    ],
)
def test_what_is_a_fault(outcome: Outcome, reason: str | None, fault: bool | None, fault_of_hasty: bool | None) -> None:
    """A failure speaks against a model, unless it is the question's doing or that of a caller's own short limits."""
    end = LaneEnd("fast", outcome, reason, None, False, None, 1500.0, Usage(), None, None)
    assert PATIENCE.is_fault("fast", OWN.fast, end) is fault
    assert PATIENCE.is_fault("fast", HASTY, end) is fault_of_hasty


@pytest.mark.parametrize("reason", ["lane_timeout", "deadline", "first_token_timeout"])
def test_the_whole_time_of_the_server(reason: str) -> None:
    """A lane that had all the time that the server gives counts, whatever its caller had set."""
    end = LaneEnd("fast", "timeout", reason, None, True, None, 4000.0, Usage(), None, None)
    assert PATIENCE.is_fault("fast", HASTY, end) is True


@pytest.mark.parametrize("reason", ["lane_timeout", "deadline"])
def test_a_long_answer_says_nothing(reason: str) -> None:
    """A lane whose time is over while it speaks is no fault of its model: long answers bar nobody."""
    end = LaneEnd("fast", "timeout", reason, None, True, 300.0, 4000.0, Usage(), None, None)
    assert PATIENCE.is_fault("fast", OWN.fast, end) is None


def test_a_slow_model_in_the_fast_lane() -> None:
    """A caller who puts the slow model into the fast lane, whose time is too short for it, opens no breaker."""
    fast, slow = LaneAsk("f", 5.0, 5.0, 5.0), LaneAsk("s", 45.0, 45.0, 45.0)
    board = Board()
    rules = Rules(LIMITS, Patience({"fast": fast, "slow": slow}, 60.0), lambda _, name: name, board.add)
    guards = Guards(scripted(), rules, lambda: 100.0)

    def late(lane: LaneName, asked: LaneAsk) -> str:
        end = LaneEnd(lane, "timeout", "lane_timeout", None, True, None, asked.timeout_s * 1000, Usage(), None, None)
        for _ in range(LIMITS.threshold):
            guards.judge(lane, asked, end)
        return board.states()["s"]

    assert late("fast", structs.replace(fast, model="s")) == "closed"
    assert late("slow", slow) == "open"


class Site:
    """A registry behind guards, on a loop whose clock jumps. asked: how often each model was really asked."""

    def __init__(self, limits: Limits = LIMITS, **rules: Any) -> None:
        self.board = Board()
        self._catalogue = scripted()
        self.swapped: dict[str, str] = {}
        self.asked: list[str] = []
        self.patience = Patience({"fast": OWN.fast, "slow": OWN.slow}, OWN.deadline_s)
        made = Rules(limits, self.patience, lambda _, name: name.partition("?")[0], self.board.add, **rules)
        self.guards = Guards(self, made, asyncio.get_running_loop().time)
        terms = Terms(judge=self.guards.judge)
        self.runs = Runs(self.guards, MemoryJournal(), terms, Bounds(disconnect_grace_s=0.5))

    def get(self, lane: LaneName, name: str) -> Any:
        """The model, or what stands for it now."""
        self.asked.append(name)
        return self._catalogue.get(lane, self.swapped.get(name, name))

    def begin(self, asked: Question) -> Run:
        """A run."""
        return self.runs.open(order(asked))

    async def end(self, fast: str = FINE, slow: str = SICK) -> list[Event]:
        """All events of a run."""
        return await whole(self.begin(question(fast, slow)))

    async def sicken(self, slow: str = SICK) -> None:
        """Open the breaker of the slow model."""
        for _ in range(2):
            await self.end(slow=slow)


def how(log: list[Event], lane: str = "slow") -> tuple[str, str | None]:
    """How a lane ended."""
    return ends(log)[lane]["outcome"], ends(log)[lane]["reason"]


def jumping(main: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """The test on a clock that jumps; it leaves nothing behind."""

    def test() -> None:
        jump(main())

    test.__name__, test.__doc__ = main.__name__, main.__doc__
    return test


@jumping
async def test_an_open_breaker_ends_its_lane_at_once() -> None:
    """While a model's breaker is open its lane ends as refused, at once, and the other lane carries on."""
    site = Site()
    await site.sicken()
    began = asyncio.get_running_loop().time()
    log = await site.end()
    assert how(log) == ("refused", "breaker_open")
    assert ends(log)["slow"]["retryable"]
    assert ends(log)["slow"]["usage"]["source"] == "unknown"
    assert ends(log)["slow"]["latency_ms"] < 1
    done = named(log, "done")[0]
    assert (done["status"], done["final_lane"], done["reason"]) == ("partial", "fast", "breaker_open")
    assert asyncio.get_running_loop().time() - began < 0.2
    await nothing_left(site.runs)


@jumping
async def test_what_a_refused_lane_costs() -> None:
    """A lane that was not asked has neither tokens nor a cost in its record, which is not 0; the sum is the other's."""
    site = Site()
    terms, journal = Terms(judge=site.guards.judge, tariff=lambda *_: Tariff(1e3, 1e3, None, "ours")), MemoryJournal()
    site.runs = Runs(site.guards, journal, terms, Bounds())
    await site.sicken()
    done = named(await site.end(), "done")[0]
    fast, slow = (journal.closings[-1].lanes[lane] for lane in LANES)
    assert (slow.end.reason, slow.end.usage, slow.end.cost_usd) == ("breaker_open", Usage(), None)
    assert done["cost_usd"] == fast.end.cost_usd
    assert fast.cost_nano


@jumping
async def test_both_breakers_open() -> None:
    """A run whose models are both left alone fails at once, and says why."""
    site = Site()
    await site.sicken()
    log = await site.end(fast=SICK)
    done = named(log, "done")[0]
    assert (done["status"], done["final_lane"], done["reason"]) == ("failed", None, "breaker_open")


@jumping
async def test_one_probe_at_a_time() -> None:
    """Of twenty runs that come when a model may be probed one asks it, and its answer closes the breaker for all."""
    site = Site()
    await site.sicken("scripted:slow?first=9")
    site.swapped["scripted:slow?first=9"] = SLOW
    await asyncio.sleep(LIMITS.recovery_s)
    logs = await asyncio.gather(*(site.end(slow="scripted:slow?first=9") for _ in range(20)))
    assert sorted(how(log) for log in logs) == [("completed", None)] + [("refused", "breaker_open")] * 19
    assert how(await site.end(slow="scripted:slow?first=9")) == ("completed", None)
    assert set(site.board.states().values()) == {"closed"}


@jumping
async def test_a_probe_that_fails() -> None:
    """A probe that fails leaves the model alone for as long again."""
    site = Site()
    await site.sicken()
    await asyncio.sleep(LIMITS.recovery_s)
    assert how(await site.end()) == ("failed", "scripted_error")
    await asyncio.sleep(LIMITS.recovery_s - 1)
    assert how(await site.end()) == ("refused", "breaker_open")
    await asyncio.sleep(1)
    assert how(await site.end()) == ("failed", "scripted_error")


@jumping
async def test_a_cancelled_probe_makes_room() -> None:
    """A probe whose run is cancelled says nothing of the model, and the next one may follow at once."""
    site = Site()
    await site.sicken("scripted:hang?first=0")
    await asyncio.sleep(LIMITS.recovery_s)
    run = site.begin(question(FINE, "scripted:hang?first=0"))
    await asyncio.sleep(0.3)
    site.runs.cancel(run.run_id, ALICE)
    await whole(run)
    assert site.board.states()["scripted:hang"] == "half_open"
    assert how(await site.end(slow="scripted:hang?first=0")) == ("timeout", "first_token_timeout")


@jumping
async def test_a_probe_of_a_hasty_caller() -> None:
    """A probe that ends by its caller's own short limit decides nothing, and the next one may follow at once."""
    site = Site()
    await site.sicken("scripted:hang?first=0")
    await asyncio.sleep(LIMITS.recovery_s)
    hasty = ask(question(FINE, "scripted:hang?first=0"), "slow", timeout_s=0.5, first_token_timeout_s=0.5)
    assert how(await whole(site.begin(hasty))) == ("timeout", "lane_timeout")
    assert site.board.states()["scripted:hang"] == "half_open"
    site.swapped["scripted:hang?first=0"] = SLOW
    assert how(await site.end(slow="scripted:hang?first=0")) == ("completed", None)
    assert site.board.states()["scripted:hang"] == "closed"


@jumping
async def test_a_probe_that_is_refused() -> None:
    """A probe whose question the model refuses decides nothing, and the next one may follow at once."""
    site, name = Site(), "scripted:slow?first=9"
    await site.sicken(name)
    await asyncio.sleep(LIMITS.recovery_s)
    for model, outcome, state in (("scripted:refuse", "refused", "half_open"), (SLOW, "completed", "closed")):
        site.swapped[name] = model
        log = await site.end(slow=name)
        assert how(log)[0] == outcome
        assert how(log)[1] != "breaker_open"
        assert site.board.states()["scripted:slow"] == state


@jumping
async def test_what_never_counts() -> None:
    """Callers who leave, cancel, ask for too little time, or whose question is refused never open a breaker."""
    site = Site()
    for _ in range(3):
        run = site.begin(question(FINE, "scripted:hang"))
        await asyncio.sleep(0.3)
        site.runs.cancel(run.run_id, ALICE)
        await whole(run)
        await whole(site.begin(question(FINE, "scripted:hang", deadline_s=0.5)))
        run = site.begin(question(FINE, "scripted:hang"))
        run.attach().close()
        await asyncio.sleep(1)
        assert how(await whole(run)) == ("cancelled", "client_gone")
        await site.end(slow="scripted:refuse")
    assert {how(await site.end(slow=f"scripted:{name}"))[1] for name in ("hang", "refuse")} != {"breaker_open"}
    assert set(site.board.states().values()) == {"closed"}


@jumping
async def test_superseded_lanes_do_not_count() -> None:
    """A fast lane that the slow one overtakes is neither good nor bad news of its model."""
    site = Site()
    for _ in range(4):
        log = await site.end(fast="scripted:hang", slow=SLOW)
        assert how(log, "fast") == ("cancelled", "superseded")
    assert site.board.states()["scripted:hang"] == "closed"


@jumping
async def test_late_news_do_not_open_it_again() -> None:
    """Lanes that began before a breaker opened and fail after it has closed again leave it closed."""
    site = Site(replace(LIMITS, recovery_s=0.1))
    hang = "scripted:hang?first=0"
    late = [site.begin(question(FINE, hang)) for _ in range(5)]
    await asyncio.sleep(1)
    early = [site.begin(ask(question(FINE, hang), "slow", first_token_timeout_s=0.5)) for _ in range(2)]
    site.patience.lanes["slow"] = structs.replace(OWN.slow, first_token_timeout_s=0.5)
    await asyncio.gather(*(whole(run) for run in early))
    assert site.board.states()["scripted:hang"] == "open"
    site.swapped[hang] = SLOW
    await asyncio.sleep(0.1)
    assert how(await site.end(slow=hang)) == ("completed", None)
    assert {how(await whole(run)) for run in late} == {("timeout", "first_token_timeout")}
    assert site.board.states()["scripted:hang"] == "closed"


@jumping
async def test_a_share_opens_it_too() -> None:
    """A model that fails every other time opens its breaker once enough lanes have ended within the window."""
    site = Site(replace(LIMITS, threshold=100))
    seen = []
    for turn in range(7):
        site.swapped["scripted:slow"] = SICK if turn % 2 else SLOW
        seen.append(how(await site.end(slow="scripted:slow"))[0])
    assert seen == ["completed", "failed"] * 3 + ["refused"]


@jumping
async def test_an_unaffordable_lane() -> None:
    """A slow lane beyond its share of the money ends at once as refused, and the fast answer stands unverified."""
    site = Site(affordable=lambda lane: lane == "fast")
    log = await site.end(slow=SLOW)
    assert how(log) == ("refused", "budget_share")
    assert named(log, "done")[0]["status"] == "partial"
    assert named(log, "final")[0]["change"] == "unverified"
    assert site.board.states() == {"scripted:fast": "closed"}


@jumping
async def test_nothing_is_added_while_it_is_well() -> None:
    """A model that is well streams by its own generator, as if nothing stood before it."""
    site = Site()
    guarded = site.guards.get("slow", SLOW)
    plain = site.get("slow", SLOW)
    assert guarded.name == plain.name
    stream: Any = guarded.ask(Prompt(()))
    own = plain.ask(Prompt(()))
    assert stream.ag_code is own.ag_code
    await stream.aclose()
    await own.aclose()


def test_a_change_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Every change of a model's breaker is one line in the log, and nothing else is."""
    caplog.set_level(logging.INFO, "app.admission.board")
    board, breaker = Board(), Windowed(LIMITS)
    board.add("openai:m", breaker)
    for _ in range(4):
        breaker.failed(0, 0)
    breaker.ask(1)
    breaker.ask(5)
    breaker.ask(5)
    breaker.succeeded(5, 6)
    breaker.succeeded(6, 7)
    said = [record.getMessage().removeprefix("the breaker of openai:m was ") for record in caplog.records]
    assert said == ["closed and is open", "open and is half_open", "half_open and is closed"]


def test_a_callers_name_stays_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A model that a caller named is shown to admins, and neither to the log nor to the meters."""
    board, breaker = Board(), Windowed(LIMITS)
    board.add("openai:my secret\nname", breaker, by_us=False)
    board.put("openai:my secret\nname", "open", "root")
    assert "secret" not in caplog.text
    assert (board.states(), list(board.rows())) == ({}, ["openai:my secret\nname"])


def test_what_cannot_be_held() -> None:
    """What goes on by itself is shown and cannot be held, no more than what is not there."""
    board = Board()
    board.watch("postgres.record", lambda: "open")
    assert board.rows() == {"postgres.record": {"state": "open", "held": None}}
    for name in ("postgres.record", "nothing"):
        with pytest.raises(NoSuchBreaker):
            board.put(name, "open", "root")
