"""The requests of all instances, counted in Redis: all windows of a request in one script."""

from collections.abc import Sequence
from typing import Any, Final

from app.admission.doorman import Asked, Window
from app.admission.rates import TAKE, window_of
from app.redis.client import Client, Part, Script, expected, short
from app.redis.purse import translated

_TAKE: Final = Script(TAKE)


class RedisWindows:
    """As Windows has it; timeout_s bounds every call."""

    def __init__(self, client: Client, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def take(self, asked: Sequence[Asked], *, count: bool = True) -> list[Window]:
        """Count a request in each window, up to the first that is full; or only look. Raises CountersUnavailable."""
        keys: list[Part] = []
        args: list[Part] = [int(count)]
        for each in asked:
            name = self._client.key("rate", short(each.key), str(each.most))
            keys += (f"{name}:before", name)
            args += (each.most, each.span_s)
        with translated():
            reply = expected(list, await self._client.run(_TAKE, keys, args, timeout_s=self._timeout_s))
            return [_window(each, found) for each, found in zip(asked, reply, strict=False)]


def _window(asked: Asked, found: Sequence[Any]) -> Window:
    taken, before, before_ms, current, current_ms = found
    return window_of(
        asked, taken == 1, (int(before or 0), int(before_ms) / 1000), (int(current or 0), int(current_ms) / 1000)
    )
