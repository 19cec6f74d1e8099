"""How much somebody may use: limits by scope, from the server's settings and from what a caller was granted."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, cast

from app.question import NOTHING_GRANTED, Caller, Grant

Unit = Literal["requests", "tokens", "usd"]
Span = Literal["minute", "hour", "day"]
Among = Literal["caller", "tenant", "endpoint", "global"]

NANO: Final = 1_000_000_000
SECONDS: Final[Mapping[Span, int]] = {"minute": 60, "hour": 3600, "day": 86_400}
KINDS: Final = ("requests_per_minute", "requests_per_hour", "tokens_per_hour", "usd_per_hour", "usd_per_day")
KEYHOLDERS: Final = "100 requests/minute, 1000 requests/hour, 50 usd/hour"
OFF: Final = "off"

_LIMIT: Final = re.compile(r"\s*(\d{1,12}(?:\.\d{1,9})?)\s+(requests|tokens|usd)\s*/\s*(minute|hour|day)\s*")
_ENDPOINTS: Final = (
    ("/v1/reason", "reason"),
    ("/v1/runs/", "runs"),
    ("/api/experiments/export", "export"),
    ("/api/experiments", "experiments"),
    ("/api/cache", "cache"),
    ("/api/logs", "logs"),
    ("/health", "health"),
    ("/prometheus", "metrics"),
    ("/metrics", "metrics"),
    ("/api/metrics", "metrics"),
)
OTHER: Final = "other"
ENDPOINTS: Final = (*dict.fromkeys(name for _, name in _ENDPOINTS), OTHER)


class Limit(NamedTuple):
    """At most so much in any span: requests, tokens, or nano-dollars for usd."""

    unit: Unit
    span: Span
    most: int

    @property
    def name(self) -> str:
        """As it is called everywhere: `requests_per_minute`."""
        return f"{self.unit}_per_{self.span}"

    @property
    def shown(self) -> int | float:
        """How much that is, money in dollars."""
        return shown(self.unit, self.most)


class Rule(NamedTuple):
    """A limit, and whose use counts against it."""

    scope: Among
    id: str
    limit: Limit


@dataclass(frozen=True, slots=True)
class Defaults:
    """The server's own limits: of each caller, of each tenant, of everybody together at an endpoint, and at all."""

    caller: tuple[Limit, ...] = ()
    tenant: tuple[Limit, ...] = ()
    everybody: tuple[Limit, ...] = ()
    endpoints: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict)


class Allowances:
    """Which limits hold for whom: a caller's grant takes the place of the server's default, limit by limit."""

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults
        self._merged: dict[Grant, tuple[Limit, ...]] = {NOTHING_GRANTED: _sorted(defaults.caller)}

    def rates(self, caller: Caller, endpoint: str | None) -> list[Rule]:
        """The limits on requests, the narrowest scope and shortest span first, so that who is refused uses up least."""
        rules = [rule for rule in self._shared(caller) if rule.limit.unit == "requests"]
        if endpoint is not None:
            rules += [Rule("endpoint", endpoint, limit) for limit in self._defaults.endpoints.get(endpoint, ())]
        return rules

    def budgets(self, caller: Caller) -> list[Rule]:
        """The limits on tokens and money."""
        return [rule for rule in self._shared(caller) if rule.limit.unit != "requests"]

    def _shared(self, caller: Caller) -> list[Rule]:
        rules = [Rule("caller", caller.id, limit) for limit in self._of(caller.grant)]
        if caller.tenant:
            rules += [Rule("tenant", caller.tenant, limit) for limit in self._defaults.tenant]
        return rules + [Rule("global", "", limit) for limit in self._defaults.everybody]

    def _of(self, grant: Grant) -> tuple[Limit, ...]:
        found = self._merged.get(grant)
        if found is None:
            if len(self._merged) >= 1000:
                self._merged.clear()
            found = self._merged[grant] = _sorted(merged(self._defaults.caller, grant))
        return found


def merged(defaults: Iterable[Limit], grant: Grant) -> list[Limit]:
    """The defaults, with what is granted in their place."""
    found = {limit.name: limit for limit in defaults}
    for kind in KINDS:
        given: float | None = getattr(grant, kind)
        if given is not None:
            unit, _, span = kind.partition("_per_")
            found[kind] = _limit(cast("Unit", unit), cast("Span", span), given)
    return list(found.values())


def parse_limits(text: str) -> tuple[Limit, ...]:
    """The limits of `100 requests/minute, 50 usd/hour`; none of `off` and of nothing. Raises ValueError."""
    if text.strip() in ("", OFF):
        return ()
    found: dict[str, Limit] = {}
    for part in text.split(","):
        match = _LIMIT.fullmatch(part)
        if match is None:
            raise ValueError(
                f"{part.strip()!r} is not a limit; one is a number, a unit and a span: 100 requests/minute"
            )
        if match[2] != "usd" and not float(match[1]).is_integer():  # half a request would be none
            raise ValueError(f"{part.strip()!r} is not a limit: {match[2]} are counted whole")
        limit = _limit(cast("Unit", match[2]), cast("Span", match[3]), float(match[1]))
        if limit.name not in KINDS:
            raise ValueError(f"there is no limit {limit.name}; there are {', '.join(KINDS)}")
        if limit.name in found:
            raise ValueError(f"{limit.name} is there twice")
        found[limit.name] = limit
    return _sorted(found.values())


def parse_endpoints(text: str) -> dict[str, tuple[Limit, ...]]:
    """The limits of `export: 10 requests/minute; reason: 6000 requests/hour`. Raises ValueError."""
    found: dict[str, tuple[Limit, ...]] = {}
    for part in filter(str.strip, text.split(";")):
        name, colon, limits = part.partition(":")
        if not colon or name.strip() not in ENDPOINTS or name.strip() in found:
            raise ValueError(f"{part.strip()!r}: an endpoint, once, of {', '.join(ENDPOINTS)}, a colon and its limits")
        found[name.strip()] = parse_limits(limits)
        if any(limit.unit != "requests" for limit in found[name.strip()]):
            raise ValueError(
                "an endpoint has limits on requests only; money and tokens are for callers, tenants and all"
            )
    return found


def endpoint_of(path: str) -> str:
    """The endpoint that an address belongs to, one of ENDPOINTS."""
    return next((name for begin, name in _ENDPOINTS if path.startswith(begin)), OTHER)


def shown(unit: Unit, amount: int) -> int | float:
    """An amount as people read it: money in dollars."""
    return amount / NANO if unit == "usd" else amount


def _limit(unit: Unit, span: Span, amount: float) -> Limit:
    return Limit(unit, span, round(amount * NANO) if unit == "usd" else int(amount))


def _sorted(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    return tuple(sorted(limits, key=lambda limit: (SECONDS[limit.span], limit.unit)))
