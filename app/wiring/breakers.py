"""What spares sick models, and money: breakers before every model, the slow lanes' share, second attempts."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from app.admission.board import ENDS, Board
from app.admission.governor import Governor
from app.admission.sparing import Sparing as Counters
from app.breaker import Limits, State
from app.http.parts import Parts
from app.llm.hedge import Hedges, Lateness
from app.llm.model import LanguageModel
from app.llm.tripping import Guards, Models, Patience, Rules, once, within_budget
from app.question import LANES, Key, LaneName
from app.reasoning.runs import Keep
from app.record.entry import Closing, LaneRecord
from app.record.intake import Intake
from app.settings import Settings
from app.wiring import models

ALONE: Final = ("local",)  # on one processor a second attempt makes both slower
AWAY: Final = ("away", "held")
NOBODY: Final[frozenset[State]] = frozenset()  # is to be told by the board of what speaks for itself
REFUSED: Final = ("breaker_open", "budget_share")
STOP_S: Final = 1.0  # a run ends so long after its deadline at most


@dataclass(frozen=True, slots=True)
class Sparing:
    """models: the catalogue, guarded; board: all breakers. Without a governor money is not shared out."""

    models: Guards
    board: Board
    governor: Governor | None
    hedges: Hedges | None

    @property
    def listeners(self) -> tuple[Keep, ...]:
        """Who wants to know what runs cost."""
        return () if self.governor is None else (partial(_note, self.governor),)

    def show(self, parts: Parts, journal: Intake | None = None, counters: Counters | None = None) -> Parts:
        """The parts with the board, on which everything is that can be sick. counters: those that instances share."""
        for name, breaker in parts.answers.breakers.items():
            self.board.add(name, breaker, NOBODY if name.startswith("answers.") else ENDS)
        if counters is not None:
            self.board.add("redis.limits", counters.breaker, NOBODY)
        if journal is not None:
            self.board.watch("postgres.record", lambda: "open" if journal.state["status"] in AWAY else "closed")
        return replace(parts, board=self.board)


def open_breakers(settings: Settings, catalogue: Models) -> Sparing:
    """All of it, for the running event loop."""
    clock = asyncio.get_running_loop().time
    board = Board()
    governor = None if settings.slow_lane_budget_share is None else Governor(settings.slow_lane_budget_share)
    hedges = _hedges(settings, clock)
    key, ours = _keys(settings)
    rules = Rules(
        limits=limits(settings),
        patience=_patience(settings),
        key=key,
        made=lambda name, breaker: board.add(name, breaker, by_us=name in ours),
        affordable=within_budget if governor is None else lambda lane: lane == "fast" or governor.allows(clock()),
        hedge=once if hedges is None else partial(_hedged, hedges),
        gone=board.drop,
    )
    guards = Guards(catalogue, rules, clock)
    for lane, name in models.configured(settings).items():
        guards.know(lane, name)
    return Sparing(guards, board, governor, hedges)


def limits(settings: Settings) -> Limits:
    """When a model's breaker opens, and for how long."""
    return Limits(
        threshold=settings.breaker_threshold,
        window_s=settings.breaker_window_s,
        rate=settings.breaker_rate,
        minimum=settings.breaker_minimum,
        recovery_s=settings.breaker_recovery_s,
        lost_s=settings.run_deadline_s + STOP_S,
    )


def _patience(settings: Settings) -> Patience:
    own = models.defaults(settings)
    return Patience({"fast": own.fast, "slow": own.slow}, own.deadline_s)


def _keys(settings: Settings) -> tuple[Callable[[LaneName, str], str], frozenset[str]]:
    """Which breaker a lane's model has, and those that the settings name.

    A wrapped model has that of the model inside. Lanes that ask different servers never share one.
    """
    apart = len(set(models.base_urls(settings).values())) > 1

    def key(lane: LaneName, name: str) -> str:
        inside = models.innermost(name)
        return f"{lane}/{inside}" if apart and inside.startswith("openai:") else inside

    chosen = models.configured(settings)
    return key, frozenset(key(lane, chosen[lane]) for lane in LANES)


def _hedges(settings: Settings, clock: Callable[[], float]) -> Hedges | None:
    lateness = Lateness(settings.hedge_after_s, settings.hedge_after_p, settings.hedge_budget)
    return None if lateness.after_s is None and lateness.after_p is None else Hedges(lateness, clock)


def _hedged(hedges: Hedges, lane: LaneName, model: LanguageModel) -> LanguageModel:
    return model if models.innermost(model.name).partition(":")[0] in ALONE else hedges.wrap(lane, model)


def _note(governor: Governor, closing: Closing, _: Key) -> None:
    """Tell the governor what a race cost."""
    if closing.opening.source == "live":
        fast, slow = (closing.lanes.get(lane) for lane in LANES)
        asked = slow is not None and slow.end.reason not in REFUSED
        now = asyncio.get_running_loop().time()
        governor.note(now, _cost_nano(fast), _cost_nano(slow), asked_slow=asked)


def _cost_nano(lane: LaneRecord | None) -> int | None:
    """What a lane cost, as far as that is known when it ends."""
    if lane is None or lane.end.cost_usd is None:
        return None
    return round(lane.end.cost_usd * 1e9)
