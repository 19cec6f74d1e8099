"""What the routers receive: the parts of the server they speak for, each by the protocol they need."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Protocol

from cachetools import LRUCache

from app.admission.board import Board
from app.admission.budget import Budget
from app.admission.doorman import Doorman
from app.admission.streams import Streams
from app.answers.cache import Cache
from app.breaker import Held
from app.experiments.compare import Outcomes
from app.experiments.deadline import LaneTimes
from app.experiments.exporting import Exports
from app.experiments.feedback import TEXT_MAX, FeedbackStore
from app.experiments.list import Payloads, Records, Savings
from app.experiments.logs import Requests
from app.experiments.rollup import RolledUp
from app.experiments.verdicts import Verdicts
from app.http.body import Defaults
from app.http.callers import Identify, anybody
from app.http.cors import Cors
from app.http.given import given
from app.http.metrics import Numbers
from app.http.sessions import Auth, Sessions
from app.http.traffic import Meters
from app.question import Caller, Content
from app.reasoning.desk import Desk
from app.reasoning.elsewhere import Elsewhere
from app.reasoning.runs import Runs
from app.record.redaction import Redactor


class StoredLog(Protocol):
    """A run's stream as the record has it; log is None while the run is open, and for one that was interrupted."""

    @property
    def created_at(self) -> datetime:
        """When the run was opened."""
        ...

    @property
    def deadline_ms(self) -> int:
        """The bound on the whole run."""
        ...

    @property
    def status(self) -> str:
        """`running`, or how the run ended."""
        ...

    @property
    def reason(self) -> str | None:
        """Why it ended so."""
        ...

    @property
    def fingerprint(self) -> str:
        """The question's fingerprint."""
        ...

    @property
    def log(self) -> bytes | None:
        """Every event, as the readers saw it."""
        ...


class RunRecords(Records, Protocol):
    """The record. Every call raises RecordUnavailable when it cannot be read."""

    async def get(self, caller: Caller, run_id: str) -> dict[str, Any] | None:
        """One record with its payload, or None."""
        ...

    async def log(self, caller: Caller, run_id: str) -> StoredLog | None:
        """What is kept of a run's stream; None for an unknown run."""
        ...


class Reads(Payloads, Savings, Verdicts, LaneTimes, Outcomes, Exports, FeedbackStore, Protocol):
    """Everything that is asked about many runs but their sums, and what is said about one."""


@dataclass(frozen=True, slots=True)
class Past:
    """Where the past is asked: run by run, and rolled up, of one caller or of everybody."""

    reads: Reads
    rolled_up: RolledUp
    everybodys: RolledUp | None = None


class Readiness(Protocol):
    """What stands between this process and a useful answer."""

    def checks(self) -> dict[str, str]:
        """Part by part: `ok`, or what is wrong."""
        ...

    def moving(self) -> dict[str, str]:
        """What has to move all the time: `ok`, or for how long it has not."""
        ...

    async def parts(self) -> dict[str, Any]:
        """Every part: its state, how long its last call took, what was last wrong with it."""
        ...

    @property
    def alive(self) -> bool:
        """False when only a new process helps."""
        ...

    def ledger(self) -> dict[str, Any]:
        """Where every record that was accepted is now."""
        ...

    def audit(self) -> dict[str, Any]:
        """The sink of the records and the work behind it: what it waits for, how much it holds."""
        ...

    @property
    def ready(self) -> bool:
        """True when new runs should be sent here."""
        ...


class Pending(Protocol):
    """What is on its way to the record."""

    def may_have(self, run_id: str, caller: str | None = None) -> bool:
        """Whether something of that run, and of that caller if one is named, may be."""
        ...

    async def arrival(self, run_id: str, within_s: float, caller: str | None = None) -> None:
        """Wait until nothing of it is, within_s seconds at most."""
        ...


class Mask(Protocol):
    """Takes out of a text what may not be kept, by the server's rule or a stricter one that a caller was granted."""

    def __call__(self, text: str, granted: Content | None = None) -> str:
        """The text as it may be kept."""
        ...


class Nothing:
    """Nothing is on its way."""

    def may_have(self, run_id: str, caller: str | None = None) -> bool:  # noqa: ARG002  # as Pending has it
        """No run has anything."""
        return False

    async def arrival(self, run_id: str, within_s: float, caller: str | None = None) -> None:
        """There is nothing to wait for."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Where an answer may come from: the desk decides; stored ones, by the scope of their callers; other instances.

    breakers: of the stores behind all that, by name.
    """

    desk: Desk
    cache: Cache | None
    elsewhere: Elsewhere
    scope: Callable[[Caller], str]
    breakers: Mapping[str, Held] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the HTTP side is given. told: the number of the `done` that was given for an interrupted run.

    pending: which records may come yet, though PostgreSQL has none. identify: who asks, by the request's headers, as
    auth names it; sessions: of browsers, where there are keys; cors: pages of other sites.

    doorman: counts requests; budget: the gate of money and tokens, to be looked at; None where nothing is limited.
    streams: counts those that callers have open, where callers are told apart; board: every circuit breaker.

    answers: where an answer may come from. request_lines: whether each question leaves a line in the log. meters: told
    of every request; numbers: what they and others say.

    Without a past there are no statistics, exports and feedback.
    """

    answers: Answers
    runs: Runs
    records: RunRecords
    readiness: Readiness
    defaults: Defaults
    ping_s: float
    max_body_bytes: int
    version: str
    past: Past | None = None
    mask: Mask = Redactor("full", TEXT_MAX).remark
    pending: Pending = field(default_factory=Nothing)
    identify: Identify = anybody
    auth: Auth = "off"
    sessions: Sessions | None = None
    cors: Cors | None = None
    doorman: Doorman | None = None
    budget: Budget | None = None
    streams: Streams | None = None
    board: Board = field(default_factory=Board)
    requests: Requests | None = None
    request_lines: bool = True
    meters: Meters | None = None
    numbers: Numbers | None = None
    told: LRUCache[str, int] = field(default_factory=lambda: LRUCache(10_000))


Given = Annotated[Parts, given()]
GivenPast = Annotated[Past, given("past")]
