"""One lane: its timers, what counts as a token, how it ends, what it used."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, Final

import pytest
from cells import rows
from clock import jump
from msgspec.structs import replace
from races import ALICE, Event, Fake, events, question, said

from app.errors import ModelError
from app.events import LaneEnd, Start, Usage
from app.llm.model import Finish, Item, Pieces, Prompt
from app.question import LaneAsk
from app.reasoning import lane as lane_module
from app.reasoning.lane import AFTER_FINISH_S, Lane
from app.reasoning.run import Run

REPORTED: Final = Usage(7, 3, 1, 0, "reported")
NOT_COUNTED: Final = Usage(0, 0, source="reported")
ASKED_TOKENS: Final = -(-len(question().messages[0].content) // 4)
ESTIMATED: Final = Usage(ASKED_TOKENS, output_tokens=3, thinking_tokens=1, source="estimated")
STOP: Final = Finish("stop", "model-7")
FOREVER: Final = 1e9

# What a model does, step by step: wait so many seconds, say something, fail.
Step = float | Item | Exception


def talk(*steps: Step) -> Callable[[Prompt], AsyncGenerator[Item, None]]:
    """A model that does these steps and ends."""

    async def model(_: Prompt) -> AsyncGenerator[Item, None]:
        """Do the steps."""
        for step in steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, float):
                await asyncio.sleep(step)
            else:
                yield step

    return model


def answer(*texts: str) -> Pieces:
    """Pieces of the answer that arrive together."""
    return Pieces("answer", [*texts])


def thinking(*texts: str) -> Pieces:
    """Pieces of thinking that arrive together."""
    return Pieces("thinking", [*texts])


class Heard:
    """A lane that has ended, and what its run's log says."""

    def __init__(self, lane: Lane, log: list[Event], after_s: float) -> None:
        self.lane, self.log, self.after_s = lane, log, after_s
        self.end: LaneEnd = lane.ended.result()

    @property
    def how(self) -> tuple[str, str | None]:
        """Outcome and reason."""
        return self.end.outcome, self.end.reason


def limits(**changes: float) -> LaneAsk:
    """First token within 2 seconds, then one each second, all in 10."""
    return replace(LaneAsk("fake:model", timeout_s=10.0, first_token_timeout_s=2.0, idle_timeout_s=1.0), **changes)


async def listen(model: Callable[[Prompt], AsyncGenerator[Item, None]], ask: LaneAsk, deadline_s: float) -> Heard:
    """Let a lane listen to a model until it ends, and its task too."""
    asked = question()
    run = Run("r", type(asked)(asked.messages, ask, ask, deadline_s), ALICE, "f" * 64)
    run.append(Start("r", "race", {"fast": {"model": "a"}, "slow": {"model": "b"}}, 1, "durable"))
    lane = Lane("fast", run, Fake(model), run.opened_at + deadline_s)
    await asyncio.wait({lane.ended})
    after_s = run.loop.time() - run.opened_at
    log = run.attach().take()
    await asyncio.wait({lane.task})
    assert run.attach().take() == log, "a lane spoke after its end"
    return Heard(lane, events(log), after_s)


def hear(*steps: Step, deadline_s: float = 100.0, **changes: float) -> Heard:
    """How a lane ends that listens to these steps, on a jumping clock."""
    return jump(listen(talk(*steps), limits(**changes), deadline_s))


# -- timers


@rows(
    ("steps", "deadline_s", "reason", "after_s"),
    [
        ([FOREVER], 100.0, "first_token_timeout", 2.0),
        ([1.5, answer("a"), FOREVER], 100.0, "idle_timeout", 2.5),
        ([0.1, answer("a"), FOREVER], 100.0, "idle_timeout", 1.1),
        ([step for _ in range(30) for step in (0.9, answer("a"))], 100.0, "lane_timeout", 10.0),
        ([step for _ in range(30) for step in (0.9, answer("a"))], 5.0, "deadline", 5.0),
        ([FOREVER], 1.5, "deadline", 1.5),
        ([FOREVER], 2.0, "deadline", 2.0),
        ([step for _ in range(30) for step in (0.9, answer("a"))], 10.0, "deadline", 10.0),
    ],
)
def test_each_timer_has_its_reason(steps: list[Step], deadline_s: float, reason: str, after_s: float) -> None:
    """A lane that is too slow is ended at the very limit it broke, by that limit's name."""
    heard = hear(*steps, deadline_s=deadline_s)
    assert heard.how == ("timeout", reason)
    assert heard.after_s == pytest.approx(after_s)
    assert heard.end.latency_ms == pytest.approx(after_s * 1000, abs=0.1)
    assert heard.end.retryable


