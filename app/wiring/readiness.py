"""What stands between this process and a useful answer, and where its records are."""

from dataclasses import asdict
from typing import Any

from app.postgres.chores import Chores
from app.reasoning.runs import Runs
from app.record.intake import Intake


class Readiness:
    """What stands between this process and a useful answer; its tasks write it, the health routes read it."""

    def __init__(self) -> None:
        self.models = "loading"
        self.database = "connecting"
        self.runs: Runs | None = None
        self.journal: Intake | None = None
        self.chores: Chores | None = None

    def checks(self) -> dict[str, str]:
        """Part by part. A database that is down is told but does not make the server unready: streams go on."""
        draining = self.runs is not None and self.runs.draining
        away = self.journal is not None and self.journal.state["status"] in ("away", "held")
        return {
            "models": self.models,
            "database": "away" if away else self.database,
            "process": "draining" if draining else "ok",
        }

    def ledger(self) -> dict[str, Any]:
        """Where every record that was accepted is now."""
        return {} if self.journal is None else asdict(self.journal.ledger)

    def audit(self) -> dict[str, Any]:
        """The sink of the records and the work behind it."""
        chores = {} if self.chores is None else self.chores.state
        return {"chores": chores} | ({} if self.journal is None else dict(self.journal.state))

    @property
    def ready(self) -> bool:
        """True when new runs should be sent here."""
        return self.models == "ok" and self.runs is not None and not self.runs.draining
