"""What the routers receive: the parts of the server they speak for, each by the protocol they need."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from cachetools import LRUCache

from app.experiments.list import Records
from app.http.body import Defaults
from app.question import Caller
from app.reasoning.runs import Runs


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


class Readiness(Protocol):
    """What stands between this process and a useful answer."""

    def checks(self) -> dict[str, str]:
        """Part by part: `ok`, or what is wrong."""
        ...

    def ledger(self) -> dict[str, int]:
        """Where every record that was accepted is now."""
        ...

    @property
    def ready(self) -> bool:
        """True when new runs should be sent here."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the HTTP side is given. told: the number of the `done` that was given for an interrupted run."""

    runs: Runs
    records: RunRecords
    readiness: Readiness
    defaults: Defaults
    ping_s: float
    max_body_bytes: int
    version: str
    told: LRUCache[str, int] = field(default_factory=lambda: LRUCache(10_000))


LOCAL = Caller("local")
