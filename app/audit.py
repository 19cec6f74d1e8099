"""tandem audit ...: what is recorded, what waits, what could not be stored; records in and out."""

import asyncio
import contextlib
import importlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, NamedTuple, TextIO

import httpx
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from app.errors import TandemError
from app.experiments import exporting
from app.experiments.feedback import Feedback
from app.experiments.list import Filters
from app.postgres.experiments import Experiments
from app.postgres.letters import Letters, Overview
from app.postgres.migrate import migrate
from app.postgres.pool import Pool, translated
from app.postgres.runs import RunStore
from app.question import Caller
from app.record.codec import Undecodable, decode, digest, encode
from app.record.importing import Import, read_file
from app.record.redaction import Redactor
from app.record.replay import Replay
from app.record.store import DeadLetter, EntryRejected, Filed
from app.settings import Settings, read_settings
from app.wiring.record import EMBEDDED

BATCH = 100
Url = Annotated[str, typer.Option(envvar="TANDEM_URL", help="The running server, if there is one.")]
LOCAL_URL = "http://127.0.0.1:8080"


class Database(NamedTuple):
    """Where the records are, and a pool on it."""

    dsn: str
    pool: Pool


app = typer.Typer(no_args_is_help=True, help="What is recorded, what waits, what could not be stored.")


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """A command that fails says why in one place, without a traceback."""
    try:
        yield
    except TandemError as error:
        typer.echo(f"tandem: {error.message}", err=True)
        raise typer.Exit(2) from None


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """The database: the one that is named, the running embedded one, or that one started for this command."""
    async with contextlib.AsyncExitStack() as stack:
        if settings.database_url is not None:
            dsn: str = settings.database_url.get_secret_value()
        else:
            embedded = importlib.import_module(EMBEDDED)
            dsn = embedded.running_dsn(settings.tandem_home) or ""
            if not dsn:
                dsn = (await stack.enter_async_context(embedded.EmbeddedPostgres(settings.tandem_home))).dsn
        with translated():
            await migrate(dsn)
        yield Database(dsn, await stack.enter_async_context(Pool(dsn, 2)))


@app.command()
def status(url: Url = LOCAL_URL) -> None:
    """Where the records are: of the running server, on this disk, in PostgreSQL."""
    with clear_errors():
        asyncio.run(_status(read_settings(), url, Console()))


async def _status(settings: Settings, url: str, console: Console) -> None:
    table = Table("what", "how", show_header=False)
    table.add_row("server", await _server_state(url))
    for name, said in _on_disk(settings.spool_path):
        table.add_row(name, said)
    try:
        async with opened(settings) as (_, pool):
            for name, said in _in_database(await Letters(pool).overview()):
                table.add_row(name, said)
    except TandemError as error:
        table.add_row("database", error.message)
    console.print(table)


async def _server_state(url: str) -> str:
    """What the running server says of its audit."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
            told = (await http.get(f"{url}/health/detailed")).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return f"none answers at {url}"
    ledger = {name: count for name, count in told["record"].items() if count}
    return f"audit {told['audit'].get('status')}\n" + json.dumps(ledger)


def _on_disk(folder: Path) -> Iterator[tuple[str, str]]:
    """The spool's folder: what waits there, what was set aside, which letters could not even be told to PostgreSQL."""
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("spool*"))} if folder.is_dir() else {}
    waiting = sum(size for name, size in sizes.items() if "corrupt" not in name)
    yield "spool", f"{folder}: {waiting:,} bytes" if sizes else f"{folder}: nothing"
    for name in sizes:
        if "corrupt" in name:
            yield "set aside", name
    letters = sorted((folder / "dead-letters").glob("*.json"))
    if letters:
        yield "dead-letter files", f"{len(letters)}, the first {letters[0].name}"


def _in_database(found: Overview) -> Iterator[tuple[str, str]]:
    """What PostgreSQL has."""
    yield "runs", f"{found.runs:,}, of which {found.open_runs:,} open"
    yield "dead letters", f"{found.letters:,}"
    for instance, silent_s in found.instances.items():
        yield "instance", f"{instance}, heard of {silent_s:.0f} s ago"


