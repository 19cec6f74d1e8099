"""All runs of this instance: those that live, and those that ended lately and may still be read."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

from uuid_utils import uuid7

from app.errors import NoSuchRun, NothingToAccept, ShuttingDown, TooManyRuns
from app.llm.model import LanguageModel
from app.question import Caller, LaneName, Question
from app.reasoning.kept import Kept
from app.reasoning.race import Race, Terms
from app.reasoning.run import Run
from app.record.entry import Journal, Opening

log = logging.getLogger(__name__)

ARRIVAL_S = 5.0  # a run whose first reader never came is treated as left by it after this time


class Models(Protocol):
    """Where the two language models of a question come from."""

    def get(self, lane: LaneName, name: str) -> LanguageModel:
        """The model of that name for that lane; raises UnknownModel."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much the registry holds: live runs; finished runs by count, bytes and seconds since they ended."""

    live: int = 1000
    kept: int = 1000
    kept_bytes: int = 64 * 1024 * 1024
    kept_s: float = 300.0
    disconnect_grace_s: float = 15.0


class Runs:
    """Opens runs and owns their supervisors. Belongs to one event loop; call `drain` before the loop ends."""

    def __init__(self, models: Models, journal: Journal, terms: Terms, bounds: Bounds) -> None:
        self._models = models
        self._journal = journal
        self._terms = terms
        self._bounds = bounds
        self._live: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept = Kept(bounds.kept, bounds.kept_bytes, bounds.kept_s, asyncio.get_running_loop().time)
        self.strays: set[asyncio.Task[None]] = set()
        self.draining = False

    def open(self, question: Question, caller: Caller) -> Run:
        """Start a run and return it. Raises ShuttingDown, TooManyRuns, AuditFull, UnknownModel, with nothing begun."""
        if self.draining:
            raise ShuttingDown("this server is shutting down; ask another one, or again in a moment")
        if len(self._live) + len(self.strays) >= self._bounds.live:
            raise TooManyRuns(f"{self._bounds.live} runs are live already (MAX_LIVE_RUNS); try again in a moment")
        self._journal.admit()
        models: dict[LaneName, LanguageModel] = {
            "fast": self._models.get("fast", question.fast.model),
            "slow": self._models.get("slow", question.slow.model),
        }
        identity = uuid7()
        run = Run(str(identity), question, caller, self._bounds.disconnect_grace_s)
        opened_at = datetime.fromtimestamp(identity.timestamp / 1000, UTC)
        opening = Opening(run.run_id, opened_at, caller.id, run.fingerprint, question, instance=self._terms.instance)
        race = Race(run, models, self._journal, self._terms)
        self._live[run.run_id] = run
        run.await_reader(ARRIVAL_S)
        task = run.loop.create_task(self._supervise(race, opening), name=f"run {run.run_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return run

    async def _supervise(self, race: Race, opening: Opening) -> None:
        """Conduct the race; whatever goes wrong, the log ends with one `done` and the run leaves the live ones."""
        try:
            await race.conduct(opening)
        except Exception:  # the last boundary of a run: a bug of ours must still end the stream, truthfully
            log.exception("run failed", extra={"run_id": opening.run_id})
            race.bury(opening)
            await race.release()
        except asyncio.CancelledError:
            race.bury(opening)
            raise
        finally:
            self._retire(race)

    def _retire(self, race: Race) -> None:
        run = race.run
        del self._live[run.run_id]
        for stray in race.strays:
            log.warning("a lane did not stop when it was cancelled", extra={"run_id": run.run_id})
            self.strays.add(stray)
            stray.add_done_callback(self.strays.discard)
        self._kept.add(run)

    # -- finding runs again

    def find(self, run_id: str, caller: Caller) -> Run | None:
        """A live or lately finished run of this caller, on this instance."""
        run = self._live.get(run_id, self._kept.get(run_id))  # not `or`: a run is falsy until it has said `start`
        return run if run is not None and run.caller == caller else None

    def cancel(self, run_id: str, caller: Caller) -> Run:
        """Stop a run; harmless when it has ended. Raises NoSuchRun."""
        return self._stop(run_id, caller, "cancelled")

    def accept(self, run_id: str, caller: Caller) -> Run:
        """Take the preliminary answer and stop the slow lane. Raises NoSuchRun, NothingToAccept."""
        run = self.find(run_id, caller)
        if run is not None and not run.acceptable:
            raise NothingToAccept("the run has no preliminary answer that still waits for the slow lane")
        return self._stop(run_id, caller, "accepted")

    def _stop(self, run_id: str, caller: Caller, cause: Literal["cancelled", "accepted"]) -> Run:
        run = self.find(run_id, caller)
        if run is None:
            raise NoSuchRun("this instance knows no such run of yours")
        run.stop(cause)
        return run

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