def test_a_short_idle_limit_holds_at_once() -> None:
    """Silence after the first token is noticed in time although the first token had more time than that."""
    heard = hear(0.2, answer("a"), FOREVER, first_token_timeout_s=8.0, idle_timeout_s=0.5)
    assert heard.how == ("timeout", "idle_timeout")
    assert heard.after_s == pytest.approx(0.7)


def test_a_long_idle_limit_outlives_the_first_tokens() -> None:
    """After the first token only the idle limit holds, however short the first token's was."""
    heard = hear(0.2, answer("a"), 5.0, answer("b"), STOP, first_token_timeout_s=0.5, idle_timeout_s=6.0)
    assert heard.how == ("completed", None)


def test_progress_begins_the_silence_anew() -> None:
    """Each token, however late within the limit, begins the idle limit anew."""
    heard = hear(*(step for _ in range(9) for step in (0.99, answer("a"))), STOP)
    assert heard.how == ("completed", None)


def test_thinking_is_progress() -> None:
    """A model that thinks is not silent, but has given no first token yet."""
    heard = hear(*(step for _ in range(4) for step in (0.9, thinking("hm "))), 0.4, answer("42"), STOP)
    assert heard.how == ("completed", None)
    assert heard.end.ttft_ms == pytest.approx(4000.0)
    assert (heard.lane.text, heard.lane.record().thinking) == ("42", "hm " * 4)


def test_a_model_that_stops_thinking_is_idle() -> None:
    """Silence after thinking is the idle limit's, and the lane has no first token."""
    heard = hear(1.9, thinking("hm"), FOREVER)
    assert heard.how == ("timeout", "idle_timeout")
    assert heard.after_s == pytest.approx(2.9)
    assert heard.end.ttft_ms is None


@rows(
    "nothing",
    [answer(""), answer(" ", "\n\t"), answer("\u2003\u2028\xa0"), answer(), thinking(" "), REPORTED],
)
def test_no_first_token(nothing: Item) -> None:
    """White space, empty pieces and frames without text never count as a first token."""
    heard = hear(*(step for _ in range(4) for step in (0.5, nothing)), FOREVER)
    assert heard.how == ("timeout", "first_token_timeout")
    assert heard.after_s == pytest.approx(2.0)
    assert heard.end.ttft_ms is None


def test_white_space_before_the_first_token_is_passed_on() -> None:
    """White space is part of the answer although it is no token."""
    heard = hear(0.1, answer("\n"), 0.1, answer(" ", "Paris"), STOP)
    assert heard.lane.text == said(heard.log, "fast") == "\n Paris"
    assert heard.end.ttft_ms == pytest.approx(200.0)


# -- the end of a model's stream


@rows(
    ("steps", "how"),
    [
        ([answer("a"), STOP], ("completed", None)),
        ([answer("a"), Finish("length")], ("completed", None)),
        ([answer("a"), STOP, REPORTED], ("completed", None)),
        ([answer("a")], ("incomplete", "no_finish")),
        ([thinking("a")], ("incomplete", "no_finish")),
        ([answer("a"), REPORTED], ("incomplete", "no_finish")),
        ([], ("empty", "empty_answer")),
        ([STOP], ("empty", "empty_answer")),
        ([answer(""), answer(" \n"), STOP], ("empty", "empty_answer")),
        ([thinking("a"), STOP], ("empty", "empty_answer")),
        ([ModelError("upstream_error", "x")], ("failed", "upstream_error")),
        ([answer("a"), ModelError("upstream_error", "x")], ("failed", "upstream_error")),
        ([answer("a"), ModelError("refused", "x", outcome="refused")], ("refused", "refused")),
        ([KeyError("secret")], ("failed", "lane_error")),
        ([answer("a"), asyncio.CancelledError()], ("failed", "lane_error")),
        ([answer("a"), TimeoutError()], ("failed", "lane_error")),
        ([answer("a"), StopAsyncIteration()], ("failed", "lane_error")),
        ([answer("a"), None], ("failed", "lane_error")),
    ],
)
def test_ends(steps: list[Any], how: tuple[str, str | None]) -> None:
    """A lane completes only with an answer and the model's own end marker; every other end has its name."""
    assert hear(*steps).how == how


