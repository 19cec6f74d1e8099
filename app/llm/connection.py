"""One HTTP/1.1 connection to a model's server: one request after another, without a task, a lock or a timer in it."""

import asyncio
from collections.abc import Callable
from typing import Final, Self, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MAX_HEAD_BYTES: Final = 64 << 10
MAX_UNREAD_BYTES: Final = 256 << 10


class Broken(Exception):
    """The connection did not last, or what came over it is not HTTP."""


class Connection(asyncio.Protocol):
    """Belongs to one event loop and has one reader at a time. What has arrived is read before what went wrong.

    status: of the response, 0 before its head is whole. touched: a byte of the response came. whole: all of it came.
    """

    __slots__ = (
        "_cause",
        "_fault",
        "_framed",
        "_keep",
        "_lost",
        "_parser",
        "_parts",
        "_pending",
        "_transport",
        "_unread",
        "_waiter",
        "content_type",
        "encoding",
        "loop",
        "on_body",
        "status",
        "touched",
        "whole",
    )

    def __init__(self, lost: Callable[["Connection"], object]) -> None:
        self._lost = lost  # to be called once it is
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parts: list[bytes] = []  # of a body, since the last read
        self.on_body = self._parts.append  # called by the parser for each part, of which there is one a token
        self._parser = HttpResponseParser(self)
        # The leniencies of every client that has to get along with all servers: none of them moves the body's end.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._fault = ""  # why it cannot be used any more
        self._cause: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._begin()
        self.whole = True

    def _begin(self) -> None:
        self.status = 0
        self.touched = self.whole = self._framed = self._keep = False
        self.content_type = self.encoding = b""
        self._parts.clear()
        self._unread = 0
        self._pending = 0  # bytes since a head or a part of a body was whole

    # -- what its user does

    async def ask(self, request: bytes) -> Self:
        """Send a whole request and wait for the head of its response. Raises Broken; whatever fails closes it."""
        self._begin()
        self._transport.write(request)
        try:
            while not self.status:
                await self._more()
        except BaseException:  # also a cancellation: half a response is of no use to the next request
            self.close()
            raise
        return self

    async def read(self) -> bytes:
        """What has arrived of the body since the last read; empty at its end. Raises Broken."""
        while not self._parts:
            if self.whole:
                return b""
            await self._more()
        data = b"".join(self._parts)
        self._parts.clear()
        if self._unread > MAX_UNREAD_BYTES and not self._fault:
            self._transport.resume_reading()
        self._unread = 0
        return data

    @property
    def free(self) -> bool:
        """Whether it can take another request: the response was read to its end, and both sides stay."""
        return self.whole and self._keep and not self._parts

    def close(self) -> None:
        """Drop the connection at once, in whatever state it is; over TLS without a farewell."""
        self._fail("it was closed", None)

    def _more(self) -> asyncio.Future[None]:
        """Done when something has come."""
        if self._fault:
            raise Broken(self._fault) from self._cause
        self._waiter = self.loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, fault: str, cause: Exception | None) -> None:
        if not self._fault:
            self._fault, self._cause = fault, cause
            self._keep = False
            self._transport.abort()
            self._wake()

    # -- what the transport does

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance

    def data_received(self, data: bytes) -> None:
        """Some bytes; those that nobody asked for end the connection."""
        if self.whole:
            self._fail("bytes behind the end of a response", None)
            return
        self.touched = True
        self._pending += len(data)
        had = len(self._parts)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail("not HTTP", error)
        if len(self._parts) > had:
            self._pending = 0
            self._unread += sum(map(len, self._parts[had:]))
        if self._pending > MAX_HEAD_BYTES:
            self._fail("too long a head", None)
        if self._unread > MAX_UNREAD_BYTES and not self._fault:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever wanted it. It is also the end of a body without a length."""
        if self.status and not self._framed and exc is None and not self._fault:
            self.whole = True
        self._fail("the connection was lost", exc)
        self._wake()
        self._lost(self)
        del self._parser  # it holds our methods

    # -- what the parser does

    def on_message_begin(self) -> None:
        """A response begins, or a second one where one was asked for."""
        if self.whole:
            raise Broken
        self.content_type = self.encoding = b""
        self._framed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or behind the body one trailer, which nobody here reads."""
        if self.status:
            return
        name = name.lower()
        if name == b"content-type":
            self.content_type = value.partition(b";")[0].strip().lower()
        elif name == b"content-encoding":
            self.encoding = value.strip().lower()
        elif name == b"content-length" or (name == b"transfer-encoding" and value.lower().find(b"chunked") >= 0):
            self._framed = True

    def on_headers_complete(self) -> None:
        """A head is whole: that of the response, unless it only announces one."""
        self._pending = 0
        status = self._parser.get_status_code()
        if status >= 200:
            self.status = status
            self._keep = self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        """The response is whole."""
        self._pending = 0
        self.whole = self.status > 0
