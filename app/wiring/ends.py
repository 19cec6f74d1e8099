"""Who is told of the end of a run."""

from collections.abc import Callable
from functools import partial

from app.question import Key
from app.reasoning.ending import attempt
from app.reasoning.runs import Keep, Runs
from app.record.entry import Closing


def told(make_runs: Callable[[Keep], Runs], *listeners: Keep) -> Callable[[Keep], Runs]:
    """Runs of whose ends each of these is told, whatever becomes of the others, before they are kept."""

    def make(keep: Keep) -> Runs:
        def all_of_them(closing: Closing, key: Key) -> None:
            for listener in (*listeners, keep):
                attempt(partial(listener, closing, key))

        return make_runs(all_of_them)

    return make