@pytest.mark.parametrize(
    "after", [[FOREVER], [ModelError("upstream_cut", "x")], [0.3, ModelError("upstream_error", "x")]]
)
def test_the_end_marker_decides(after: list[Step]) -> None:
    """Once the model's end marker came the answer is whole, whatever the connection does then."""
    heard = hear(0.5, answer("a"), STOP, *after)
    assert heard.how == ("completed", None)
    assert heard.after_s <= 0.5 + AFTER_FINISH_S


def test_a_usage_behind_the_end_marker_counts() -> None:
    """A usage that comes within a second of the end marker is the lane's."""
    assert hear(answer("a"), STOP, 0.9, REPORTED, FOREVER).end.usage == REPORTED


def test_a_fault_of_an_adapter_shows_no_secret() -> None:
    """The message of a lane whose adapter failed names the kind of fault and nothing of its text."""
    assert hear(KeyError("secret")).end.message == "the model's adapter failed with KeyError"


def test_retryable_comes_from_the_error() -> None:
    """Whether asking again may help is what the model's error says."""
    assert [hear(ModelError("x", "y", retryable=again)).end.retryable for again in (True, False)] == [True, False]


def test_output_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that does not stop talking is ended as incomplete; what it said until then is kept."""
    monkeypatch.setattr(lane_module, "MAX_LANE_CHARS", 10)
    heard = hear(answer("12345678"), thinking("abc"), answer("never heard"), STOP)
    assert heard.how == ("incomplete", "output_limit")
    assert heard.lane.text == said(heard.log, "fast") == "12345678"


def test_model_version_and_finish_reason_are_kept() -> None:
    """What the model's end marker says is in the lane's record."""
    record = hear(answer("a"), Finish("length", "model-7")).lane.record()
    assert (record.end.model_version, record.finish_reason) == ("model-7", "length")


def test_text_is_what_was_said() -> None:
    """The lane's text is the deltas' text, NUL and lone surrogates replaced in both alike."""
    heard = hear(answer("a\x00", "\ud83d", "\ude00", "\u2028"), STOP)
    assert heard.lane.text == said(heard.log, "fast") == "a\ufffd\ufffd\ufffd\u2028"


# -- usage


@rows(
    ("steps", "usage"),
    [
        ([answer("a"), REPORTED, STOP], REPORTED),
        ([answer("a"), Usage(1, 1, source="reported"), STOP, REPORTED], REPORTED),
        ([REPORTED, answer("a"), FOREVER], REPORTED),
        ([answer("12345"), thinking("abc"), STOP], ESTIMATED),
        ([answer("12345"), thinking("abc")], ESTIMATED),
        ([answer("12345"), thinking("abc"), FOREVER], ESTIMATED),
        ([answer("12345"), thinking("abc"), ModelError("x", "y")], ESTIMATED),
        ([answer("12345"), thinking("abc"), KeyError()], ESTIMATED),
        ([answer("a"), STOP], Usage(ASKED_TOKENS, output_tokens=1, thinking_tokens=0, source="estimated")),
        ([NOT_COUNTED, answer("a"), STOP], Usage(ASKED_TOKENS, 1, 0, source="estimated")),
        ([Usage(7, 0, 0, 4, "reported"), answer("a"), FOREVER], Usage(7, 1, 0, 4, "estimated")),
        ([Usage(7, source="reported"), answer("a"), STOP], Usage(7, 1, 0, source="estimated")),
        ([Usage(7, 0, source="reported"), STOP], Usage(7, 0, source="reported")),
        ([NOT_COUNTED, FOREVER], Usage()),
        ([FOREVER], Usage()),
        ([ModelError("x", "y")], Usage()),
        ([], Usage()),
    ],
)
def test_usage_and_its_source(steps: list[Step], usage: Usage) -> None:
    """Usage is what the model reported last, else an estimate from what was heard, else unknown, whatever the end."""
    assert hear(*steps).end.usage == usage


@pytest.mark.parametrize(("first", "usage"), [([REPORTED], REPORTED), ([], ESTIMATED)])
def test_a_cancelled_lane_keeps_its_usage(first: list[Step], usage: Usage) -> None:
    """A lane that is cancelled tells what it used until then, and ends at once with the reason it is given."""

    async def cancelled() -> None:
        """Cancel the lane in its first silence."""
        run = Run("r", question(), ALICE, "f" * 64)
        lane = Lane("slow", run, Fake(talk(*first, answer("12345"), thinking("abc"), FOREVER)), FOREVER)
        await asyncio.sleep(0.1)
        lane.end("cancelled", "superseded", None)
        lane.end("failed", "later", None)
        end = lane.ended.result()
        assert (end.outcome, end.reason, end.usage) == ("cancelled", "superseded", usage)
        await asyncio.wait({lane.task})

    jump(cancelled())


# -- models that do not behave


def test_cancelling_closes_the_model() -> None:
    """A lane that is ended from outside closes the model's stream at once."""
    closed: list[float] = []

    async def model(_: Prompt) -> AsyncGenerator[Item, None]:
        """Note when the stream is closed."""
        try:
            yield answer("a")
            await asyncio.sleep(FOREVER)
        finally:
            closed.append(asyncio.get_running_loop().time())

    heard = jump(listen(model, limits(), 100.0))
    assert closed == [heard.lane.ended_at]


