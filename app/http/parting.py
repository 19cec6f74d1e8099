"""What a request writes its reply to when the connection ends with it."""

import asyncio
from collections.abc import Callable
from typing import Final

_CHUNKED: Final = b"transfer-encoding: chunked\r\n"


class Parting:
    """The transport, but for how it is closed. plain: a body goes without chunks, which HTTP/1.0 has no word for."""

    __slots__ = ("_body", "_transport", "close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None], *, plain: bool) -> None:
        self._transport = transport
        self._body = False  # what comes now is a part of it, and in a chunk
        self.is_closing = transport.is_closing
        self.write: Callable[[bytes], None] = self._write_plain if plain else transport.write
        self.close = close

    def _write_plain(self, data: bytes) -> None:
        """What uvicorn writes at a time is a whole head, or a whole chunk, perhaps with the last, empty one."""
        if self._body:
            size, _, rest = data.partition(b"\r\n")
            data = rest[: int(size, 16)]
        elif _CHUNKED in data:
            data = data.replace(_CHUNKED, b"", 1)
            self._body = True
        self._transport.write(data)
