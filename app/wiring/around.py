"""What stands around every question: who looks on, who holds back, who counts."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from starlette.datastructures import Headers

from app import __version__
from app.admission.gate import Gate
from app.admission.sparing import Sparing as Counters
from app.http.cors import Cors
from app.http.doorstep import Doorstep
from app.reasoning.runs import Keep
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.wiring import breakers, condition, limits, load, metrics, tracing
from app.wiring.breakers import Sparing
from app.wiring.condition import Condition
from app.wiring.ground import Ground
from app.wiring.limits import Limited
from app.wiring.load import Protection
from app.wiring.tracing import Traces


@dataclass(frozen=True, slots=True)
class Around:
    """spans: of traces; numbers: of metrics; sparing: sick models; limited: callers; guard: the server itself."""

    spans: Traces
    condition: Condition
    numbers: Metrics
    sparing: Sparing
    limited: Limited
    guard: Protection

    @property
    def gate(self) -> Gate:
        """What a question passes before a race."""
        return self.guard.before(limits.gate(self.limited))

    @property
    def listeners(self) -> tuple[Keep, ...]:
        """Who is told of the end of a run, besides who keeps answers."""
        return (self.numbers.meters.keep, self.spans.keep, self.condition.lately.keep, *self.sparing.listeners)

    def look_before(self, doorstep: Doorstep, cors: Cors | None) -> None:
        """Who cannot be let in is turned away there, and what happens there is counted."""
        doorstep.watch(self.guard.gate, self.numbers.meters)
        if cors is not None:
            doorstep.added = lambda headers: cors.answered(Headers(raw=headers))
        self.numbers.sources.ended = doorstep.notices

    @property
    def counters(self) -> Counters | None:
        """The breaker before what instances count together."""
        return self.limited.sparing


async def open_around(settings: Settings, ground: Ground, stack: AsyncExitStack) -> Around:
    """All of it; what reads other parts is told of them here, or once they are there."""
    spans = await tracing.open_tracing(settings, ground.instance, stack)
    watch = condition.open_condition(settings, ground.readers, spans, stack)
    sparing = breakers.open_breakers(settings, ground.catalogue)
    numbers = metrics.open_metrics(settings, __version__)
    limited = await limits.open_limits(settings, ground.way, ground.prices, ground.instance, stack)
    guard = load.open_load(settings, stack)
    guard.tell(numbers.sources)
    watch.lag = guard.lag
    ground.readiness.limits, ground.readiness.condition = limited.sparing, watch
    return Around(spans, watch, numbers, sparing, limited, guard)