@app.command("dead-letters")
def dead_letters(
    retry: Annotated[bool, typer.Option("--retry", help="Try to store each again; what is stored leaves.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 100,
) -> None:
    """What could not be stored, and why."""
    with clear_errors():
        left = asyncio.run(_dead_letters(read_settings(), retry, limit, Console()))
    raise typer.Exit(1 if retry and left else 0)


async def _dead_letters(settings: Settings, retry: bool, limit: int, console: Console) -> int:
    async with opened(settings) as (_, pool):
        letters, store = Letters(pool), RunStore(pool)
        table = Table("when", "run", "version", "reason", "error", "now" if retry else "bytes")
        left = 0
        for letter in await letters.newest(limit):
            now = f"{len(letter.encoded):,}"
            if retry:
                now = await _again(store, letter.digest, letter.encoded)
                stored = now in ("stored", "duplicate")
                left += not stored
                if stored:
                    await letters.drop(letter.id)
            when = letter.created_at.isoformat(timespec="seconds")
            table.add_row(when, letter.run_id or "?", str(letter.version or "?"), letter.reason, letter.error, now)
    console.print(table if table.row_count else "there are no dead letters")
    return left


async def _again(store: RunStore, digest: bytes, encoded: bytes) -> str:
    """What becomes of a dead letter when it is tried once more."""
    try:
        (fate,) = await store.write([Filed(decode(encoded), digest)])
    except (EntryRejected, Undecodable) as error:
        return f"not stored: {error.message}"
    return fate


@app.command()
def replay(
    files: Annotated[list[Path], typer.Argument(help="Log files with audit lines; - is standard input.")],
) -> None:
    """Store the records that a server without a durable disk wrote to its log."""
    with clear_errors():
        whole = asyncio.run(_replay(read_settings(), files, Console()))
    raise typer.Exit(0 if whole else 1)


async def _replay(settings: Settings, files: list[Path], console: Console) -> bool:
    """Read every line of every file, since the parts of a record may lie apart; say what is missing."""
    reader = Replay()
    fates: dict[str, int] = {}
    async with opened(settings) as (_, pool):
        store, batch = RunStore(pool), list[Filed]()
        for line in _lines(files):
            filed = reader.feed(line)
            if filed is not None:
                batch.append(filed)
            if len(batch) >= BATCH:
                await _store(store, batch, fates)
                batch = []
        await _store(store, batch, fates)
    for fate, count in sorted(fates.items()):
        console.print(f"{count:,} {fate}")
    for missing in reader.missing:
        console.print(f"incomplete: run {missing.run_id}, {missing.seen} of {missing.parts} parts")
    return not reader.missing and not fates.get("dead-lettered")


async def _store(store: RunStore, batch: list[Filed], fates: dict[str, int]) -> None:
    """Store a batch, or each by itself when one of them is not to be stored; what cannot be becomes a dead letter."""
    try:
        found: list[str] = list(await store.write(batch)) if batch else []
    except EntryRejected as error:
        if len(batch) > 1:
            for filed in batch:
                await _store(store, [filed], fates)
            return
        await store.bury([_letter(batch[0], "rejected", error.message)])
        found = ["dead-lettered"]
    conflicts = [filed for filed, fate in zip(batch, found, strict=True) if fate == "conflict"]
    if conflicts:
        await store.bury([_letter(filed, "conflict", "another content is recorded") for filed in conflicts])
    for fate in found:
        fates[fate] = fates.get(fate, 0) + 1


def _letter(filed: Filed, reason: Literal["rejected", "conflict"], error: str) -> DeadLetter:
    entry = filed.entry
    return DeadLetter(filed.digest, entry.opening.run_id, entry.version, reason, error, encode(entry))


def _lines(files: list[Path]) -> Iterator[str]:
    """Every line of every file, `-` being standard input."""
    with contextlib.ExitStack() as stack:
        for path in files:
            source: TextIO = sys.stdin if str(path) == "-" else stack.enter_context(path.open(errors="replace"))
            yield from source


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSON Lines, perhaps gzipped.", exists=True, dir_okay=False)],
    experiment: Annotated[str, typer.Option(help="The experiment that these runs belong to.")],
    caller: Annotated[str, typer.Option(help="Whose runs these become.")] = "local",
) -> None:
    """Load pairs of recorded answers as finished runs; importing a file twice adds nothing twice.

    A line is an object with question, fast_text and slow_text, and perhaps fast_correct, slow_correct, fast_model,
    slow_model, fast_latency_ms, slow_latency_ms, fast_ttft_ms, slow_ttft_ms, class, variant, created_at.
    """
    with clear_errors():
        asyncio.run(_import(read_settings(), file, experiment, Caller(caller)))


async def _import(settings: Settings, file: Path, experiment: str, caller: Caller) -> None:
    console, fates = Console(), dict[str, int]()
    redact = Redactor(settings.audit_content, settings.audit_max_text_chars)
    async with opened(settings) as (dsn, pool):
        store, past = RunStore(pool), Experiments(pool, dsn)
        first = await past.first_import(caller, experiment) or datetime.now(UTC) - timedelta(days=1)
        source = read_file(file, Import(caller, experiment, first.replace(hour=0, minute=0, second=0, microsecond=0)))
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("importing", total=None)
            while batch := list(islice(source, BATCH)):
                entries = [redact(one.closing) for one in batch]
                await _store(store, [Filed(entry, digest(encode(entry))) for entry in entries], fates)
                said = [
                    (one.closing.opening.run_id, Feedback(name, value))
                    for one in batch
                    for name, value in one.feedback.items()
                ]
                await past.put_many(caller, said)
                progress.advance(task, len(batch))
    for fate, count in sorted(fates.items()):
        console.print(f"{count:,} {fate}")
    console.print(f"see /api/experiments/agreement?experiment={experiment}")


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The file to write; - is standard output.")] = Path("-"),
    csv: Annotated[bool, typer.Option("--csv", help="A table instead of JSON Lines.")] = False,
    payload: Annotated[bool, typer.Option(help="With questions and answers.")] = True,
    caller: Annotated[str, typer.Option(help="Whose runs.")] = "local",
) -> None:
    """All of a caller's records, newest first."""
    with clear_errors(), contextlib.ExitStack() as stack:
        sink: BinaryIO = sys.stdout.buffer if str(out) == "-" else stack.enter_context(out.open("wb"))
        encoder = exporting.Table(payload=payload) if csv else exporting.Lines()
        asyncio.run(_export(read_settings(), sink, encoder, Caller(caller), payload=payload))


async def _export(
    settings: Settings, sink: BinaryIO, encoder: exporting.Encoder, caller: Caller, *, payload: bool
) -> None:
    async with opened(settings) as (dsn, pool):
        found = await Experiments(pool, dsn).export(caller, Filters(), payload=payload)
        with contextlib.closing(found):
            while records := await found.batch():
                sink.write(encoder.encode(records))
        sink.write(encoder.end())
