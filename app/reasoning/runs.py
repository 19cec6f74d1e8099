"""All runs of this instance: those that live, and those that ended lately and may still be read."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from app import trail
from app.admission.gate import LaneSpent, Spent
from app.answers.answer import Answer
from app.errors import NoSuchRun, NothingToAccept, RunShared, ShuttingDown, TooManyRuns
from app.events import LaneEnd, Usage
from app.llm.model import LanguageModel
from app.question import LANES, Caller, Key, LaneName, Question
from app.reasoning.ending import attempt
from app.reasoning.kept import Kept
from app.reasoning.log import Log
from app.reasoning.order import Order
from app.reasoning.race import Race, Terms
from app.reasoning.replay import Replay
from app.reasoning.run import Run
from app.record.entry import Closing, Journal, Opening

log = logging.getLogger(__name__)

ARRIVAL_S = 5.0  # a run whose first reader never came is treated as left by it after this time


class Models(Protocol):
    """Where the two language models of a question come from."""

    def get(self, lane: LaneName, name: str) -> LanguageModel:
        """The model of that name for that lane; raises UnknownModel."""
        ...


class Conductor(Protocol):
    """Whatever takes a run from `start` to `done`: a race, a replay."""

    run: Run
    strays: set[asyncio.Task[None]]
    outcome: Closing | None

    async def conduct(self, opening: Opening) -> None:
        """Run to the end."""
        ...

    def bury(self, opening: Opening) -> None:
        """End a log that a fault of ours left open."""
        ...

    async def release(self) -> None:
        """Let go of what is held."""
        ...


Keep = Callable[[Closing, Key], None]


def spent(outcome: Closing | None) -> Spent:
    """What a run used, as far as that is known: what a faulty adapter made of its numbers is not."""
    if outcome is None:
        return Spent(None, None)
    try:
        return _known(outcome)
    except Exception:  # whatever is wrong with its numbers, its pass is to be settled
        log.exception("what a run used cannot be counted", extra={"run_id": outcome.run_id})
        return Spent(None, None)


def _known(outcome: Closing) -> Spent:
    lanes = {name: LaneSpent(_tokens(of.end.usage), of.cost_nano, _asked(of.end)) for name, of in outcome.lanes.items()}
    return Spent(_tokens(outcome.usage), outcome.cost_nano, lanes)


def _tokens(usage: Usage) -> int | None:
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    return (usage.input_tokens or 0) + (usage.output_tokens or 0)


def _asked(end: LaneEnd) -> bool:
    """Whether a model may have worked for this lane: nobody is charged for errors and for what was never sent."""
    return end.outcome not in ("failed", "refused")


def forget(closing: Closing, key: Key) -> None:
    """Keep no answer."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much the registry holds: live runs; finished runs by count, bytes and seconds since they ended."""

    live: int = 1000
    kept: int = 1000
    kept_bytes: int = 64 * 1024 * 1024
    kept_s: float = 300.0
    disconnect_grace_s: float = 15.0


