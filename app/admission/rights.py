"""Which right an address asks for. What is not named here is for admins, so that a new address begins closed."""

from collections.abc import Iterable
from typing import Final

from app.question import Right

Need = frozenset[Right] | None  # any of these; None: nobody needs to be known

OPEN: Final[Need] = None
KNOWN: Final[Need] = frozenset({"ask", "read", "admin"})
ASK: Final[Need] = frozenset({"ask"})
READ: Final[Need] = frozenset({"read"})
OWN: Final[Need] = frozenset({"ask", "read"})
ADMIN: Final[Need] = frozenset({"admin"})

_READING: Final = ("GET", "HEAD")

# The exact path: what reading it asks for, what anything else does.
_PATHS: Final[dict[str, tuple[Need, Need]]] = {
    "/v1/reason": (ASK, ASK),
    "/v1/session": (KNOWN, KNOWN),
    "/v1/limits": (OWN, ADMIN),
    "/": (OPEN, ADMIN),
    "/health/live": (OPEN, ADMIN),
    "/health/ready": (OPEN, ADMIN),
    "/health": (READ, ADMIN),
    "/health/": (READ, ADMIN),
    "/health/cache": (READ, ADMIN),
    "/docs": (KNOWN, ADMIN),
    "/openapi.json": (KNOWN, ADMIN),
    "/api/experiments": (READ, ADMIN),
    "/api/logs": (READ, ADMIN),
    "/api/cache/stats": (READ, ADMIN),
}

# The same for everything whose path begins so.
_BELOW: Final[tuple[tuple[str, tuple[Need, Need]], ...]] = (
    ("/v1/runs/", (OWN, ASK)),
    ("/api/experiments/", (READ, ASK)),
    ("/console/", (OPEN, ADMIN)),
)


def needed(method: str, path: str) -> Need:
    """Which rights are enough, each of them, to use this method of this path."""
    found = _PATHS.get(path)
    if found is None:
        found = next((needs for begin, needs in _BELOW if path.startswith(begin)), (ADMIN, ADMIN))
    return found[0] if method in _READING else found[1]


def allowed(rights: Iterable[Right], need: Need) -> bool:
    """Whether somebody with these rights may."""
    return need is None or not need.isdisjoint(rights)
