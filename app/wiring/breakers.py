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
        return () if self.governor is None else (partial(_note, self.governor, self.models.place),)

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


def attempts(settings: Settings, model: str) -> int:
    """How often a lane may ask that model the same, for want of a first token."""
    once_more = settings.hedge_after_s is not None or settings.hedge_after_p is not None
    return 2 if once_more and _may_hurry(model) else 1


def _may_hurry(model: str) -> bool:
    return models.innermost(model).partition(":")[0] not in ALONE


def _hedged(hedges: Hedges, lane: LaneName, model: LanguageModel) -> LanguageModel:
    return hedges.wrap(lane, model) if _may_hurry(model.name) else model


def _note(governor: Governor, place: Callable[[LaneName, str], LaneName], closing: Closing, _: Key) -> None:
    """Tell the governor what a race cost, each lane where its model belongs."""
    if closing.opening.source != "live":
        return
    cost: dict[LaneName, int] = dict.fromkeys(LANES, 0)
    asked_slow = False
    for name, lane in closing.lanes.items():
        where = place(name, lane.model)
        cost[where] += _cost_nano(lane)
        asked_slow |= where == "slow" and lane.end.reason not in REFUSED
    governor.note(asyncio.get_running_loop().time(), cost["fast"], cost["slow"], asked_slow=asked_slow)


def _cost_nano(lane: LaneRecord) -> int:
    """What a lane cost, as far as that is known when it ends."""
    return 0 if lane.end.cost_usd is None else round(lane.end.cost_usd * 1e9)
