"""What a token costs: unit prices in nano-dollars, resolved once per model; an event's cost is a multiplication.

Models are named as in a question: `provider:model`, or `wrapper:argument@provider:model`, which costs the same.
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeGuard

import msgspec

from app.errors import StartupError
from app.events import Usage
from app.question import LaneName

if TYPE_CHECKING:  # entry.py imports Tariff from here
    from app.record.entry import Closing, Entry, LaneRecord

MAX_REMEMBERED: Final = 1024
NANO: Final = 1_000_000_000
_NOT_LOOKED_UP: Final = object()

_WRAPPED: Final = re.compile(r"[a-z]+:[^@]*@(?=[a-z]+:.)")
_MODEL: Final = re.compile(r"[a-z]+:.+")

# A provider's model at a base URL, and its list price if there is one. Slow; raises nothing.
UNLISTED: Final = ("local:", "scripted:")  # no list has them: the heavy list need not be loaded to say so
Lookup = Callable[[str, str | None], "Tariff | None"]


class Tariff(msgspec.Struct, frozen=True):
    """Unit prices of one model in nano-dollars a token; version says where they come from and of which day.

    thinking tokens are part of a usage's output tokens and cost what these cost; cached ones are part of its input.
    """

    input_nano: float
    output_nano: float
    cached_nano: float | None
    version: str

    def cost(self, usage: Usage) -> int | None:
        """The cost in whole nano-dollars; None, never 0, when a number it depends on is not known."""
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        cached = min(usage.cached_tokens or 0, usage.input_tokens) if self.cached_nano is not None else 0
        fresh = usage.input_tokens - cached
        return round(
            fresh * self.input_nano + cached * (self.cached_nano or 0.0) + usage.output_tokens * self.output_nano
        )


class PriceBook:
    """Tariffs by model and base URL: an operator's own first, then a list price, looked up once.

    load imports the list of prices and returns its lookup; it is called at the first need, in the thread that needs
    it. base_urls are those of the lanes, for records that do not repeat them. Safe to use from several threads.
    """

    def __init__(
        self,
        overrides: Mapping[str, Tariff],
        load: Callable[[], Lookup],
        base_urls: Mapping[LaneName, str] | None = None,
    ) -> None:
        self._overrides = dict(overrides)
        self._load = load
        self._base_urls = dict(base_urls or {})
        self._found: dict[tuple[str, str | None], Tariff | None] = {}
        self._looking = threading.Lock()
        self._lookup: Lookup | None = None

    def known(self, model: str, base_url: str | None = None) -> Tariff | None:
        """The tariff if it was resolved before; never looks one up, so it costs a microsecond."""
        name = _unwrapped(model)
        return self._overrides.get(model) or self._overrides.get(name) or self._found.get((name, base_url))

    def resolve(self, model: str, base_url: str | None = None) -> Tariff | None:
        """The tariff, or None when there is none. The first call takes half a second, one for a new model some ms."""
        if (override := self._override(model)) is not None:
            return override
        key = (_unwrapped(model), base_url)
        if key[0].startswith(UNLISTED):
            return None
        if key not in self._found:
            with self._looking:
                if key not in self._found:
                    self._remember(key)
        return self._found.get(key)

    def may_fill(self, entry: "Entry") -> bool:
        """Whether `fill` could add anything; a model that was looked up in vain has no price. Looks none up."""
        if not _is_closing(entry) or entry.cost_nano is not None or entry.opening.source == "cache":
            return False
        return any(self._may_price(*lane) for lane in entry.lanes.items()) or _sum(entry.lanes) is not None

    def fill(self, entry: "Entry") -> "Entry":
        """A closing with the cost of every lane that had none and whose usage is known, and their sum.

        The sum stays unknown while a lane that used tokens has no cost. A replayed answer cost nothing anew, and is
        left alone. It may look prices up, so it belongs in a thread.
        """
        if not _is_closing(entry) or entry.opening.source == "cache":
            return entry
        lanes = {name: self._priced(name, lane) for name, lane in entry.lanes.items()}
        cost_nano = _sum(lanes) if entry.cost_nano is None else entry.cost_nano
        return msgspec.structs.replace(entry, lanes=lanes, cost_nano=cost_nano)

    def _override(self, model: str) -> Tariff | None:
        return self._overrides.get(model) or self._overrides.get(_unwrapped(model))

    def _remember(self, key: tuple[str, str | None]) -> None:
        if self._lookup is None:
            self._lookup = self._load()
        found = self._lookup(*key)
        while len(self._found) >= MAX_REMEMBERED:
            self._found.popitem()  # the newest: the first ones are the configured models, whatever names follow
        self._found[key] = found

    def _may_price(self, name: LaneName, lane: "LaneRecord") -> bool:
        if not _is_unpriced(lane):
            return False
        if lane.tariff is not None or self._override(lane.model) is not None:
            return True
        key = (_unwrapped(lane.model), self._base_urls.get(name))
        return not key[0].startswith(UNLISTED) and self._found.get(key, _NOT_LOOKED_UP) is not None

    def _priced(self, name: LaneName, lane: "LaneRecord") -> "LaneRecord":
        if not _is_unpriced(lane):
            return lane
        tariff = lane.tariff or self.resolve(lane.model, self._base_urls.get(name))
        cost = None if tariff is None else tariff.cost(lane.end.usage)
        if cost is None:
            return lane
        end = msgspec.structs.replace(lane.end, cost_usd=cost / NANO)
        return msgspec.structs.replace(lane, end=end, tariff=tariff)


def _is_unpriced(lane: "LaneRecord") -> bool:
    """Whether its cost is not known, though what it used is."""
    usage = lane.end.usage
    return lane.end.cost_usd is None and usage.input_tokens is not None and usage.output_tokens is not None


def _is_closing(entry: "Entry") -> TypeGuard["Closing"]:
    """By its tag, since its class cannot be imported here."""
    return entry.__struct_config__.tag == "closing"


def _unwrapped(model: str) -> str:
    """The model inside a wrapper; the name itself without one, a version after `@` included."""
    return _WRAPPED.sub("", model, count=1) if "@" in model and _WRAPPED.match(model) else model


def _sum(lanes: "Mapping[LaneName, LaneRecord]") -> int | None:
    costs = [
        None if lane.end.cost_usd is None else round(lane.end.cost_usd * NANO) for lane in lanes.values() if _used(lane)
    ]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if costs and len(known) == len(costs) else None


def _used(lane: "LaneRecord") -> bool:
    """Whether it used tokens, as far as anybody can see."""
    usage = lane.end.usage
    counted = bool(usage.input_tokens or usage.output_tokens or usage.thinking_tokens)
    return counted or bool(lane.text or lane.thinking) or lane.end.ttft_ms is not None or lane.end.cost_usd is not None


_Usd = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]


class _Override(msgspec.Struct, forbid_unknown_fields=True):
    """One model of the override file, in dollars a million tokens."""

    input_usd_per_million: _Usd
    output_usd_per_million: _Usd
    cached_usd_per_million: _Usd | None = None

    def tariff(self, version: str) -> Tariff:
        """The same a token, in nano-dollars."""
        cached = self.cached_usd_per_million
        return Tariff(
            self.input_usd_per_million * 1000,
            self.output_usd_per_million * 1000,
            None if cached is None else cached * 1000,
            version,
        )


def read_overrides(path: Path) -> dict[str, Tariff]:
    """An operator's own prices by model: `{"local:x": {"input_usd_per_million": 0, "output_usd_per_million": 0}}`.

    Raises StartupError that names the line or the field.
    """
    try:
        data = path.read_bytes()
        models = json.loads(data, object_pairs_hook=_without_repeats, parse_constant=_refuse)
    except OSError as error:
        raise StartupError(f"PRICES_FILE={path} cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise StartupError(f"PRICES_FILE={path}, line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise StartupError(f"PRICES_FILE={path} is not valid: {error}") from error
    if not isinstance(models, dict):
        raise StartupError(f"PRICES_FILE={path} must be one JSON object: models and their prices")
    version = f"override {hashlib.sha256(data).hexdigest()[:8]}"
    return {model: _read_override(path, model, prices).tariff(version) for model, prices in models.items()}


def _read_override(path: Path, model: str, prices: object) -> _Override:
    if not _MODEL.fullmatch(model):
        raise StartupError(f"PRICES_FILE={path}: {model!r} is not a model; a model is `provider:model`")
    try:
        return msgspec.convert(prices, _Override, strict=True)
    except msgspec.ValidationError as error:
        raise StartupError(f"PRICES_FILE={path}, {model}: {str(error).replace('`$.', '`')}") from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise ValueError(f"{twice!r} is there twice")
    return values


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a price")
