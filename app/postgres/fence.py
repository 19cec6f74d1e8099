"""What a PostgreSQL server cannot have sent ends its connection, before the driver tries to understand it.

asyncpg believes every length it reads: one below 4 makes it read backwards and for ever, with the event loop in it.
"""

from struct import Struct
from typing import Any, Final

import asyncpg
from asyncpg.protocol import Protocol

_HEAD: Final = Struct("!Bi")
_KINDS: Final = frozenset(b"123ACDEGHIKNRSTVWZcdnstv")
_MOST_BYTES: Final = 1 << 30


class Fenced(Protocol):  # type: ignore[misc]  # of an extension module
    """The driver's protocol behind a look at the head of every message."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # the driver's own
        super().__init__(*args, **kwargs)
        self._peer: Any = None
        self._head = b""  # of a message, as far as it has come
        self._due = 0  # bytes of a message that are still to come

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401  # the driver's own
        """The server is there."""
        self._peer = transport
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Some bytes from it."""
        if self._sound(data):
            super().data_received(data)
        else:
            self._peer.abort()

    def _sound(self, data: bytes) -> bool:
        """Whether these may follow what came before."""
        data, at = self._head + data, self._due
        while at + _HEAD.size <= len(data):
            kind, length = _HEAD.unpack_from(data, at)
            if kind not in _KINDS or not _HEAD.size - 1 <= length <= _MOST_BYTES:
                return False
            at += 1 + length
        self._head, self._due = data[at:], max(0, at - len(data))
        return True


def install() -> None:
    """Let every connection of the driver be made with it; the driver has no place to pass it in."""
    asyncpg.protocol.Protocol = Fenced
