"""What the routers receive: the parts of the server they speak for, each by the protocol they need."""

from dataclasses import dataclass
from typing import Any, Protocol

from app.experiments.list import Records
from app.http.body import Defaults
from app.http.stream import StreamOptions
from app.question import Caller
from app.reasoning.runs import Runs


class StoredLog(Protocol):
    """A run's stream as the record has it; log is None while the run is open, and for one that was interrupted."""

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

    @property
    def ready(self) -> bool:
        """True when new runs should be sent here."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the HTTP side is given."""

    runs: Runs
    records: RunRecords
    readiness: Readiness
    defaults: Defaults
    stream: StreamOptions
    max_body_bytes: int
    version: str


LOCAL = Caller("local")