def test_a_lane_that_swallows_cancellation_ends_in_time() -> None:
    """A model that ignores its cancellation does not hold up the lane's end, and is not heard any more."""

    async def model(_: Prompt) -> AsyncGenerator[Item, None]:
        """Swallow every cancellation and go on talking."""
        yield answer("a")
        for _again in range(3):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(20.0)
            yield answer("still here")

    heard = jump(listen(model, limits(), 100.0))
    assert heard.how == ("timeout", "idle_timeout")
    assert heard.after_s == pytest.approx(1.0)
    assert heard.lane.text == "a"


def test_a_blocked_thread_does_not_hold_up_the_end() -> None:
    """A model that waits for a thread and for nothing else does not hold up the lane's end."""
    free = threading.Event()

    async def model(_: Prompt) -> AsyncGenerator[Item, None]:
        """Wait for the thread, whatever comes."""
        yield answer("a")
        blocked = asyncio.get_running_loop().run_in_executor(None, free.wait)
        while not blocked.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({blocked})

    async def released() -> Heard:
        """Let the thread go long after the lane's end."""
        asyncio.get_running_loop().call_later(50.0, free.set)
        return await listen(model, limits(), 100.0)

    assert jump(released()).after_s == pytest.approx(1.0)


async def test_a_model_that_never_waits_leaves_the_loop_free() -> None:
    """A model that yields without ever waiting cannot keep the loop: the lane's timers end it."""

    async def model(_: Prompt) -> AsyncGenerator[Item, None]:
        """Yield nothing, without a pause, for longer than any test."""
        for _again in range(1_000_000):
            yield answer()

    async with asyncio.timeout(5):
        heard = await listen(model, limits(first_token_timeout_s=0.02), 100.0)
    assert heard.how == ("timeout", "first_token_timeout")


def test_a_deadline_that_is_over_ends_a_lane_before_it_begins() -> None:
    """A lane that has no time at all ends at once and its model is never asked."""
    heard = hear(answer("a"), deadline_s=0.0)
    assert (heard.how, heard.log[1:]) == (("timeout", "deadline"), [])


def test_a_lane_that_has_ended_has_no_timer() -> None:
    """No timer of a lane outlives it."""

    async def timers() -> list[Any]:
        """The loop's timers after a lane's end."""
        await listen(talk(0.1, answer("a"), 0.1, answer("b"), STOP), limits(), 100.0)
        loop: Any = asyncio.get_running_loop()
        return [handle for handle in loop._scheduled if not handle.cancelled()]

    assert jump(timers()) == []


def test_a_task_that_is_cancelled_by_others_ends_the_lane() -> None:
    """A lane whose task is cancelled by somebody else ends as failed, not as completed and not never."""

    async def cancelled() -> tuple[str, str | None]:
        """Cancel the task behind the lane's back."""
        run = Run("r", question(), ALICE, "f" * 64)
        lane = Lane("slow", run, Fake(talk(FOREVER)), FOREVER)
        await asyncio.sleep(0.1)
        lane.task.cancel()
        end = await lane.ended
        return end.outcome, end.reason

    assert jump(cancelled()) == ("failed", "lane_error")
