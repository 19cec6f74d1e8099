"""tandem keys list and revoke: the keys there are, without the keys themselves."""

import asyncio
import json
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from app.failing import clear_errors
from app.postgres.keys import KeyRow, PostgresKeys
from app.settings import Settings, read_settings
from app.wiring.commands import opened


def shown(row: KeyRow) -> dict[str, Any]:
    """A key as JSON."""
    granted = {name: value for name, value in asdict(row.caller.grant).items() if value is not None}
    return {
        "id": row.key_id,
        "caller": row.caller.id,
        "tenant": row.caller.tenant,
        "roles": sorted(row.caller.rights),
        "granted": granted,
        "note": row.note,
        "state": row.state,
        "created_at": _iso(row.created_at),
        "expires_at": _iso(row.expires_at),
        "revoked_at": _iso(row.revoked_at),
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def list_(
    caller: Annotated[str | None, typer.Option(help="Only this caller's.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="A JSON array on standard output.")] = False,
) -> None:
    """Every key there is or was."""
    with clear_errors():
        rows = [shown(row) for row in asyncio.run(_listed(read_settings(), caller))]
    if json_output:
        typer.echo(json.dumps(rows))
        return
    others = ("tenant", "roles", "state", "expires", "granted", "note")
    table = Table(Column("id", no_wrap=True), Column("caller", overflow="fold"), *others)
    for row in rows:
        granted = " ".join(f"{name}={value}" for name, value in row["granted"].items())
        expires = (row["expires_at"] or "never")[:16]
        table.add_row(
            row["id"], row["caller"], row["tenant"], ",".join(row["roles"]), row["state"], expires, granted, row["note"]
        )
    console = Console(markup=False, emoji=False)  # a note is shown as it was written
    console.print(table if rows else "There are no keys; make one with `tandem keys create CALLER`.")


async def _listed(settings: Settings, caller: str | None) -> list[KeyRow]:
    async with opened(settings) as (_, pool):
        return await PostgresKeys(pool).listed(caller)


def revoke(
    key_id: Annotated[str, typer.Argument(help="The key, by its id: never the key itself.")],
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Make a key worth nothing, within KEY_CACHE_S on every instance; exit code 1 when there is none."""
    with clear_errors():
        found = asyncio.run(_revoke(read_settings(), key_id))
    if json_output:
        typer.echo(json.dumps({"id": key_id, "revoked": found}))
    else:
        typer.echo(f"{key_id} is revoked" if found else f"there is no key {key_id}", err=not found)
    raise typer.Exit(0 if found else 1)


async def _revoke(settings: Settings, key_id: str) -> bool:
    async with opened(settings) as (_, pool):
        return await PostgresKeys(pool).revoke(key_id)
