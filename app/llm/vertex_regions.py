"""The connections to Vertex AI: one for each address, shared by all models and lanes, and more when it is full."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from app.errors import ModelError
from app.llm.vertex_access import Target

# Google's front ends take no more on one connection; gRPC would let the others wait, silently.
STREAMS_PER_LINE: Final = 100
MOST_LINES: Final = 20

Load = Callable[[], Any]


def _not_here() -> Any:  # noqa: ANN401  # a module
    raise ModelError("credentials_missing", "Vertex AI was not wired.")


@dataclass
class Region:
    """The lines to one address. lines: Line objects of vertex_sdk; holders: the models that use them."""

    target: Target
    load: Load
    streams_per_line: int = STREAMS_PER_LINE
    holders: int = 0
    lines: list[Any] = field(default_factory=list)
    _sdk: Any = None
    _credentials: Any = None
    _loading: asyncio.Future[tuple[Any, Any]] | None = None

    async def ready(self) -> Any:  # noqa: ANN401  # a module
        """The module vertex_sdk, loaded in a thread, once there are credentials. Raises ModelError.

        Cancelled, who waits leaves the one thread to the others: Google may take minutes to give a token.
        """
        if self._sdk is None:
            if self._loading is None or self._loading.done():
                self._loading = asyncio.get_running_loop().run_in_executor(None, self._prepare)
                self._loading.add_done_callback(_noticed)
            self._credentials, self._sdk = await asyncio.shield(self._loading)
        return self._sdk

    def _prepare(self) -> tuple[Any, Any]:
        sdk = self.load()
        return (sdk.find_credentials() if self.target.secure else None), sdk

    def line(self) -> Any:  # noqa: ANN401  # a Line of vertex_sdk
        """The line with the fewest calls; a new one when all are full. Only after ready()."""
        best = min(self.lines, key=lambda line: line.active, default=None)
        if best is None or (best.active >= self.streams_per_line and len(self.lines) < MOST_LINES):
            best = self._sdk.Line(self.target, self._credentials)
            self.lines.append(best)
        return best

    async def close(self) -> None:
        """Close every line."""
        lines, self.lines = self.lines, []
        for line in lines:
            await line.close()


def _noticed(loading: asyncio.Future[tuple[Any, Any]]) -> None:
    """It may be that nobody waits for a failure any longer."""
    if not loading.cancelled():
        loading.exception()


class Regions:
    """Hands out regions by address and closes each with its last holder. load: imports vertex_sdk; blocks."""

    def __init__(self, load: Load = _not_here) -> None:
        self._load = load
        self._open: dict[Target, Region] = {}

    def take(self, target: Target) -> Region:
        """The region of an address; nothing is loaded or connected yet."""
        region = self._open.setdefault(target, Region(target, self._load))
        region.holders += 1
        return region

    async def give_back(self, region: Region) -> None:
        """Undo one take."""
        region.holders -= 1
        if not region.holders:
            del self._open[region.target]
            await region.close()
