"""Names of what is counted as small numbers, each with room for a bucket, so that a slot of time is a dict of ints."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.telemetry.scale import BUCKETS, ms_of

Name = tuple[str, ...]  # of a family, and the values of its labels


class Series:
    """Grows by a number a name; whoever names sees to it that there are few."""

    def __init__(self) -> None:
        self._names: list[Name] = []

    def code(self, *name: str) -> int:
        """The number of a new name; of a time, that of its bucket is added to it."""
        self._names.append(name)
        return (len(self._names) - 1) * BUCKETS

    def named(self, counts: Mapping[int, int]) -> "Named":
        """Counts by code as counts by name."""
        named = Named()
        for code, count in counts.items():
            place, bucket = divmod(code, BUCKETS)
            name = self._names[place]
            named.families[name[0]][name[1:]][bucket] += count
        return named


@dataclass(frozen=True, slots=True)
class Named:
    """Counts of one span, by family, labels and bucket; what is no time has all in bucket 0."""

    families: dict[str, dict[Name, dict[int, int]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
    )

    def by(self, family: str, *places: int) -> dict[str, int]:
        """How many, by the labels in these places."""
        found: dict[str, int] = defaultdict(int)
        for labels, buckets in self.families[family].items():
            found[" ".join(labels[place] for place in places)] += sum(buckets.values())
        return dict(sorted(found.items()))

    def total(self, family: str) -> int:
        """How many."""
        return sum(self.by(family).values())

    def times(self, family: str, *places: int) -> dict[str, dict[float, int]]:
        """Milliseconds with how often each came, by the labels in these places."""
        found: dict[str, dict[float, int]] = defaultdict(lambda: defaultdict(int))
        for labels, buckets in self.families[family].items():
            steps = found[" ".join(labels[place] for place in places)]
            for bucket, count in buckets.items():
                steps[ms_of(bucket)] += count
        return dict(sorted(found.items()))
