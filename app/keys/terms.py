"""What a key may be given on the command line, checked: roles, times, limits."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, cast, get_args

import typer
from pydantic import Field, TypeAdapter, ValidationError

from app.question import Content, Grant, Right, Scope

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TIME: Final = re.compile(r"(\d{1,6})([smhd])")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_RESERVED: Final = ("nobody",)

Count = Annotated[int, Field(ge=0, le=10**12)]
Usd = Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)]
_BOUNDS: Final[dict[str, TypeAdapter[Any]]] = {
    **{name: TypeAdapter(Count) for name in ("requests_per_minute", "requests_per_hour", "tokens_per_hour")},
    **{name: TypeAdapter(Usd) for name in ("usd_per_hour", "usd_per_day")},
    "streams": TypeAdapter(Annotated[int, Field(ge=1, le=1_000_000)]),
    "priority": TypeAdapter(Annotated[int, Field(ge=0, le=9)]),
    "content": TypeAdapter(Content),
    "cache_scope": TypeAdapter(Scope),
}
NAMES: Final = tuple(_BOUNDS)


def named(text: str) -> str:
    """The name of a caller or of a tenant, as a record and a log may show it."""
    if text and (_NAME.fullmatch(text) is None or text in _RESERVED):
        raise typer.BadParameter("1 to 64 letters, digits and . _ @ -, the first a letter or a digit")
    return text


def roles(text: str) -> frozenset[Right]:
    """The roles of a comma list."""
    found = {part.strip() for part in text.split(",")}
    if not found <= set(get_args(Right)):
        raise typer.BadParameter(f"--roles: a comma list of {', '.join(get_args(Right))}")
    return frozenset(cast("set[Right]", found))


def granted(pairs: Sequence[str]) -> Grant:
    """What `NAME=VALUE` and its like grant."""
    values: dict[str, Any] = {}
    for name, equals, value in (pair.partition("=") for pair in pairs):
        if name not in _BOUNDS or not equals or name in values:
            raise typer.BadParameter(f"--set: NAME=VALUE, each name once, of {', '.join(_BOUNDS)}")
        try:
            values[name] = _BOUNDS[name].validate_strings(value)
        except ValidationError as error:
            raise typer.BadParameter(f"--set {name}: {error.errors()[0]['msg'].lower()}") from None
    return Grant(**values)


def span(text: str) -> timedelta:
    """A time such as `90d`, `12h`, `30m`, `45s`."""
    match = _TIME.fullmatch(text)
    if match is None or not int(match[1]):
        raise typer.BadParameter("a number and its unit: 90d, 12h, 30m or 45s")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])
