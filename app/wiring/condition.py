"""How every part is: its state, how long its last call took, and what was last wrong with it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from app.errors import TandemError
from app.http.parts import Answers
from app.logs import Troubles
from app.postgres.pool import Pool
from app.question import LANES
from app.record.redaction import Redactor
from app.settings import Settings
from app.telemetry.lately import Lately
from app.telemetry.watchdog import Watchdog
from app.wiring.tracing import Traces, Untraced

ASK_S: Final = 1.0  # for a part to answer an operator
MOST_CHARS: Final = 300

Probe = Callable[[], Awaitable[object]]


class Lag(Protocol):
    """How late the event loop is, in seconds."""

    @property
    def now_s(self) -> float:
        """Lately."""
        ...

    @property
    def p99_s(self) -> float:
        """Of the last minute."""
        ...


@dataclass(slots=True)
class Condition:
    """Reads the parts when it is asked; what is None is off, or not there yet."""

    settings: Settings
    lately: Lately
    watchdog: Watchdog
    traces: Traces = field(default_factory=Untraced)
    lag: Lag | None = None
    answers: Answers | None = None
    probes: dict[str, Probe] = field(default_factory=dict)
    troubles: Troubles = field(default_factory=Troubles)

    async def parts(self, checks: Mapping[str, str]) -> dict[str, Any]:
        """By part, checks telling the state of some; a second at most."""
        names = list(self.probes)
        probed = dict(zip(names, await asyncio.gather(*map(_probe, self.probes.values())), strict=True))
        return {
            "loop": {"status": checks["loop"], **self._lag()},
            "drainer": {"status": checks["drainer"], **self._trouble("record")},
            "models": {"status": checks["models"], **self._lanes(), **self._trouble("llm")},
            "database": {"status": checks["database"], **probed.get("database", {}), **self._trouble("postgres")},
            "redis": self._redis(),
            "cache": self._cache(),
            "audit": {"status": checks["audit"]},
            "traces": {**self.traces.state, **self._trouble("telemetry")},
        }

    def _lag(self) -> dict[str, float]:
        return {} if self.lag is None else {"late_ms": _ms(self.lag.now_s), "late_p99_ms": _ms(self.lag.p99_s)}

    def _lanes(self) -> dict[str, Any]:
        return {lane: {"model": getattr(self.settings, f"{lane}_model"), **self.lately.told(lane)} for lane in LANES}

    def _redis(self) -> dict[str, Any]:
        if self.settings.redis_url is None:
            return {"status": "off"}
        state = {} if self.answers is None else dict(self.answers.elsewhere.state)
        return {"status": "ok", **state, **self._trouble("redis")}

    def _cache(self) -> dict[str, Any]:
        cache = None if self.answers is None else self.answers.cache
        if cache is None:
            return {"status": "off"}
        took, states = cache.last_ms, cache.state
        levels = {name: {"status": state, "latency_ms": took.get(name)} for name, state in states.items()}
        well = all(state in ("ok", "off") for state in states.values())
        return {"status": "ok" if well else "degraded", "levels": levels, **self._trouble("answers")}

    def _trouble(self, part: str) -> dict[str, Any]:
        """The last line of the log that was not a good one, once more without what looks like a secret."""
        last = self.troubles.last.get(part)
        if last is None:
            return {"last_error": None}
        return {"last_error": {**last, "message": Redactor("redacted", MOST_CHARS).remark(last["message"])}}


async def _probe(probe: Probe) -> dict[str, Any]:
    """Ask, and say how long that took; what went wrong is said by its kind."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(ASK_S):
            await probe()
    except (TandemError, TimeoutError) as error:
        return {"answers": False, "latency_ms": _ms(time.perf_counter() - began), "why": type(error).__name__}
    return {"answers": True, "latency_ms": _ms(time.perf_counter() - began)}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


def open_condition(settings: Settings, readers: Pool, traces: Traces, stack: AsyncExitStack) -> Condition:
    """Everything that watches, from now until the stack is closed."""
    condition = Condition(settings, Lately(), Watchdog(), traces, probes={"database": readers.ping})
    condition.watchdog.begin()
    stack.callback(condition.watchdog.end)
    logging.getLogger("app").addHandler(condition.troubles)
    stack.callback(logging.getLogger("app").removeHandler, condition.troubles)
    return condition
