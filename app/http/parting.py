"""What a request writes its reply to when the connection ends with it."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final

_CHUNKED: Final = b"transfer-encoding: chunked\r\n"
_LAST: Final = b"\r\n0\r\n\r\n"  # behind a chunk
_RESET: Final = struct.pack("ii", 1, 0)


class Parting:
    """The transport, but for how it is closed. plain: a body goes without chunks, which HTTP/1.0 has no word for."""

    __slots__ = ("_body", "_close", "_transport", "close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None], *, plain: bool) -> None:
        self._transport = transport
        self._close = close
        self._body = False  # what comes now is a part of it, and in a chunk
        self.is_closing = transport.is_closing
        self.write: Callable[[bytes], None] = self._write_plain if plain else transport.write
        self.close: Callable[[], None] = self._close_plain if plain else close

    def _write_plain(self, data: bytes) -> None:
        """What uvicorn writes at a time is a head, nothing, or a whole chunk, perhaps with the last, empty one."""
        if self._body:
            size, _, rest = data.partition(b"\r\n")
            length = int(size or b"0", 16)
            self._body = size != b"0" and not rest.endswith(_LAST, length)
            data = rest[:length]
        elif _CHUNKED in data:
            data = data.replace(_CHUNKED, b"", 1)
            self._body = True
        self._transport.write(data)

    def _close_plain(self) -> None:
        """Where its end is all that tells that a body is whole, one that was broken off must not end like it."""
        if self._body:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        else:
            self._close()
