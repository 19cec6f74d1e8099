"""Everything that comes to this instance through Redis, on one connection: new events for the mirrors, and messages."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from app.redis.card import log_key
from app.redis.client import Client, Line, Part, RedisUnavailable, Reply, expected
from app.redis.control import MESSAGE, Message, control_key, message_of
from app.redis.mirrors import ENTRIES, Mirrors
from app.redis.pace import Pace, Pauses, milliseconds

_BLOCK_S: Final = 0.5
_MARGIN_S: Final = 0.5
_PAUSE_S: Final = 0.00002  # per stream: what comes to many streams is better read together
_MOST_PAUSE_S: Final = 0.01
_FIELD: Final = MESSAGE.encode()
_FIT: Final = (b"stream", b"none")


Act = Callable[[Message], Awaitable[None]]


class Inbox:
    """Listens; `work` is its task. act is called with each message, one after the other."""

    def __init__(self, client: Client, name: str, pace: Pace, mirrors: Mirrors, act: Act) -> None:
        self._client = client
        self._control = control_key(client, name)
        self._pace = pace
        self._mirrors = mirrors
        self._act = act
        self._position = "0"
        self.up = False
        self.failures = 0
        self.garbage = 0

    async def work(self) -> None:
        """Listen as long as this instance lives; what came while Redis was away is not missed."""
        pauses = Pauses(self._pace)
        while True:
            with contextlib.suppress(RedisUnavailable):
                async with self._client.line() as line:
                    await self._look_out(line)
                    self.up = True
                    while True:
                        await self._listen(line)
                        pauses.well()
            self.up = False
            self.failures += 1
            await asyncio.sleep(pauses.after_failure())

    async def _look_out(self, line: Line) -> None:
        """Step around keys that hold something else: one of them would keep us from reading all others."""
        mirrors = self._mirrors.open()
        names = [self._control, *(log_key(self._client, mirror.run_id) for mirror in mirrors)]
        own, *kinds = await line.pipeline([("TYPE", name) for name in names], timeout_s=_MARGIN_S)
        if own not in _FIT:
            await line.call("DEL", self._control, timeout_s=_MARGIN_S)
        for mirror, kind in zip(mirrors, kinds, strict=True):
            if kind not in _FIT:
                self._mirrors.pass_over(mirror)

    async def _listen(self, line: Line) -> None:
        """Wait for whatever comes first, and hand on all that has come."""
        mirrors = {log_key(self._client, mirror.run_id).encode(): mirror for mirror in self._mirrors.open()}
        names: list[Part] = [self._control, *mirrors]
        after = [self._position, *(mirror.position for mirror in mirrors.values())]
        block_s = min(_BLOCK_S, self._pace.unfit_s) if self._mirrors.waiting() else _BLOCK_S
        command: list[Part] = ["XREAD", "COUNT", ENTRIES, "BLOCK", milliseconds(block_s), "STREAMS", *names, *after]
        reply = await line.call(*command, timeout_s=block_s + _MARGIN_S)
        for name, entries in _streams(reply):
            mirror = mirrors.get(name)
            if mirror is not None:
                self._mirrors.take(mirror, entries)
            elif name == self._control.encode():
                await self._read(entries)
        await asyncio.sleep(min(len(names) * _PAUSE_S, _MOST_PAUSE_S))

    async def _read(self, entries: Sequence[Reply]) -> None:
        """Act on messages, each once; what is none is passed over."""
        for entry in entries:
            match entry:
                case [bytes(position), [name, words]]:
                    self._position = position.decode()
                    message = message_of(words) if name == _FIELD else None
                case _:
                    message = None
            if message is None:
                self.garbage += 1
                continue
            with contextlib.suppress(RedisUnavailable):  # who asked asks again
                await self._act(message)


def _streams(reply: Reply) -> Iterator[tuple[bytes, list[Reply]]]:
    """What XREAD has brought: by stream, its entries."""
    for stream in expected(list, reply) if reply is not None else ():
        match stream:
            case [bytes(name), list(entries)]:
                yield name, entries
            case _:
                raise RedisUnavailable("Redis cannot be reached: it answers with something else than streams")
