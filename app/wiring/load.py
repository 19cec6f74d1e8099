"""What keeps the server from more work than it can do: a bound on races with a line before it, and on streams."""

import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass

from app.admission.ceiling import LATE
from app.admission.gate import OPEN, Gate, Gates
from app.admission.load import Capacity, Load, Strain
from app.admission.streams import Streams
from app.errors import StartupError
from app.settings import Settings
from app.telemetry.lag import Lag
from app.telemetry.vitals import Sources


@dataclass(frozen=True, slots=True)
class Protection:
    """gate: before every race; streams: of each caller, if callers are told apart; lag: how late the event loop is."""

    gate: Load
    streams: Streams | None
    lag: Lag

    def before(self, then: Gate) -> Gate:
        """This gate, and behind it that one."""
        return self.gate if then is OPEN else Gates([self.gate, then])

    def tell(self, sources: Sources) -> None:
        """Let the numbers be read."""
        sources.lag, sources.queue = self.lag, self.gate


def open_load(settings: Settings, stack: AsyncExitStack) -> Protection:
    """All of it, looking already. Raises StartupError for a bound that cannot be held here."""
    if settings.load_max_memory_bytes is not None and sys.platform != "linux":
        raise StartupError("LOAD_MAX_MEMORY_BYTES: only Linux tells how much memory a process has now; unset it")
    lag = Lag()
    lag.begin()
    stack.callback(lag.end)
    late_s = LATE * settings.load_max_lag_s
    capacity = Capacity(settings.load_max_races, settings.queue_length, settings.queue_timeout_s, late_s)
    gate = Load(capacity, strain_of(lag, settings.load_max_lag_s, settings.load_max_memory_bytes))
    lag.listeners.append(gate.look)
    return Protection(gate, None if settings.auth == "off" else Streams(settings.load_streams_per_caller), lag)


def strain_of(lag: Lag, most_lag_s: float, most_bytes: int | None) -> Strain:
    """Why no race may begin while the loop is later, or the memory fuller, than that."""

    def strain() -> str | None:
        if lag.now_s > most_lag_s:
            return f"the server is {lag.now_s:.2f} s late (LOAD_MAX_LAG_S)"
        if most_bytes is not None and lag.memory_bytes > most_bytes:
            return f"the server has {lag.memory_bytes >> 20} MiB in memory (LOAD_MAX_MEMORY_BYTES)"
        return None

    return strain
