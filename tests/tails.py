"""Questions over real sockets, and streams that are read piece by piece."""

from typing import Any

import httpx
from servers import Server

QUESTION = {"input": "Why is the sky blue?"}
HANG = "scripted:hang"
SHORT = "scripted:fast?first=0.005&gap=0&tokens=5"
ENDLESS = "scripted:endless?first=0&gap=0.002"


async def ask(server: Server, **fields: Any) -> httpx.Response:
    """The whole answer to a question."""
    return await server.client.post("/v1/reason", json={**QUESTION, **fields})


def lanes(fast: str, slow: str, **limits: float) -> dict[str, Any]:
    """Which models to ask, with limits on the slow one."""
    return {"fast": {"model": fast}, "slow": {"model": slow, **limits}}


class Tail:
    """A stream that is being read, piece by piece."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.raw = b""
        self._pieces = response.aiter_raw()

    @property
    def run_id(self) -> str:
        """The run it is of."""
        return self.response.headers["x-run-id"]

    async def until(self, text: bytes) -> bytes:
        """Read until the text has come, and on to the end of its piece."""
        while text not in self.raw:
            self.raw += await anext(self._pieces)
        return self.raw

    async def rest(self) -> bytes:
        """Read to the end."""
        async for piece in self._pieces:
            self.raw += piece
        return self.raw


async def opened(server: Server, method: str, path: str, **request: Any) -> Tail:
    """Send a request and return once its head is there."""
    return Tail(await server.client.send(server.client.build_request(method, path, **request), stream=True))


async def started(server: Server, **fields: Any) -> Tail:
    """A stream of which the fast lane has ended."""
    tail = await opened(server, "POST", "/v1/reason", json={**QUESTION, **fields})
    await tail.until(b"event: lane_end")
    return tail
