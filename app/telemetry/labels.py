"""Which words may become labels: a closed set each, so that no client can make series without end."""

import re
from collections.abc import Collection, Iterable
from typing import Final

OTHER: Final = "other"
CODES_MAX: Final = 100
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")


def method_label(method: str) -> str:
    """The HTTP method, if it is one that a server knows."""
    return method if method in _METHODS else OTHER


def status_label(status: int | None) -> str:
    """The class of an HTTP status; `none` when the client left before it had one."""
    return _CLASSES[min(status // 100, 5)] if status else _CLASSES[0]


class Codes:
    """The codes of our own errors and ends; whatever looks otherwise, or is one too many, is `other`."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label(self, code: str | None) -> str:
        """The code as a label; empty for none."""
        if code is None or code in self._known:
            return code or ""
        if len(self._known) >= CODES_MAX or _CODE.fullmatch(code) is None:
            return OTHER
        self._known.add(code)
        return code


class Models:
    """Models by the names that an operator chose; a caller may name any other, which are all alike here."""

    def __init__(self, configured: Iterable[str], providers: Collection[str]) -> None:
        self._providers = providers
        self._known = {name: (self._provider(name), name) for name in configured}
        self._inside = {name.rpartition("@")[2] for name in self._known}

    def labels(self, name: str) -> tuple[str, str]:
        """The provider and the model."""
        return self._known.get(name) or (self._provider(name), OTHER)

    def breaker_label(self, name: str) -> str:
        """A breaker's name; those of models that nobody configured are all alike."""
        model = name.removeprefix("fast/").removeprefix("slow/")
        return name if ":" not in name or model in self._inside else OTHER

    def _provider(self, name: str) -> str:
        """Behind a wrapper, of the model that is wrapped."""
        kind = name.rpartition("@")[2].partition(":")[0]
        return kind if kind in self._providers else OTHER
