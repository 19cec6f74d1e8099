"""tandem audit status: where the records are."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from app.errors import TandemError
from app.failing import clear_errors
from app.postgres.letters import Letters, Overview
from app.record.directory import LETTERS
from app.settings import Settings, read_settings
from app.terminal.key import key_headers
from app.wiring.commands import opened

Url = Annotated[str, typer.Option(envvar="TANDEM_URL", help="The running server, if there is one.")]
LOCAL_URL = "http://127.0.0.1:8080"


def status(url: Url = LOCAL_URL) -> None:
    """Where the records are: of the running server, on this disk, in PostgreSQL; exit code 2 if that is away."""
    with clear_errors():
        complete = asyncio.run(_status(read_settings(), url, Console(markup=False, emoji=False)))
    raise typer.Exit(0 if complete else 2)


async def _status(settings: Settings, url: str, console: Console) -> bool:
    """Print what can be found out; say whether that was everything."""
    table = Table("what", "how", show_header=False)
    table.add_row("server", await _server_state(url))
    for name, said in _on_disk(settings.spool_path):
        table.add_row(name, said)
    complete = True
    try:
        async with opened(settings) as (_, pool):
            for name, said in _in_database(await Letters(pool).overview()):
                table.add_row(name, said)
    except TandemError as error:
        complete = False
        table.add_row("database", error.message)
    console.print(table)
    return complete


async def _server_state(url: str) -> str:
    """What the running server says of its audit."""
    try:
        async with httpx.AsyncClient(headers=key_headers(), trust_env=False, timeout=5) as http:
            answer = await http.get(f"{url.rstrip('/')}/health/detailed")
            told = answer.json()
            if answer.is_error:
                return f"{url} refuses: {told['detail']}"
            ledger = {name: count for name, count in told["record"].items() if count}
            return f"audit {told['audit'].get('status')}\n{json.dumps(ledger)}"
    except (httpx.HTTPError, httpx.InvalidURL):
        return f"none answers at {url}"
    except (ValueError, KeyError, TypeError, AttributeError):  # somebody else's server
        return f"what answers at {url} is no Tandem"


def _on_disk(folder: Path) -> Iterator[tuple[str, str]]:
    """The spool's folder: what waits there, what was set aside, which letters could not even be told to PostgreSQL."""
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("spool*"))} if folder.is_dir() else {}
    waiting = sum(size for name, size in sizes.items() if "corrupt" not in name)
    yield "spool", f"{folder}: {waiting:,} bytes" if sizes else f"{folder}: nothing"
    for name in sizes:
        if "corrupt" in name:
            yield "set aside", name
    letters = sorted((folder / LETTERS).glob("*.json"))
    if letters:
        yield "dead-letter files", f"{len(letters)}, the first {letters[0].name}"


def _in_database(found: Overview) -> Iterator[tuple[str, str]]:
    """What PostgreSQL has."""
    yield "runs", f"{found.runs:,}, of which {found.open_runs:,} open"
    yield "dead letters", f"{found.letters:,}"
    for instance, silent_s in found.instances.items():
        yield "instance", f"{instance}, heard of {silent_s:.0f} s ago"
