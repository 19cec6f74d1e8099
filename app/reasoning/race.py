"""The race: both lanes start at once; the fast answer is preliminary, the slow one is final; one truthful `done`.

The supervisor never waits for a lane's task, only for a lane's end, which its timers guarantee; so no model, however
stubborn, holds up a run. In prose: start both lanes; say `start` when the start record is durable or 100 ms have
passed; note each lane's end as it comes; when the rules of `verdict` say so, end what still runs, say what stands,
write
the outcome down within 500 ms and say `done`.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from app.agreement import compare
from app.events import Agreement, AuditState, Change, Done, FinalAnswer, LaneEnd, Preliminary, Start, Usage
from app.llm.model import Along, LanguageModel
from app.question import LANES, LaneAsk, LaneName
from app.reasoning.ending import attempt, conclude, done_of, say_internal
from app.reasoning.lane import Lane
from app.reasoning.run import Run
from app.reasoning.verdict import Verdict, change, settle
from app.record.entry import CLOSED, Closing, Journal, Opening
from app.record.prices import Tariff

START_GATE_S = 0.1
CANCEL_GRACE_S = 0.25


def unpriced(lane: LaneName, model: str) -> Tariff | None:  # noqa: ARG001  # the shape of a price list
    """No price is known."""
    return None


def trust(lane: LaneName, ask: LaneAsk, end: LaneEnd) -> None:
    """Think nothing of a model."""


def alone(run_id: str) -> Mapping[LaneName, Along]:  # noqa: ARG001  # the shape of a tracer
    """Send nothing beside the question."""
    return {}


@dataclass(frozen=True, slots=True)
class Terms:
    """What the race must know beyond the question: from how many milliseconds on it is slow, prices, its server.

    judge: told what each lane was to do and how it ended, at that moment. along: what a run's lanes send beside the
    question.
    """

    slow_threshold_ms: float = 8000.0
    tariff: Callable[[LaneName, str], Tariff | None] = unpriced
    instance: str = ""
    judge: Callable[[LaneName, LaneAsk, LaneEnd], None] = trust
    along: Callable[[str], Mapping[LaneName, Along]] = alone


class Race:
    """Conducts one run from `start` to `done`.

    `strays` are lane tasks that did not stop when they were cancelled; `outcome` is what was written down of the end.
    """

    def __init__(self, run: Run, models: dict[LaneName, LanguageModel], journal: Journal, terms: Terms) -> None:
        self.run = run
        self.strays: set[asyncio.Task[None]] = set()
        self.outcome: Closing | None = None
        self._journal = journal
        self._terms = terms
        self._reported: set[LaneName] = set()
        self._preliminary: str | None = None
        self._news: asyncio.Future[None] = run.loop.create_future()
        self.lanes: dict[LaneName, Lane] = {
            name: Lane(name, run, models[name], run.deadline, terms.tariff(name, run.question.lane(name).model))
            for name in LANES
        }

    async def conduct(self, opening: Opening) -> None:
        """Run to the end. Cancelling this task is not part of the design: stop the run instead."""
        durable = await self._journal.opened(opening).durable(START_GATE_S)
        self.run.append(self._start("durable" if durable else "pending"))
        verdict = await self._await_verdict()
        self._end_lanes(verdict)
        await self._conclude(verdict, opening)

    def _start(self, audit: AuditState) -> Start:
        question = self.run.question
        return Start(
            run_id=self.run.run_id,
            policy=question.policy,
            lanes={"fast": {"model": question.fast.model}, "slow": {"model": question.slow.model}},
            deadline_ms=round(question.deadline_s * 1000),
            audit=audit,
            queued_ms=self.run.queued_ms,
        )

    async def _await_verdict(self) -> Verdict:
        """Wait for lanes to end or for a stop, noting ends as they come, until the rules settle the run."""
        run, fast, slow = self.run, self.lanes["fast"], self.lanes["slow"]
        for future in (run.stopping, fast.ended, slow.ended):
            future.add_done_callback(self._wake)
        while True:
            self._news = run.loop.create_future()
            for lane in (slow, fast) if slow.ended_at < fast.ended_at else (fast, slow):
                self._report(lane)
            cause = run.stopping.result() if run.stopping.done() else None
            verdict = settle(fast.state, slow.state, cause)
            if verdict is not None:
                return verdict
            await self._news

    def _wake(self, _: object) -> None:
        """Look at the lanes again."""
        if not self._news.done():
            self._news.set_result(None)

    def _report(self, lane: Lane) -> None:
        """Say how a lane ended, once; before that, of a fast lane that completed, the preliminary answer."""
        if lane.name in self._reported or not lane.ended.done():
            return
        end = lane.ended.result()
        attempt(partial(self._terms.judge, lane.name, lane.ask, end))
        if lane.name == "fast" and end.outcome == "completed":
            self._preliminary = lane.text
            self.run.acceptable = True
            self.run.append(
                Preliminary(
                    lane="fast",
                    text=lane.text,
                    finish_reason=lane.finish_reason or "stop",
                    ttft_ms=end.ttft_ms,
                    latency_ms=end.latency_ms,
                    usage=end.usage,
                    cost_usd=end.cost_usd,
                )
            )
        self.run.append(end)
        self._reported.add(lane.name)

    def _end_lanes(self, verdict: Verdict) -> None:
        """Cancel what still runs."""
        self.run.acceptable = False
        reason = "superseded" if verdict.final_lane == "slow" else verdict.reason
        for lane in self.lanes.values():
            lane.end("cancelled", reason, None)
            self._report(lane)

    async def release(self) -> None:
        """Give the tasks of ended lanes a short grace; what does not stop is abandoned and counted."""
        tasks = [lane.task for lane in self.lanes.values() if not lane.task.done()]
        if tasks:
            _, self.strays = await asyncio.wait(tasks, timeout=CANCEL_GRACE_S)

    async def _conclude(self, verdict: Verdict, opening: Opening) -> None:
        """Say `final` if an answer stands, let the lanes' tasks end, write the outcome down, say `done`."""
        agreement = self._agreement(verdict)
        kind: Change | None = None
        if verdict.final_lane is not None:
            kind = change(verdict.final_lane, agreement)
            text = self.lanes[verdict.final_lane].text
            self.run.append(FinalAnswer(verdict.final_lane, verdict.final_lane == "slow", text, agreement, kind))
        await self.release()
        done = self._done(verdict)
        draft = partial(self._closing, opening=opening, agreement=agreement, kind=kind)
        self.outcome = await conclude(self.run, self._journal, done, draft)

    def bury(self, opening: Opening) -> None:
        """Close a log that a fault of ours left open, and write that down, as far as either can be done."""
        run = self.run
        if run.closed:
            return
        for lane in self.lanes.values():
            lane.end("cancelled", "internal", None)
        if not len(run):
            attempt(lambda: run.append(self._start("pending")))
        for lane in self.lanes.values():
            if lane.name not in self._reported:
                attempt(partial(run.append, lane.ended.result(), anywhere=True))
        draft = partial(self._closing, opening=opening, agreement=None, kind=None)
        done = partial(self._done, Verdict("failed", None, "internal"))
        self.outcome = say_internal(run, self._journal, done, draft)

    def _agreement(self, verdict: Verdict) -> Agreement | None:
        if verdict.final_lane != "slow" or self._preliminary is None:
            return None
        return compare(self._preliminary, self.lanes["slow"].text)

    def _done(self, verdict: Verdict) -> Done:
        usage = total(*(lane.ended.result().usage for lane in self.lanes.values()))
        return done_of(self.run, verdict, usage, self._cost_nano(), self._terms.slow_threshold_ms)

    def _closing(self, done: Done, opening: Opening, agreement: Agreement | None, kind: Change | None) -> Closing:
        """The outcome with the whole log, `done` included, as the readers are about to see it."""
        log_bytes, at_ms = self.run.preview(done)
        return Closing(
            opening=opening,
            status=done.status,
            reason=done.reason,
            final_lane=done.final_lane,
            verified=done.verified,
            change=kind,
            agreement=agreement,
            latency_ms=done.latency_ms,
            usage=done.usage,
            cost_nano=self._cost_nano(),
            lanes={name: lane.record() for name, lane in self.lanes.items()},
            log=log_bytes,
            at_ms=at_ms,
            version=CLOSED,
        )

    def _cost_nano(self) -> int | None:
        """What the lanes that used tokens cost together; None while that of one is not known."""
        costs = [lane.cost_nano for lane in self.lanes.values() if lane.ended.result().usage.source != "unknown"]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if known and len(known) == len(costs) else None


def total(*usages: Usage) -> Usage:
    """The sum over lanes: a number unknown in every lane is None; the source is the weakest that contributed."""
    known = [usage for usage in usages if usage.source != "unknown"]
    if not known:
        return Usage()
    given = made = thought = cached = None
    for usage in known:
        given = _added(given, usage.input_tokens)
        made = _added(made, usage.output_tokens)
        thought = _added(thought, usage.thinking_tokens)
        cached = _added(cached, usage.cached_tokens)
    source = min((usage.source for usage in usages), key=("unknown", "estimated", "reported").index)
    return Usage(given, made, thought, cached, "estimated" if source == "unknown" else source)


def _added(one: int | None, other: int | None) -> int | None:
    """The sum of the known ones; None of none."""
    return one if other is None else (one or 0) + other
