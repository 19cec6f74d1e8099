"""tandem keys create and rotate: a new key, shown once."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from app.admission.keys import PEPPER_WANTED, Seal
from app.errors import StartupError, TandemError
from app.failing import clear_errors
from app.keys import terms
from app.keys.known import shown
from app.postgres.keys import KeyRow, PostgresKeys
from app.question import Caller
from app.settings import Settings, read_settings
from app.wiring.commands import opened

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


class NoKey(TandemError):
    """What was asked of a key cannot be."""

    code = "no_key"


def create(  # noqa: PLR0913  # every option of a command is an argument
    caller: Annotated[str, typer.Argument(help="Whose runs are asked with it; several keys may share a caller.")],
    *,
    roles: Annotated[str, typer.Option(help="A comma list: ask, read (the past), admin.")] = "ask,read",
    tenant: Annotated[str, typer.Option(help="The caller's tenant, if it has one; it stays.")] = "",
    grants: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help=f"What differs from the settings: {', '.join(terms.NAMES)}."),
    ] = None,
    expires: Annotated[str | None, typer.Option(help="For how long, as 90d or 12h; for ever without it.")] = None,
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
    json_output: Json = False,
) -> None:
    """Make a key and show it, this once."""
    holder = Caller(terms.named(caller), terms.named(tenant), terms.roles(roles), terms.granted(grants or ()))
    if not caller:
        raise typer.BadParameter("the caller needs a name")
    ends_at = None if expires is None else datetime.now(UTC) + terms.span(expires)
    with clear_errors():
        row, token = asyncio.run(_create(read_settings(), holder, note[:200], ends_at))
    _print(row, token, json_output=json_output)


async def _create(settings: Settings, caller: Caller, note: str, ends_at: datetime | None) -> tuple[KeyRow, str]:
    seal = _seal(settings)
    async with opened(settings) as (_, pool):
        return await _added(PostgresKeys(pool), seal, KeyRow("", caller, note, datetime.now(UTC), ends_at))


def rotate(
    key_id: Annotated[str, typer.Argument(help="The key to replace.")],
    overlap: Annotated[str, typer.Option(help="For how long the old one works on, as 1d or 30m.")] = "1d",
    json_output: Json = False,
) -> None:
    """Make a key with the same caller and terms, and let the old one end; a limited life begins anew."""
    with clear_errors():
        (row, token), ends_at = asyncio.run(_rotate(read_settings(), key_id, datetime.now(UTC) + terms.span(overlap)))
    _print(row, token, json_output=json_output)
    if not json_output:
        typer.echo(f"{key_id} works until {ends_at:%Y-%m-%d %H:%M} UTC")


async def _rotate(settings: Settings, key_id: str, ends_at: datetime) -> tuple[tuple[KeyRow, str], datetime]:
    """The new key as it is kept, itself, and when the old one ends: by then, if it did not end sooner anyway."""
    seal = _seal(settings)
    async with opened(settings) as (_, pool):
        keys = PostgresKeys(pool)
        found = await keys.listed(key_id=key_id)
        if not found or found[0].state != "good":
            raise NoKey(f"there is no good key {key_id}" + (f": it is {found[0].state}" if found else ""))
        old, now = found[0], datetime.now(UTC)
        ends = None if old.expires_at is None else now + (old.expires_at - old.created_at)
        made = await _added(keys, seal, KeyRow("", old.caller, old.note, now, ends))
        await keys.end_at(key_id, ends_at)
        return made, min(ends_at, old.expires_at or ends_at)


async def _added(keys: PostgresKeys, seal: Seal, wanted: KeyRow) -> tuple[KeyRow, str]:
    """The key as it is kept, and the key itself."""
    minted = seal.mint()
    made_at = await keys.add(minted, wanted.caller, wanted.note, wanted.expires_at)
    if made_at is None:
        raise NoKey(f"the caller {wanted.caller.id} belongs to another tenant, and its runs with it: take another name")
    return KeyRow(minted.key_id, wanted.caller, wanted.note, made_at, wanted.expires_at), minted.token


def _seal(settings: Settings) -> Seal:
    if settings.key_pepper is None:
        raise StartupError(PEPPER_WANTED)
    return Seal(settings.key_pepper.get_secret_value())


def _print(row: KeyRow, token: str, *, json_output: bool) -> None:
    if json_output:
        typer.echo(json.dumps({"key": token, **shown(row)}))
        return
    typer.echo(token)
    typer.echo("It is shown this once and kept as a hash: put it where secrets are kept.", err=True)
    typer.echo(f"id {row.key_id}, caller {row.caller.id}, roles {', '.join(sorted(row.caller.rights))}", err=True)
