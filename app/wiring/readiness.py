"""What stands between this process and a useful answer, and where its records are."""

from dataclasses import asdict
from typing import Any

from app.admission.sparing import Sparing
from app.postgres.chores import Chores
from app.reasoning.runs import Runs
from app.record.intake import Intake
from app.wiring.condition import Condition


class Readiness:
    """What stands between this process and a useful answer; its tasks write it, the health routes read it."""

    def __init__(self, stall_s: float = 60.0) -> None:
        self._stall_s = stall_s
        self.condition: Condition | None = None
        self.models = "loading"
        self.database = "connecting"
        self.runs: Runs | None = None
        self.journal: Intake | None = None
        self.chores: Chores | None = None
        self.limits: Sparing | None = None

    def checks(self) -> dict[str, str]:
        """Part by part. A database that is down is told but does not make the server unready: streams go on."""
        draining = self.runs is not None and self.runs.draining
        away = self.journal is not None and self.journal.state["status"] in ("away", "held")
        return {
            "models": self.models,
            "database": "away" if away else self.database,
            "process": "draining" if draining else "ok",
            "audit": "full" if self.journal is not None and self.journal.refusing else "ok",
            **self.moving(),
        } | ({} if self.limits is None else {"limits": self.limits.state})

    def moving(self) -> dict[str, str]:
        """What has to move all the time: a stand is a fault of ours that only a new process mends.

        A drainer whose database is away moves: it tries again and again.
        """
        still = {
            "loop": 0.0 if self.condition is None else self.condition.watchdog.still_s,
            "drainer": 0.0 if self.journal is None else self.journal.still_s,
        }
        return {
            name: "ok" if still_s < self._stall_s else f"has not moved for {still_s:.0f} s"
            for name, still_s in still.items()
        }

    async def parts(self) -> dict[str, Any]:
        """Every part: its state, how long its last call took, what was last wrong with it. Takes a second at most."""
        checks = self.checks()
        if self.condition is None:
            return {name: {"status": status} for name, status in checks.items()}
        return await self.condition.parts(checks)

    def ledger(self) -> dict[str, Any]:
        """Where every record that was accepted is now."""
        return {} if self.journal is None else asdict(self.journal.ledger)

    def audit(self) -> dict[str, Any]:
        """The sink of the records and the work behind it."""
        chores = {} if self.chores is None else self.chores.state
        return {"chores": chores} | ({} if self.journal is None else dict(self.journal.state))

    @property
    def ready(self) -> bool:
        """True when new runs should be sent here: also while the database is away, but not when none may begin."""
        if self.models != "ok" or self.runs is None or self.runs.draining:
            return False
        refusing = self.journal is not None and self.journal.refusing
        return not refusing and self.alive

    @property
    def alive(self) -> bool:
        """False when only a new process helps."""
        return all(state == "ok" for state in self.moving().values())
