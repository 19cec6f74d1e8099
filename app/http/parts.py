"""What the routers receive: the parts of the server they speak for, each by the protocol they need."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from app.http.body import Defaults
from app.http.stream import StreamOptions
from app.question import Caller
from app.reasoning.runs import Runs


class RunRecords(Protocol):
    """The record, as far as a single run is asked for. Every call raises RecordUnavailable when it cannot be read."""

    async def get(self, caller: str, run_id: str) -> dict[str, Any] | None:
        """One record with its payload, or None."""
        ...

    async def log(self, caller: str, run_id: str) -> tuple[str, bytes | None] | None:
        """(status, the event log or None when it is not kept), or None for an unknown run."""
        ...

    async def page(self, caller: str, filters: Any, limit: int, before: Any) -> Sequence[dict[str, Any]]:  # noqa: ANN401
        """Records, newest first."""
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
