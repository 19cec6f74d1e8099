"""The headers of a request, looked through once: it is asked for a dozen of them, and has few."""

from functools import lru_cache
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import Scope

FIELDS: Final = "tandem.headers"  # where the edge leaves them in the ASGI scope


class Fields(Headers):
    """As the framework has them; each is found without a search, and none is missed by an exception."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope=scope)
        self._first = dict(reversed(self._list))

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401  # as a Mapping has it
        """The first of that name, or the default."""
        value = self._first.get(_name(key))
        return default if value is None else value.decode("latin-1")

    def getlist(self, key: str) -> list[str]:
        """All of that name."""
        first = self._first.get(_name(key))
        if first is None:
            return []
        return [first.decode("latin-1")] if len(self._first) == len(self._list) else super().getlist(key)

    def __getitem__(self, key: str) -> str:
        return self._first[_name(key)].decode("latin-1")

    def __contains__(self, key: Any) -> bool:  # noqa: ANN401  # as above
        return _name(key) in self._first


@lru_cache(128)  # the names that are asked for are our own
def _name(key: str) -> bytes:
    return key.lower().encode("latin-1")
