"""Events as a client sees them, read by the shape that the protocol promises and by nothing of ours."""

import json
from typing import Any, NamedTuple


class Seen(NamedTuple):
    """One event as a client was given it."""

    name: str
    id: str
    data: str

    @property
    def json(self) -> dict[str, Any]:
        """Its data."""
        found: dict[str, Any] = json.loads(self.data)
        return found

    @property
    def run_id(self) -> str:
        """The run it belongs to."""
        return self.id.rpartition(":")[0]

    @property
    def seq(self) -> int:
        """Its number in that run."""
        return int(self.id.rpartition(":")[2])


def events_in(log: bytes) -> list[Seen]:
    """The events of a log without keep-alives, which must end with a whole one."""
    blocks = log.decode("ascii").split("\n\n")
    assert blocks.pop() == ""
    found = []
    for block in blocks:
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append(Seen(fields["event"], fields["id"], fields["data"]))
    return found
