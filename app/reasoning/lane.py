"""One lane of a race: listen to a model, keep its timers, and end exactly once, whatever the model does.

The lane's task only listens. Timers end the lane from outside: the outcome stands the moment a timer fires or the race
cancels it, and whatever the task does afterwards (swallow the cancellation, go on talking) is ignored.
"""

import asyncio

import msgspec

from app.errors import ModelError, Outcome
from app.events import LaneEnd, Usage, clean
from app.llm.model import Attempt, Item, Kind, LanguageModel, Pieces, Prompt, chars_of, estimated
from app.question import LaneAsk, LaneName
from app.reasoning.run import Run
from app.reasoning.verdict import LaneState
from app.record.entry import LaneRecord
from app.record.prices import Tariff

MAX_LANE_CHARS = 1_000_000
MAX_LANE_PIECES = 100_000  # each costs the log about 150 bytes
AFTER_FINISH_S = 1.0  # for the usage that some models report behind their end marker
BURST = 64  # items in a row


class Lane:
    """One model's attempt. `ended` is resolved once, with how it ended; the task may outlive it and is then a stray."""

    def __init__(
        self, name: LaneName, run: Run, model: LanguageModel, deadline: float, tariff: Tariff | None = None
    ) -> None:
        self.name = name
        self.ended: asyncio.Future[LaneEnd] = run.loop.create_future()
        self.ended_at = 0.0  # by the loop's clock; 0 while it runs
        self.finish_reason: str | None = None
        self.cost_nano: int | None = None
        self._run = run
        self._model = model
        self._tariff = tariff
        self.ask: LaneAsk = run.question.lane(name)
        self._clock = run.loop.time
        self._started = self._clock()
        self._progress_at: float | None = None
        self._ttft: float | None = None
        self._due = self._started + self.ask.timeout_s
        self._due_reason = "lane_timeout"
        if deadline <= self._due:
            self._due, self._due_reason = deadline, "deadline"
        self._said: dict[Kind, bytearray] = {"answer": bytearray(), "thinking": bytearray()}  # a third of a list's size
        self._chars: dict[Kind, int] = {"answer": 0, "thinking": 0}
        self._pieces = 0
        self._usage: Usage | None = None
        self._version: str | None = None
        self._attempt = 1
        self._timer: asyncio.TimerHandle | None = None
        self.task = run.loop.create_task(self._listen(), name=f"lane {name} {run.run_id}")
        silence = min(self.ask.first_token_timeout_s, self.ask.idle_timeout_s)  # so that a first token moves nothing
        self._arm(min(self._due, self._started + silence))
        if deadline <= self._started:
            self._look()  # it is over before its task has begun

    # -- listening

    async def _listen(self) -> None:
        """Iterate the model to its end; every way out of here ends the lane."""
        heard = 0
        try:
            stream = self._model.ask(self._prompt())
            try:
                async for item in stream:
                    if self.ended.done():
                        return
                    self._hear(item)
                    heard += 1
                    if heard % BURST == 0:
                        await asyncio.sleep(0)  # a model that never waits must not keep the loop, nor our timers
            finally:
                await stream.aclose()
            self._conclude()
        except ModelError as error:
            if self.finish_reason is not None:
                self._conclude()  # the answer was whole; what came after its end marker does not matter
            self.end(error.outcome, error.reason, error.message, retryable=error.retryable)
        except Exception as error:  # noqa: BLE001  # the boundary to foreign code: a lane's fault must end only that lane
            self.end("failed", "lane_error", f"the model's adapter failed with {type(error).__name__}")
        finally:
            self.end("failed", "lane_error", "the lane's task was ended from outside")

    def _prompt(self) -> Prompt:
        messages, along = self._run.question.messages, self._run.along.get(self.name, ())
        ask = self.ask
        return Prompt(messages, ask.max_output_tokens, ask.temperature, urgent=self.name == "fast", along=along)

    def _hear(self, item: Item) -> None:
        if isinstance(item, Pieces):
            self._say(item)
        elif isinstance(item, Usage):
            self._usage = item
        elif isinstance(item, Attempt):
            self._attempt = item.number
        else:
            self.finish_reason, self._version = item.reason, item.model_version
            self._due = min(self._due, self._clock() + AFTER_FINISH_S)
            self._run.loop.call_soon(self._look)  # most streams are over by then, and need no timer

    def _say(self, said: Pieces) -> None:
        """Note progress and pass the text on. White space is passed on, but is not a first token."""
        kind, texts = said
        whole = "".join(texts)
        if not whole:
            return
        if not all(texts) or clean(whole) is not whole:  # to look at all of them at once is cheap
            said = Pieces(kind, [clean(text) for text in texts if text])
            whole = "".join(said.texts)
        self._said[kind] += whole.encode()
        self._chars[kind] += len(whole)
        self._pieces += len(said.texts)
        now = self._clock()
        if self._ttft is None and not whole.isspace():
            self._note_token(kind, now)
        if self._progress_at is not None:
            self._progress_at = now
        self._run.say(self.name, said)
        if self._pieces > MAX_LANE_PIECES or sum(self._chars.values()) > MAX_LANE_CHARS:
            raise ModelError("output_limit", "the model did not stop talking", outcome="incomplete")

    def _note_token(self, kind: Kind, now: float) -> None:
        """Thinking is progress; only text of the answer is a first token."""
        if self._progress_at is None:
            self._arm(now + self.ask.idle_timeout_s)  # may be less than what was left for the first token
            self._progress_at = now
        if kind == "answer":
            self._ttft = now - self._started

    def _conclude(self) -> None:
        """The model's stream is over: judge what it was."""
        if self.finish_reason is None and self._pieces:
            message = "the stream ended without the model's end marker"
            self.end("incomplete", "no_finish", message, retryable=True)
        elif self._ttft is None:
            self.end("empty", "empty_answer", "the model gave no answer", retryable=True)
        else:
            self.end("completed", None, None)

    # -- ending

    def _tick(self) -> None:
        """One timer for all limits: when it fires early, because there was progress, it is set anew."""
        self._timer = None
        self._look()

    def _look(self) -> None:
        """End the lane if one of its limits is reached; else see to it that this is looked at again."""
        if self.ended.done():
            return
        silence = self.ask.first_token_timeout_s if self._progress_at is None else self.ask.idle_timeout_s
        quiet_due = (self._progress_at or self._started) + silence
        due = min(self._due, quiet_due)
        if self._clock() < due:
            self._arm(due)
            return
        if self.finish_reason is not None:
            self._conclude()
            return
        reason = self._due_reason
        if quiet_due < self._due:
            reason = "first_token_timeout" if self._progress_at is None else "idle_timeout"
        self.end("timeout", reason, _TIMEOUTS[reason], retryable=True)

    def _arm(self, due: float) -> None:
        """See to it that the limits are looked at by then; earlier is as good."""
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._run.loop.call_at(due, self._tick)

    def end(self, outcome: Outcome, reason: str | None, message: str | None, *, retryable: bool = False) -> None:
        """End the lane, once; later calls change nothing. A task that still listens is cancelled."""
        if self.ended.done():
            return
        if self._timer is not None:
            self._timer.cancel()
        self.ended_at = self._clock()
        usage = self._counted()
        self.cost_nano = None if self._tariff is None else self._tariff.cost(usage)
        end = LaneEnd(
            lane=self.name,
            outcome=outcome,
            reason=reason,
            message=message,
            retryable=retryable,
            ttft_ms=None if self._ttft is None else milliseconds(self._ttft),
            latency_ms=milliseconds(self.ended_at - self._started),
            usage=usage,
            cost_usd=usd(self.cost_nano),
            model_version=self._version,
        )
        self.ended.set_result(end)
        if asyncio.current_task() is not self.task:
            self.task.cancel()

    def _counted(self) -> Usage:
        """What all attempts used: those that were given up have read the question too, as far as anybody knows."""
        usage = self._heard()
        if self._attempt == 1 or usage.input_tokens is None:
            return usage
        read = usage.input_tokens * self._attempt
        return msgspec.structs.replace(usage, input_tokens=read, source="estimated")

    def _heard(self) -> Usage:
        """What the model reported; else an estimate from what was heard; else unknown.

        A 0 for what was read, or for what was heard, is no report: some servers send it until they have counted.
        """
        told = self._usage or Usage()
        if told.output_tokens or (told.input_tokens and not self._pieces):
            return told
        if not self._pieces:
            return Usage()
        guess = estimated(chars_of(self._run.question.messages), self._chars["answer"], self._chars["thinking"])
        read = told.input_tokens or guess.input_tokens
        return msgspec.structs.replace(guess, input_tokens=read, cached_tokens=told.cached_tokens)

    # -- what the race and the record read

    @property
    def state(self) -> LaneState:
        """What a verdict needs to know."""
        if not self.ended.done():
            return LaneState()
        end = self.ended.result()
        return LaneState(end.outcome, end.reason, self.ended_at)

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._said["answer"].decode()

    def record(self) -> LaneRecord:
        """Everything the lane was; call it after the end."""
        return LaneRecord(
            end=self.ended.result(),
            model=self._model.name,
            text=self.text,
            thinking=self._said["thinking"].decode(),
            finish_reason=self.finish_reason,
            tariff=self._tariff,
            attempt=self._attempt,
        )


_TIMEOUTS = {
    "first_token_timeout": "no first token within the limit",
    "idle_timeout": "no further token within the limit",
    "lane_timeout": "the lane's time was up",
    "deadline": "the run's deadline was reached",
}


def usd(nano: int | None) -> float | None:
    """Nano-dollars as dollars."""
    return None if nano is None else nano / 1e9


def milliseconds(seconds: float) -> float:
    """Seconds as milliseconds, to a tenth."""
    return round(seconds * 10_000) / 10  # to round to a place goes by way of text
