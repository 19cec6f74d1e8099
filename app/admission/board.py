"""Every circuit breaker of this instance by its name: what it does now, and what it is held at by hand."""

import logging
from collections.abc import Callable
from typing import Any, Final, Literal

from app.breaker import Held, State
from app.errors import NoSuchBreaker

logger = logging.getLogger(__name__)

Wanted = Literal["open", "closed", "auto"]
EVERY: Final[frozenset[State]] = frozenset({"closed", "open", "half_open"})
ENDS: Final[frozenset[State]] = frozenset({"closed", "open"})


class Board:
    """Belongs to one event loop, as the breakers do."""

    def __init__(self) -> None:
        self._breakers: dict[str, Held] = {}
        self._shown: dict[str, Callable[[], State]] = {}
        self._spoken: dict[str, str] = {}

    def add(self, name: str, breaker: Held, heard: frozenset[State] = EVERY, *, by_us: bool = True) -> None:
        """Take one in. heard: the states whose beginning is logged, none of one that speaks for itself.

        by_us: an operator chose the name; one that a caller chose is told to admins alone, and not to the log.
        """
        spoken = name if by_us else f"a model of {name.partition(':')[0]} that no setting names"
        self._breakers[name], self._spoken[name] = breaker, spoken
        if by_us:
            self._shown[name] = lambda: breaker.state

        def told(before: State, after: State) -> None:
            if after in heard and (before in heard or after == "closed"):  # a probe that fails may be no news
                level = logging.WARNING if after == "open" else logging.INFO
                logger.log(level, "the breaker of %s was %s and is %s", spoken, before, after)

        breaker.told = told

    def drop(self, name: str) -> None:
        """Take one off again."""
        for known in (self._breakers, self._spoken, self._shown):
            known.pop(name, None)

    def watch(self, name: str, state: Callable[[], State]) -> None:
        """Show something that goes on by itself and cannot be held."""
        self._shown[name] = state

    def states(self) -> dict[str, State]:
        """What each does now; of models those that the settings name."""
        return {name: state() for name, state in self._shown.items()}

    def rows(self) -> dict[str, dict[str, Any]]:
        """All of them with what they are held at: `auto` goes on by itself, null cannot be held."""
        states = self.states() | {name: breaker.state for name, breaker in self._breakers.items()}
        held = {name: breaker.held or "auto" for name, breaker in self._breakers.items()}
        return {name: {"state": state, "held": held.get(name)} for name, state in sorted(states.items())}

    def put(self, name: str, wanted: Wanted, by: str) -> None:
        """Hold it, or with `auto` let it go on by itself; by: who wants that. Raises NoSuchBreaker."""
        breaker = self._breakers.get(name)
        if breaker is None:
            raise NoSuchBreaker("there is no such breaker here that could be held; GET /api/breakers lists them")
        if wanted != (breaker.held or "auto"):
            logger.warning("the breaker of %s is set to %s by %s", self._spoken[name], wanted, by)
            breaker.hold(None if wanted == "auto" else wanted)
