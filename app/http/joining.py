"""The head of a reply and what follows it, in one write where they come together."""

import asyncio

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class Joining:
    """Stands between a cycle and its transport until the head is written; uvloop makes each write a system call.

    The head waits for what follows in the same turn of the loop, and no longer; one that nothing follows, not at all:
    its reply is over, and whatever is said next must come behind it. From then on the cycle has the transport to
    itself.
    """

    __slots__ = ("_cycle", "_head", "_transport")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Keep the head, or write it with this."""
        if self._head:
            self._head += data
            self._let_go()
            return
        self._head = data
        cycle = self._cycle
        if cycle.scope["method"] != "HEAD" and (cycle.chunked_encoding or cycle.expected_content_length):
            asyncio.get_running_loop().call_soon(self._let_go)
        else:
            self._let_go()

    def is_closing(self) -> bool:
        """Whether the transport is."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the transport behind what was written."""
        self._let_go()
        self._transport.close()

    def _let_go(self) -> None:
        if self._head and not self._transport.is_closing():
            self._transport.write(self._head)
        self._head = b""
        self._cycle.transport = self._transport