class Runs:
    """Opens runs and owns their supervisors. Belongs to one event loop; call `drain` before the loop ends.

    keep is told of every outcome before the run leaves the live ones, so that whoever asks the same finds one of both.
    """

    def __init__(self, models: Models, journal: Journal, terms: Terms, bounds: Bounds, keep: Keep = forget) -> None:
        self._models = models
        self._journal = journal
        self._terms = terms
        self._bounds = bounds
        self._keep = keep
        self._live: dict[str, Run] = {}
        self._flights: dict[Key, Run] = {}  # of the live ones, the run that identical questions share
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept = Kept(bounds.kept, bounds.kept_bytes, bounds.kept_s, asyncio.get_running_loop().time)
        self.strays: set[asyncio.Task[None]] = set()
        self.draining = False

    def open(self, order: Order) -> Run:
        """Start a race and return it. Raises ShuttingDown, TooManyRuns, AuditFull, UnknownModel, with nothing begun."""
        models = self.check(order.question)
        trail.about(order.run_id)
        run = Run(order.run_id, order.question, order.caller, order.key.fingerprint)
        run.along = self._terms.along(order.run_id)
        race = Race(run, models, self._journal, self._terms)
        if order.question.cache != "off":
            self._flights[order.key] = run
        return self._begin(race, order, order.opening(self._terms.instance))

    def replay(self, order: Order, answer: Answer) -> Run:
        """Start telling a stored answer again. Raises as `open` does, but for models that are not asked."""
        self._check_room()
        trail.about(order.run_id)
        run = Run(order.run_id, order.question, order.caller, order.key.fingerprint, "cache")
        opening = order.opening(self._terms.instance, "cache", answer.run_id)
        return self._begin(Replay(run, answer, self._journal, self._terms), order, opening)

    def share(self, log: Log, order: Order) -> None:
        """Let who asked the same read a run that is there, and write down that this request does."""
        trail.about(log.run_id)
        log.admit(order.caller)
        if isinstance(log, Run) and order.question.on_disconnect == "finish":
            log.outlive_readers()
        self._journal.attached(order.attachment(log.run_id, self._terms.instance))

    def check(self, question: Question) -> dict[LaneName, LanguageModel]:
        """The models of a race that may be opened now. Raises what `open` raises."""
        self._check_room()
        return {lane: self._models.get(lane, question.lane(lane).model) for lane in LANES}

    def _check_room(self) -> None:
        """Raise ShuttingDown, TooManyRuns or AuditFull, unless another run may be opened."""
        if self.draining:
            raise ShuttingDown("this server is shutting down; ask another one, or again in a moment")
        if len(self._live) + len(self.strays) >= self._bounds.live:
            raise TooManyRuns(f"{self._bounds.live} runs are live already (MAX_LIVE_RUNS); try again in a moment")
        self._journal.admit()

    def _begin(self, conductor: Conductor, order: Order, opening: Opening) -> Run:
        run = conductor.run
        run.grace_s = self._bounds.disconnect_grace_s
        run.queued_ms = order.admitted.queued_ms
        self._live[run.run_id] = run
        run.await_reader(ARRIVAL_S)
        task = run.loop.create_task(self._supervise(conductor, order, opening), name=f"run {run.run_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return run

    async def _supervise(self, conductor: Conductor, order: Order, opening: Opening) -> None:
        """Conduct the run; whatever goes wrong, the log ends with one `done` and the run leaves the live ones."""
        try:
            await conductor.conduct(opening)
        except Exception:  # the last boundary of a run: a bug of ours must still end the stream, truthfully
            log.exception("run failed", extra={"run_id": opening.run_id})
            conductor.bury(opening)
            await conductor.release()
        except asyncio.CancelledError:
            conductor.bury(opening)
            raise
        finally:
            self._retire(conductor, order)

    def _retire(self, conductor: Conductor, order: Order) -> None:
        run, outcome, key = conductor.run, conductor.outcome, order.key
        attempt(partial(order.admitted.settle, spent(outcome)))
        if outcome is not None:
            attempt(partial(self._keep, outcome, key))
        if self._flights.get(key) is run:
            del self._flights[key]
        del self._live[run.run_id]
        for stray in conductor.strays:
            log.warning("a lane did not stop when it was cancelled", extra={"run_id": run.run_id})
            self.strays.add(stray)
            stray.add_done_callback(self.strays.discard)
        self._kept.add(run)

    # -- finding runs again

    def flight(self, key: Key) -> Run | None:
        """The live run that identical questions share, unless it is being stopped."""
        run = self._flights.get(key)
        return run if run is not None and run.joinable else None

    def find(self, run_id: str, caller: Caller) -> Run | None:
        """A live or lately finished run that is this caller's to read, on this instance."""
        run = self._live.get(run_id, self._kept.get(run_id))  # not `or`: a run is falsy until it has said `start`
        return run if run is not None and run.admits(caller) else None

    def cancel(self, run_id: str, caller: Caller) -> Run:
        """Stop a run; harmless when it has ended. Raises NoSuchRun, RunShared."""
        return self._stop(run_id, caller, "cancelled")

    def accept(self, run_id: str, caller: Caller) -> Run:
        """Take the preliminary answer and stop the slow lane. Raises NoSuchRun, RunShared, NothingToAccept."""
        return self._stop(run_id, caller, "accepted")

    def _stop(self, run_id: str, caller: Caller, cause: Literal["cancelled", "accepted"]) -> Run:
        run = self.find(run_id, caller)
        if run is None:
            raise NoSuchRun("this instance knows no such run of yours")
        if not run.closed and (run.guests or run.caller != caller):
            raise RunShared("an identical question shares this run; leave it by closing the stream")
        if cause == "accepted" and not run.acceptable:
            raise NothingToAccept("the run has no preliminary answer that still waits for the slow lane")
        run.stop(cause)
        return run

    @property
    def instance(self) -> str:
        """The name of this server."""
        return self._terms.instance

    @property
    def live(self) -> int:
        """How many runs are live."""
        return len(self._live)

    @property
    def open_streams(self) -> int:
        """How many readers the live runs have."""
        return sum(run.readers for run in self._live.values())

    # -- the end

    async def drain(self, grace_s: float) -> None:
        """Open nothing new, give live runs grace_s seconds, then end each with `done` (`shutdown`)."""
        self.draining = True
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace_s)
        for run in list(self._live.values()):
            run.stop("shutdown")
        if self._tasks:
            await asyncio.wait(set(self._tasks))
