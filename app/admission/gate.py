"""The gate before a race: who is let in holds a pass, settled once: by the run, or by who could not open one."""

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from app.question import Caller, LaneName, Question

logger = logging.getLogger(__name__)


class LaneSpent(NamedTuple):
    """What one lane used, as Spent has it. asked: its model may have worked, even where nothing is known of it."""

    tokens: int | None
    cost_nano: int | None
    asked: bool = True


class Spent(NamedTuple):
    """What a run used: tokens, and nano-dollars; None where that is not known. lanes: each by itself, if any ended."""

    tokens: int | None
    cost_nano: int | None
    lanes: Mapping[LaneName, LaneSpent] = MappingProxyType({})


class Pass(Protocol):
    """Permission for one run. queued_ms: how long it was waited for."""

    @property
    def queued_ms(self) -> int:
        """Milliseconds."""
        ...

    def settle(self, spent: Spent) -> None:
        """Give back what was reserved, but for what was spent. Never waits; must be called once, and only once."""
        ...


class Gate(Protocol):
    """Decides whether a race may begin."""

    async def enter(self, caller: Caller, question: Question) -> Pass:
        """A pass, perhaps after a short wait. Raises a Refusal, with nothing reserved; so does a cancelled wait."""
        ...


class Free:
    """A pass with nothing behind it."""

    queued_ms = 0

    def settle(self, spent: Spent) -> None:
        """Nothing was reserved."""


class OpenGate:
    """Lets everybody in at once."""

    async def enter(self, caller: Caller, question: Question) -> Pass:  # noqa: ARG002  # as Gate has it
        """A free pass."""
        return FREE


class Gates:
    """Several gates, entered one after another; who is refused at one gives back what the others before it gave."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        self._gates = tuple(gates)

    async def enter(self, caller: Caller, question: Question) -> Pass:
        """One pass that is worth all of theirs."""
        passes: list[Pass] = []
        try:
            for gate in self._gates:
                given = await gate.enter(caller, question)
                if given is not FREE:
                    passes.append(given)
        except BaseException:  # a client that left the queue holds nothing either
            Passes(passes).settle(Spent(0, 0))
            raise
        if len(passes) > 1:
            return Passes(passes)
        return passes[0] if passes else FREE


class Passes:
    """Several passes as one, settled the last first, each whatever becomes of the others."""

    def __init__(self, passes: Sequence[Pass]) -> None:
        self._passes = passes

    @property
    def queued_ms(self) -> int:
        """How long they were waited for together, in milliseconds."""
        return sum(each.queued_ms for each in self._passes)

    def settle(self, spent: Spent) -> None:
        """As Pass has it."""
        for each in reversed(self._passes):
            try:
                each.settle(spent)
            except Exception:  # a fault of one must not keep what the others hold
                logger.exception("a pass could not be settled")


FREE: Final = Free()
OPEN: Final = OpenGate()
