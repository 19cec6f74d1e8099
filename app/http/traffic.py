"""The traffic at the edge as meters see it: by the template of a route, never by the address that was asked for."""

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

from starlette.routing import Mount, compile_path
from starlette.types import Scope

from app.http.problems import REFUSED
from app.http.requests import TOLD, Sent, Told

ROUTE: Final = "tandem.route"  # where it is left in the ASGI scope
NO_ROUTE: Final = "none"


class Meters(Protocol):
    """Who counts. route: a template of this server's, or `none`; everything else is the client's own."""

    def began(self, method: str, route: str) -> None:
        """A request came."""
        ...

    def ended(self, method: str, route: str, status: int | None, seconds: float) -> None:
        """It is over; status is None when the client left before it had one."""
        ...

    def asked(self, source: str) -> None:
        """A question was accepted."""
        ...

    def refused(self, code: str, status: int) -> None:
        """A request was refused."""
        ...


class Templates:
    """Finds the template of a path. A path without parameters is looked up, others are tried in turn.

    A method that a route does not take has none: nobody makes series by asking every route by every method.
    """

    def __init__(self, templates: Iterable[tuple[str, str]]) -> None:
        self._taken = frozenset(templates)
        known = sorted({path for _, path in self._taken})
        self._exact = {path: path for path in known if "{" not in path}
        self._patterns: list[tuple[re.Pattern[str], str]] = [
            (compile_path(path)[0], path) for path in known if "{" in path
        ]

    def find(self, method: str, path: str) -> str:
        """The template, or `none`."""
        found = self._exact.get(path)
        if found is None:
            found = next((template for pattern, template in self._patterns if pattern.match(path)), NO_ROUTE)
        return found if (method, found) in self._taken else NO_ROUTE


def templates(routes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Methods and templates of an application's routes, of those it includes too; of a folder, anything below it."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from templates(inner.routes)
        elif isinstance(route, Mount):
            yield from ((method, f"{route.path}/{{file:path}}") for method in ("GET", "HEAD"))
        else:
            yield from ((method, route.path) for method in route.methods)


class Traffic:
    """Tells meters of each request as it comes and as it goes."""

    def __init__(self, meters: Meters, known: Templates) -> None:
        self._meters = meters
        self._known = known

    def began(self, scope: Scope) -> None:
        """A request came."""
        route = scope[ROUTE] = self._known.find(scope["method"], scope["path"])
        self._meters.began(scope["method"], route)

    def finished(self, scope: Scope, sent: Sent) -> None:
        """A request has ended, whatever ended it."""
        meters, status = self._meters, sent.http_status
        meters.ended(scope["method"], scope[ROUTE], status, time.perf_counter() - sent.began)
        told: Told | None = scope.get(TOLD)
        if told is not None:
            meters.asked(told.source)
        refused: str | None = scope.get(REFUSED)
        if refused is not None:
            meters.refused(refused, status or 0)
