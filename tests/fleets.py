"""Several instances in one process over one real Redis, with runs that a test writes itself."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from uuid import uuid4

from races import question, read

from app.errors import NoSuchRun, NothingToAccept, RunShared
from app.events import Done, LaneEnd, Start, Usage
from app.llm.model import Pieces
from app.question import Caller, Key
from app.reasoning.elsewhere import Flight
from app.reasoning.log import Log
from app.reasoning.run import Run
from app.reasoning.verdict import Cause
from app.redis.client import Client
from app.redis.instances import Instances
from app.redis.keys import RedisKeys
from app.redis.pace import Pace

QUICK = Pace(
    tick_s=0.01,
    idle_s=0.02,
    lease_s=0.3,
    patience_s=0.15,
    hold_s=0.3,
    kept_s=5.0,
    overdue_s=0.3,
    linger_s=0.05,
    lingers_after_s=0.1,
    unfit_s=0.1,
    command_s=0.5,
    arrival_s=1.0,
    answer_s=0.3,
)
PATIENT = replace(QUICK, overdue_s=30.0)
# A busy machine may stop us for longer than a short lease, than who is ill or dead is waited for, and than a mirror
# waits for its first reader.
IMMORTAL = replace(QUICK, lease_s=30.0, command_s=5.0, arrival_s=5.0, answer_s=5.0, linger_s=0.3, lingers_after_s=0.3)
OPENER, FRIEND, STRANGER = Caller("opener", "t"), Caller("friend", "t"), Caller("stranger", "u")
END = LaneEnd("fast", "completed", None, None, False, 1.0, 2.0, Usage(), None, None)
DONE = Done("completed", "slow", True, None, Usage(), None, 3.0, False, "f", "durable")


class Registry:
    """The runs of one instance, stopped by the rules of the real registry."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}

    def find(self, run_id: str, caller: Caller) -> Run | None:
        """As Runs has it."""
        run = self.runs.get(run_id)
        return run if run is not None and run.admits(caller) else None

    def cancel(self, run_id: str, caller: Caller) -> Run:
        """As Runs has it."""
        return self._stop(run_id, caller, "cancelled")

    def accept(self, run_id: str, caller: Caller) -> Run:
        """As Runs has it."""
        return self._stop(run_id, caller, "accepted")

    def _stop(self, run_id: str, caller: Caller, cause: Cause) -> Run:
        run = self.find(run_id, caller)
        if run is None:
            raise NoSuchRun("no such run")
        if not run.closed and (run.guests or run.caller != caller):
            raise RunShared("shared")
        if cause == "accepted" and not run.acceptable:
            raise NothingToAccept("nothing")
        run.stop(cause)
        return run


class Instance:
    """One server: its registry, its connections, what it says to the others."""

    def __init__(self, name: str, url: str, prefix: str, pace: Pace) -> None:
        self.registry = Registry()
        self.client = Client(url, prefix)
        self.others = Instances(self.client, self.registry, name, RedisKeys(self.client, 60.0), pace)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "Instance":
        await self._stack.enter_async_context(self.client)
        await self._stack.enter_async_context(self.others)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def open(self, *, started: bool = True, **more: object) -> Run:
        """A run that is shown to the others from now on."""
        run = Run(str(uuid4()), question(**more), OPENER, "f" * 64)  # type: ignore[arg-type]
        self.registry.runs[run.run_id] = run
        self.others.publish(run)
        if started:
            run.append(Start(run.run_id, "race", {"fast": {"model": "a"}, "slow": {"model": "b"}}, 7000, "durable"))
        return run

    async def show(self, **more: object) -> Run:
        """As open, once Redis has it."""
        run = self.open(**more)  # type: ignore[arg-type]
        await until(lambda: not self.others._relay._shown[run.run_id].news)
        return run

    async def die(self) -> None:
        """As by kill -9: its tasks stop and its connections close, and it says nothing."""
        for task in self.others._tasks:
            task.cancel()
        await asyncio.gather(*self.others._tasks, return_exceptions=True)
        await self.client.close()
        self.others._relay.up = False


class Fleet:
    """Instances that share a Redis."""

    def __init__(self, url: str, pace: Pace, *, there: bool) -> None:
        self._url = url
        self._pace = pace
        self._there = there
        self._stack = contextlib.AsyncExitStack()
        self._names = iter("ABCDEFGH")

    async def instance(self) -> Instance:
        """One more; where Redis is there it has been reached, however long that takes on a busy machine."""
        made = Instance(next(self._names), self._url, "t", self._pace)
        await self._stack.enter_async_context(made)
        if self._there:
            await until(lambda: made.others.state["status"] == "ok", 10)
        return made

    async def end(self) -> None:
        """Shut all down."""
        await self._stack.aclose()


@contextlib.asynccontextmanager
async def fleet(url: str, pace: Pace = QUICK, *, there: bool = True) -> AsyncIterator[Fleet]:
    """As many instances as are asked for, ended with the block. there: whether Redis is."""
    instances = Fleet(url, pace, there=there)
    try:
        yield instances
    finally:
        await instances.end()


async def mirrored(a: Instance, b: Instance) -> tuple[Run, Log, asyncio.Task[bytes]]:
    """A run that lives on one and is being read on the other."""
    run = await a.show()
    say(run, "a", "b")
    mirror = await b.others.tail(run.run_id, OPENER, after=2)
    assert mirror is not None
    return run, mirror, asyncio.create_task(read(mirror.attach()))


def say(run: Run, *words: str) -> None:
    """Append deltas that arrived together."""
    run.say("fast", Pieces("answer", [*words]))


def finish(run: Run) -> None:
    """The last events."""
    run.append(END)
    run.append(DONE)


def flight(run: Run) -> Flight:
    """The run as others may share it."""
    return Flight(run.run_id, time.time() + run.deadline - run.loop.time(), None, None)


def key(fingerprint: str = "f" * 64) -> Key:
    """Where flights of these tests are found."""
    return Key("tenant:t", fingerprint)


async def until(true: Callable[[], object], within_s: float = 10.0) -> None:
    """Return as soon as it is true."""
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110  # what is waited for has no event to wait on
            await asyncio.sleep(0.002)
