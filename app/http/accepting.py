"""Takes in connections: many that wait, in one turn of the loop."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

AT_ONCE: Final = 64  # in one turn, which stays short for who is inside; who is behind them is taken in the next
REST_S: Final = 1.0  # after the system had no file, or no memory, for one more


class Accepting:
    """Looks after one listener from its making until `close`, as the loop's own server would. Belongs to one loop.

    uvloop's own takes one connection in each turn. When turns are long, because much is to be done, newcomers stand
    before the door then, where the loop's lag does not see them, and are told too late that there is no room.
    """

    def __init__(self, listener: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._protocol = protocol
        self._welcomes: set[asyncio.Task[None]] = set()
        self._rest: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._look()

    def close(self) -> None:
        """Take in nobody more; the listener is its owner's to close."""
        if self._rest is not None:
            self._rest.cancel()
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """Wait for those who are just being taken in."""
        if self._welcomes:
            await asyncio.wait(set(self._welcomes))

    def _look(self) -> None:
        self._rest = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                newcomer, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.warning("no connection can be taken in for %g s: %s", REST_S, error.strerror)
                self._loop.remove_reader(self._listener)
                self._rest = self._loop.call_later(REST_S, self._look)
                return
            newcomer.setblocking(False)
            task = self._loop.create_task(self._welcome(newcomer), name="welcome")
            self._welcomes.add(task)
            task.add_done_callback(self._welcomes.discard)

    async def _welcome(self, newcomer: socket.socket) -> None:
        """The connection has its protocol, whose everything is from now on."""
        try:
            await self._loop.connect_accepted_socket(self._protocol, newcomer)
        except OSError:  # it has gone already
            newcomer.close()
