"""A replay: a stored answer told again, at once or at the pace at which it was given, as a run of its own."""

import asyncio
from bisect import bisect_right
from functools import partial

from msgspec.structs import replace

from app.answers.answer import Answer, Said
from app.events import Done, FinalAnswer, LaneEnd, Start, Usage, parse
from app.question import LANES, LaneName, Question
from app.reasoning.ending import attempt, conclude, done_of, say_internal
from app.reasoning.lane import milliseconds
from app.reasoning.log import split
from app.reasoning.race import Terms, total
from app.reasoning.run import Run
from app.reasoning.verdict import Cause, LaneState, Verdict, change, settle
from app.record.entry import CLOSED, Closing, Journal, LaneRecord, Opening

NOT_PLAYED = LaneState()


class Replay:
    """Conducts one run from a stored answer. Its `start` waits for nothing; a paced one may be cut, as a race may.

    What is left when the deadline or the server's end comes is told at once: it is all there.
    """

    def __init__(self, run: Run, answer: Answer, journal: Journal, terms: Terms) -> None:
        self.run = run
        self.outcome: Closing | None = None
        self.strays: set[asyncio.Task[None]] = set()  # it has no lanes
        self._answer = answer
        self._journal = journal
        self._terms = terms
        self._events: list[bytes] = []
        self._played: dict[LaneName, LaneEnd] = {}
        self.run.append(start_of(run.run_id, run.question))
        if run.question.replay == "instant":
            self.run.relay(renumbered(answer, run.run_id))
            self._played = {lane: free(said.end) for lane, said in answer.lanes.items()}
        else:
            self._events = list(split(renumbered(answer, run.run_id)))

    async def conduct(self, opening: Opening) -> None:
        """Run to the end."""
        self._journal.opened(opening)
        cause = await self._pace()
        verdict = Verdict("completed", "slow", None) if cause is None else self._cut(cause)
        done = self._done(verdict)
        self.outcome = await conclude(self.run, self._journal, done, partial(self._closing, opening=opening))

    async def release(self) -> None:
        """Nothing is held."""

    def bury(self, opening: Opening) -> None:
        """Close a log that a fault of ours left open."""
        if not self.run.closed:
            attempt(lambda: self._report_cut("internal"))
            done = partial(self._done, Verdict("failed", None, "internal"))
            self.outcome = say_internal(self.run, self._journal, done, partial(self._closing, opening=opening))

    # -- telling

    async def _pace(self) -> Cause | None:
        """Tell each event when its time has come; why it was cut, or None when everything has been told."""
        run, times = self.run, self._answer.at_ms
        while (told := len(run) - 1) < len(times):
            cause = run.stopping.result() if run.stopping.done() else None
            if cause not in (None, "shutdown"):
                return cause
            if cause == "shutdown" or run.loop.time() >= run.deadline:
                self._play(len(times))
                break
            elapsed_ms = (run.loop.time() - run.opened_at) * 1000
            self._play(max(told, bisect_right(times, elapsed_ms + 0.5)))  # a timer may fire a little before its time
            if len(run) - 1 < len(times):
                due = min(run.opened_at + times[len(run) - 1] / 1000, run.deadline)
                await asyncio.wait({run.stopping}, timeout=max(0.0, due - run.loop.time()))
        return None

    def _play(self, until: int) -> None:
        """Tell the events up to that one; a preliminary and its lane's end belong together."""
        events, told = self._events, len(self.run) - 1
        while 0 < until < len(events) and events[until - 1].startswith(b"event: preliminary\n"):
            until += 1
        if until <= told:
            return
        self.run.relay(b"".join(events[told:until]))
        for event in events[told:until]:
            if event.startswith(b"event: lane_end\n"):
                lane: LaneName = parse(event)[2]["lane"]
                self._played[lane] = free(self._answer.lanes[lane].end)
        fast = self._played.get("fast")
        self.run.acceptable = fast is not None and fast.outcome == "completed" and "slow" not in self._played

    # -- ending early

    def _cut(self, cause: Cause) -> Verdict:
        """End what has not been told, by the rules of a race."""
        verdict = settle(self._state("fast"), self._state("slow"), cause)
        assert verdict is not None, "a cause settles every run"
        if verdict.final_lane == "slow":  # the verified answer has been told but for its end
            self._play(len(self._answer.at_ms))
            return verdict
        self._report_cut(verdict.reason)
        if verdict.final_lane == "fast":
            text = self._answer.lanes["fast"].text
            self.run.append(FinalAnswer("fast", False, text, None, change("fast", None)))
        return verdict

    def _state(self, lane: LaneName) -> LaneState:
        end = self._played.get(lane)
        return NOT_PLAYED if end is None else LaneState(end.outcome, end.reason, end.latency_ms)

    def _report_cut(self, reason: str | None) -> None:
        """Say of each lane that has not ended that it was cancelled."""
        self.run.acceptable = False
        elapsed = milliseconds(self.run.loop.time() - self.run.opened_at)
        for lane in LANES:
            if lane not in self._played:
                end = LaneEnd(lane, "cancelled", reason, None, False, None, elapsed, Usage(), 0.0, None)
                self._played[lane] = end
                self.run.append(end)

    # -- what is kept

    def _done(self, verdict: Verdict) -> Done:
        usage = total(*(end.usage for end in self._played.values()))
        return done_of(self.run, verdict, usage, 0, self._terms.slow_threshold_ms)

    def _closing(self, done: Done, opening: Opening) -> Closing:
        """The outcome as that of a race, at no cost."""
        log_bytes, at_ms = self.run.preview(done)
        answer = self._answer
        return Closing(
            opening=opening,
            status=done.status,
            reason=done.reason,
            final_lane=done.final_lane,
            verified=done.verified,
            change=answer.change if done.verified else "unverified" if done.final_lane else None,
            agreement=answer.agreement if done.verified else None,
            latency_ms=done.latency_ms,
            usage=done.usage,
            cost_nano=0,
            lanes={lane: self._lane(lane, end, log_bytes) for lane, end in self._played.items()},
            log=log_bytes,
            at_ms=at_ms,
            version=CLOSED,
            saved_nano=answer.cost_nano if done.verified else None,
        )

    def _lane(self, lane: LaneName, end: LaneEnd, log_bytes: bytes) -> LaneRecord:
        """What was told of a lane."""
        said = self._answer.lanes[lane]
        if end.reason != said.end.reason or end.outcome != said.end.outcome:
            said = Said(said.model, *_told(lane, log_bytes), None, end)
        return LaneRecord(end, said.model, said.text, said.thinking, said.finish_reason)


def start_of(run_id: str, question: Question) -> Start:
    """The first event of a replay."""
    return Start(
        run_id=run_id,
        policy=question.policy,
        lanes={"fast": {"model": question.fast.model}, "slow": {"model": question.slow.model}},
        deadline_ms=round(question.deadline_s * 1000),
        audit="pending",
        source="cache",
    )


def renumbered(answer: Answer, run_id: str) -> bytes:
    """The answer's events under the id of another run; their numbers stay, since both logs begin with `start`."""
    # A line end inside the data is escaped, so that only an event's own id begins a line like this.
    old, new = (f"\nid: {identity}:".encode() for identity in (answer.run_id, run_id))
    return answer.events.replace(old, new)


def free(end: LaneEnd) -> LaneEnd:
    """The same end; telling it again costs nothing."""
    return replace(end, cost_usd=0.0)


def _told(lane: LaneName, log_bytes: bytes) -> tuple[str, str]:
    """The answer and the thinking of a lane as far as its deltas went."""
    deltas = [data for name, _, data in map(parse, split(log_bytes)) if name == "delta" and data["lane"] == lane]
    answer, thinking = ("".join(d["text"] for d in deltas if d["kind"] == kind) for kind in ("answer", "thinking"))
    return answer, thinking
