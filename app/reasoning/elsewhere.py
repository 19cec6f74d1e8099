"""The other instances of this server, as a run needs them: who answers this already, where does that run live."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from app.breaker import Breaker
from app.question import Caller, Key
from app.reasoning.log import Log
from app.reasoning.run import Run
from app.reasoning.verdict import Cause


class Flight(NamedTuple):
    """A live run that identical questions may share; deadline_at in Unix time, limits of both lanes in seconds."""

    run_id: str
    deadline_at: float
    experiment: str | None
    variant: str | None
    limits: tuple[float, ...] = ()


class Elsewhere(Protocol):
    """Other instances. No call takes longer than its short bound, none raises for a Redis that is ill or away."""

    async def claim(self, key: Key, flight: Flight) -> Flight | None:
        """None: ours is the run for this key from now on, or nobody could be asked. Else the one that is it already."""
        ...

    async def unclaim(self, key: Key, flight: Flight) -> None:
        """Give a claim back whose run was not opened after all."""
        ...

    def publish(self, run: Run) -> None:
        """From now on show the run's events to other instances, and let them stop it; until a while after its end."""
        ...

    async def tail(
        self, run_id: str, caller: Caller, *, guest: bool = False, finish: bool = False, after: int = -1
    ) -> Log | None:
        """A mirror of a run that lives, or lately ended, on another instance: a log like any other, to be read.

        guest: the caller attaches with an identical question, which makes the run readable for it from then on. finish:
        it wants the run to go on when it leaves. after: the number of the last event it has seen, which the log has
        then, unless it has ended. None when there is no such run, or it is not this caller's to read. If the owner
        dies, the mirror ends with `done` (`failed`, `interrupted`), says so by `interrupted`, and may then have fewer
        events than the caller has seen. Raises RunNotLive when event `after` does not come.
        """
        ...

    async def knows(self, run_id: str, caller: Caller, *, guest: bool = False) -> bool:
        """Whether a run of this caller's lives, or lately ended, on some instance, though it has no mirror; guest: or
        one that it may only read.
        """
        ...

    async def stop(self, run_id: str, caller: Caller, cause: Cause) -> bool | None:
        """Ask the owner to cancel or accept; whether the run has ended; None when no instance knows such a run.

        Raises RunShared, NothingToAccept as the owner does, and RunNotLive when it does not answer.
        """
        ...

    async def first(self, caller: Caller, idempotency_key: str, used: "Used") -> "Used":
        """The first use of that key by that caller, on any instance: this one, or what was told before."""
        ...

    async def settle(self, caller: Caller, idempotency_key: str, told: "Used", used: "Used | None") -> None:
        """Correct what was told first, unless something else is told by now: another run, or that there is none."""
        ...

    async def drain(self, grace_s: float) -> None:
        """This server stops: what is read here of other instances gets grace_s seconds, then `done` (`shutdown`)."""
        ...

    @property
    def breaker(self) -> Breaker | None:
        """Before everything that is asked elsewhere; None where nothing is."""
        ...

    @property
    def state(self) -> Mapping[str, Any]:
        """For an operator: `status` is `ok`, `off` without Redis, or says what is wrong."""
        ...


class Used(NamedTuple):
    """What an idempotency key was used for."""

    run_id: str
    fingerprint: str


class Nowhere:
    """This instance is the only one, or cannot know of others."""

    breaker: Breaker | None = None
    state: Mapping[str, Any] = {"status": "off"}  # the shape of Elsewhere; never changed

    async def claim(self, key: Key, flight: Flight) -> Flight | None:  # noqa: ARG002  # as Elsewhere has it
        """Always ours."""
        return None

    async def unclaim(self, key: Key, flight: Flight) -> None:
        """Nobody knew."""

    def publish(self, run: Run) -> None:
        """Nobody looks."""

    async def tail(
        self,
        run_id: str,  # noqa: ARG002  # as above
        caller: Caller,  # noqa: ARG002  # as above
        *,
        guest: bool = False,  # noqa: ARG002  # as above
        finish: bool = False,  # noqa: ARG002  # as above
        after: int = -1,  # noqa: ARG002  # as above
    ) -> Log | None:
        """There is none."""
        return None

    async def knows(self, run_id: str, caller: Caller, *, guest: bool = False) -> bool:  # noqa: ARG002  # as above
        """Nobody does."""
        return False

    async def stop(self, run_id: str, caller: Caller, cause: Cause) -> bool | None:  # noqa: ARG002  # as above
        """There is none."""
        return None

    async def first(self, caller: Caller, idempotency_key: str, used: Used) -> Used:  # noqa: ARG002  # as above
        """Always the first."""
        return used

    async def settle(self, caller: Caller, idempotency_key: str, told: Used, used: Used | None) -> None:
        """Nobody was told."""

    async def drain(self, grace_s: float) -> None:
        """Nothing is read here."""
