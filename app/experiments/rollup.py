"""What the roll-ups answer: counts, sums and histograms of many runs, by any of a few keys.

`Rollups` of app/postgres/rollups.py satisfies `RolledUp`; the API's logic may not import it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from app.question import Caller, LaneName

By = Literal["model", "policy", "experiment", "variant", "prompt_class", "source", "hour", "day"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which runs are counted. None lets everything pass; model matches either lane; until is exclusive."""

    since: datetime | None = None
    until: datetime | None = None
    experiment: str | None = None
    variant: str | None = None
    prompt_class: str | None = None
    model: str | None = None
    policy: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Histogram:
    """Times in milliseconds, ascending, as (ms, how many ended, how many were censored there); each ms within 1 %."""

    steps: tuple[tuple[float, int, int], ...] = ()

    @property
    def n(self) -> int:
        """How many ended."""
        return sum(step[1] for step in self.steps)

    @property
    def censored(self) -> int:
        """How many were cancelled or timed out before they ended."""
        return sum(step[2] for step in self.steps)


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum over those n for which the number is known."""

    total: int = 0
    n: int = 0


@dataclass(frozen=True, slots=True)
class LaneCounts:
    """One lane of the counted runs. first_token and total hold lanes that got so far; censored: cut before it."""

    outcomes: dict[str, int] = field(default_factory=dict)
    first_token: Histogram = Histogram()
    total: Histogram = Histogram()  # ended: completed; a lane that failed is in outcomes alone
    cost_nano: Sum = Sum()
    input_tokens: Sum = Sum()
    output_tokens: Sum = Sum()
    thinking_tokens: Sum = Sum()
    cached_tokens: Sum = Sum()


@dataclass(frozen=True, slots=True)
class Counted:
    """The runs of one group. slow: beyond the slow threshold; latency: of whole runs, from opening to `done`.

    key has one entry for each `by`, but two for model: fast_model and slow_model; hour and day are when they begin, in
    ISO 8601. sources tells of replays too, where they are left out of everything else.
    """

    key: dict[str, str | None]
    runs: int
    statuses: dict[str, int]
    sources: dict[str, int]
    verdicts: dict[str, int]  # agree, disagree, unknown; runs that were not compared are in none
    slow: int
    cost_nano: Sum
    latency: Histogram
    lanes: dict[LaneName, LaneCounts]


@dataclass(frozen=True, slots=True)
class Basis:
    """What an answer rests on: the runs themselves, or (approximate) histograms whose times are within 1 %.

    behind: hours with changes that are not counted yet.
    """

    approximate: bool = False
    behind: int = 0

    def told(self) -> dict[str, Any]:
        """What a report says of it."""
        return {"approximate": self.approximate, "behind": {"hours": self.behind}}


class RolledUp(Protocol):
    """Where the roll-ups are read."""

    async def stats(self, caller: Caller, wanted: Selection, by: Sequence[By] = ()) -> list[Counted]:
        """The caller's runs, one row a group in the order of the keys; exact but for the histograms' 1 %.

        Raises RecordUnavailable.
        """
        ...

    async def behind(self, caller: Caller, wanted: Selection) -> int:
        """How many hours have changes that `stats` does not count yet. Raises RecordUnavailable."""
        ...
