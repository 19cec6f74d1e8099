"""tandem audit dead-letters: what could not be stored, in PostgreSQL and, where that was the trouble, on the disk."""

import asyncio
import json
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from app.errors import TandemError
from app.failing import clear_errors
from app.postgres.letters import Letters
from app.postgres.runs import RunStore
from app.record.codec import Undecodable, decode, digest
from app.record.directory import LETTERS
from app.record.store import DeadLetter, EntryRejected, Filed
from app.settings import Settings, read_settings
from app.wiring.commands import opened


class Unreadable(TandemError):
    """A file among the dead letters is none."""

    code = "unreadable_letter"


class Laid(NamedTuple):
    """A dead letter, since when it lies, and how to take it away once it is stored."""

    at: datetime
    letter: DeadLetter
    drop: Callable[[], Awaitable[None]]


def dead_letters(
    retry: Annotated[bool, typer.Option("--retry", help="Try to store each again; what is stored leaves.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many of those in PostgreSQL.")] = 100,
) -> None:
    """What could not be stored, and why; with --retry the exit code is 1 while something is left."""
    with clear_errors():
        left = asyncio.run(_dead_letters(read_settings(), retry, limit, Console(markup=False, emoji=False)))
    raise typer.Exit(1 if retry and left else 0)


async def _dead_letters(settings: Settings, retry: bool, limit: int, console: Console) -> int:
    """Print each letter; return how many are left, the older ones too."""
    table = Table("when and which run", "reason", "error", "now" if retry else "bytes")
    folder = settings.spool_path / LETTERS
    async with opened(settings) as (_, pool):
        letters, store = Letters(pool), RunStore(pool)
        kept = [Laid(at, letter, partial(letters.drop, number)) for number, at, letter in await letters.newest(limit)]
        for laid in (*_files(folder), *kept):
            letter, now = laid.letter, f"{len(laid.letter.encoded):,}"
            if retry:
                now = await _again(store, laid)
            when = laid.at.astimezone(UTC).isoformat(timespec="seconds")
            table.add_row(f"{when}\n{letter.run_id or '?'} v{letter.version or '?'}", letter.reason, letter.error, now)
        left = await letters.count() + len(list(folder.glob("*.json")))
    if table.row_count:
        table.columns[0].no_wrap = True  # an id that is broken in two cannot be searched for
        console.print(table)
        if retry and left:
            console.print(f"{left:,} are left")
    else:
        console.print("there are no dead letters")
    return left


def _files(folder: Path) -> Iterator[Laid]:
    """The letters that PostgreSQL could not even be told. Raises Unreadable."""
    for path in sorted(folder.glob("*.json")):
        try:
            fields: dict[str, Any] = json.loads(path.read_bytes())
            letter = DeadLetter(**fields)._replace(
                digest=bytes.fromhex(fields["digest"]), encoded=b64decode(fields["encoded"], validate=True)
            )
        except (ValueError, TypeError, KeyError) as error:
            raise Unreadable(f"{path}: is no dead letter") from error
        yield Laid(datetime.fromtimestamp(path.stat().st_mtime, UTC), letter, partial(_unlink, path))


async def _unlink(path: Path) -> None:
    """Forget a file; nothing happens when it is gone already."""
    await asyncio.to_thread(path.unlink, missing_ok=True)


async def _again(store: RunStore, laid: Laid) -> str:
    """What becomes of a dead letter when it is tried once more; what is stored is taken away."""
    if laid.letter.reason == "undecodable" and digest(laid.letter.encoded) != laid.letter.digest:
        return "not stored: the bytes are not what was written"  # though they may happen to be an entry
    try:
        (fate,) = await store.write([Filed(decode(laid.letter.encoded), laid.letter.digest)])
    except (EntryRejected, Undecodable) as error:
        return f"not stored: {error.message}"
    if fate != "conflict":
        await laid.drop()
    return fate
