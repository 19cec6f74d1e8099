"""Stopping a run that lives on another instance: its owner is asked, and does what it does for its own callers."""

import asyncio
import itertools
from typing import Final, Protocol

from app.errors import NoSuchRun, NothingToAccept, Refusal, RunNotLive, RunShared
from app.question import Caller
from app.reasoning.log import Log
from app.reasoning.verdict import Cause
from app.redis.card import EVENTS, Card, lease_key, log_key
from app.redis.client import Client, Reply
from app.redis.control import Post, Stop, Told
from app.redis.pace import Pace

_REFUSALS: Final[dict[str, type[Refusal]]] = {kind.code: kind for kind in (RunShared, NothingToAccept)}


class Registry(Protocol):
    """The runs that are conducted here, as other instances need them."""

    def find(self, run_id: str, caller: Caller) -> Log | None:
        """A live or lately finished run that is this caller's to read."""
        ...

    def cancel(self, run_id: str, caller: Caller) -> Log:
        """Stop a run; harmless when it has ended. Raises NoSuchRun, RunShared."""
        ...

    def accept(self, run_id: str, caller: Caller) -> Log:
        """Take the preliminary answer. Raises NoSuchRun, RunShared, NothingToAccept."""
        ...


class Stops:
    """Asks owners, and answers as one."""

    def __init__(self, client: Client, name: str, pace: Pace, post: Post, runs: Registry) -> None:
        self._client = client
        self._name = name
        self._pace = pace
        self._post = post
        self._runs = runs
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Told]] = {}

    async def ask(self, run_id: str, card: Card, cause: Cause, *, mine: bool) -> bool | None:
        """Whether the run has ended; None when its owner does not know it. mine: the caller has opened it.

        Raises RunShared, NothingToAccept, RunNotLive when the owner does not answer, RedisUnavailable.
        """
        commands = [
            ("EXISTS", lease_key(self._client, card.owner)),
            ("XREVRANGE", log_key(self._client, run_id), "+", "-", "COUNT", 1),
        ]
        lives, last = await self._client.pipeline(commands, timeout_s=self._pace.command_s)
        if _is_done(last):
            if cause == "accepted":
                raise NothingToAccept("the run has ended")
            return True
        if not mine:
            raise RunShared("another caller opened this run; leave it by closing the stream")
        if not lives or cause not in ("cancelled", "accepted"):
            raise RunNotLive("the instance that conducts the run does not answer; ask again in a moment")
        number = next(self._numbers)
        told = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._pace.answer_s):
                stop = Stop(self._name, number, run_id, card.caller, card.tenant, cause)
                await self._post.send(card.owner, stop)
                return _outcome(await told)
        except TimeoutError:
            raise RunNotLive("the instance that conducts the run does not answer; ask again in a moment") from None
        finally:
            del self._asked[number]

    def told(self, answer: Told) -> None:
        """An owner has answered, maybe too late."""
        asked = self._asked.get(answer.number)
        if asked is not None and not asked.done():
            asked.set_result(answer)

    async def perform(self, stop: Stop) -> None:
        """Do as another instance asks, and answer. Raises RedisUnavailable."""
        perform = self._runs.cancel if stop.cause == "cancelled" else self._runs.accept
        try:
            run = perform(stop.run_id, Caller(stop.caller, stop.tenant))
            told = Told(stop.number, run.closed)
        except Refusal as refusal:
            told = Told(stop.number, code=refusal.code, words=refusal.message)
        await self._post.send(stop.sender, told)


def _outcome(told: Told) -> bool | None:
    if told.code == NoSuchRun.code:
        return None
    if told.code:
        raise _REFUSALS.get(told.code, RunNotLive)(told.words)
    return told.ended


def _is_done(last: Reply) -> bool:
    """Whether the stream's last entry ends with `done`."""
    match last:
        case [[_, [name, bytes(block)]]] if name == EVENTS.encode():
            return block[block.rfind(b"\n\n", 0, -2) + 2 if b"\n\n" in block[:-2] else 0 :].startswith(b"event: done\n")
        case _:
            return False
