"""What the routers receive: the parts of the server they speak for, each by the protocol they need."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from cachetools import LRUCache

from app.answers.cache import Cache
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
from app.question import Caller
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
    """Where the past is asked: run by run, and rolled up."""

    reads: Reads
    rolled_up: RolledUp


class Readiness(Protocol):
    """What stands between this process and a useful answer."""

    def checks(self) -> dict[str, str]:
        """Part by part: `ok`, or what is wrong."""
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


class Nothing:
    """Nothing is on its way."""

    def may_have(self, run_id: str, caller: str | None = None) -> bool:  # noqa: ARG002  # as Pending has it
        """No run has anything."""
        return False

    async def arrival(self, run_id: str, within_s: float, caller: str | None = None) -> None:
        """There is nothing to wait for."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Where an answer may come from: the desk decides; stored ones, by the scope of their callers; other instances."""

    desk: Desk
    cache: Cache | None
    elsewhere: Elsewhere
    scope: Callable[[Caller], str]


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the HTTP side is given. told: the number of the `done` that was given for an interrupted run.

    pending: which records may come yet, though PostgreSQL has none. identify: who asks, by the request's headers.

    answers: where an answer may come from. request_lines: whether each question leaves a line in the log.

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
    mask: Callable[[str], str] = Redactor("full", TEXT_MAX).remark
    pending: Pending = field(default_factory=Nothing)
    identify: Identify = anybody
    requests: Requests | None = None
    request_lines: bool = True
    told: LRUCache[str, int] = field(default_factory=lambda: LRUCache(10_000))
