"""tandem audit replay, import and export: records in and out."""

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, TextIO
from urllib.parse import quote_plus

import typer
from rich.console import Console
from rich.progress import Progress

from app.experiments import exporting
from app.experiments.feedback import Feedback
from app.experiments.list import Filters
from app.failing import clear_errors
from app.postgres.experiments import Experiments
from app.postgres.runs import RunStore
from app.question import Caller
from app.record.codec import Undecodable, digest, encode
from app.record.importing import EPOCH, Import, Imported, ImportRefused, read_file
from app.record.redaction import Redactor
from app.record.replay import Replay
from app.record.store import DeadLetter, EntryRejected, Filed
from app.settings import Settings, read_settings
from app.wiring.commands import opened

BATCH = 100


def replay(
    files: Annotated[list[Path], typer.Argument(help="Log files with audit lines; - is standard input.")],
) -> None:
    """Store the records that a server without a durable disk wrote to its log; exit code 1 unless all are stored."""
    with clear_errors():
        whole = asyncio.run(_replay(read_settings(), files, Console(markup=False, emoji=False)))
    raise typer.Exit(0 if whole else 1)


async def _replay(settings: Settings, files: list[Path], console: Console) -> bool:
    """Read every line of every file, since the parts of a record may lie apart; say what is missing."""
    reader, fates = Replay(), Counter[str]()
    async with opened(settings) as (_, pool):
        found = _filed(reader, files, fates)
        store = RunStore(pool)
        while batch := list(islice(found, BATCH)):
            for filed in await _store(store, batch, fates):
                await store.bury([_letter(filed, "conflict", "another content is recorded")])
    _tell(fates, console)
    for missing in reader.missing:
        console.print(f"incomplete: run {missing.run_id}, {missing.seen} of {missing.parts} parts", soft_wrap=True)
    if not fates and not reader.missing:
        console.print("there is no audit line")
    return not reader.missing and fates.keys() <= {"stored", "duplicate"}


def _filed(reader: Replay, files: list[Path], fates: Counter[str]) -> Iterator[Filed]:
    """Every entry that the files have whole; of one that cannot be read the others take no harm."""
    for line in _lines(files):
        try:
            filed = reader.feed(line)
        except Undecodable:
            fates["undecodable"] += 1
            continue
        if filed is not None:
            yield filed


async def _store(store: RunStore, batch: Sequence[Filed], fates: Counter[str]) -> list[Filed]:
    """Store a batch, or each by itself when one of them is not to be stored; what cannot be becomes a dead letter.

    Returns those of which another content is there.
    """
    try:
        found: list[str] = list(await store.write(batch))
    except EntryRejected as error:
        if len(batch) > 1:
            return [other for filed in batch for other in await _store(store, [filed], fates)]
        await store.bury([_letter(batch[0], "rejected", error.message)])
        found = ["dead-lettered"]
    fates.update(found)
    return [filed for filed, fate in zip(batch, found, strict=True) if fate == "conflict"]


def _letter(filed: Filed, reason: Literal["rejected", "conflict"], error: str) -> DeadLetter:
    entry = filed.entry
    return DeadLetter(filed.digest, entry.id, entry.version, reason, error, encode(entry))


def _lines(files: list[Path]) -> Iterator[str]:
    """Every line of every file, `-` being standard input."""
    with contextlib.ExitStack() as stack:
        for path in files:
            source: TextIO = sys.stdin if str(path) == "-" else stack.enter_context(path.open(errors="replace"))
            yield from source


def _tell(fates: Counter[str], console: Console) -> None:
    for fate, count in sorted(fates.items()):
        console.print(f"{count:,} {fate}")


def _experiment(name: str) -> str:
    """A name that a question could carry as well."""
    if not 1 <= len(name) <= 128:
        raise typer.BadParameter("must have 1 to 128 characters")
    return name


def import_(
    file: Annotated[Path, typer.Argument(help="JSON Lines, perhaps gzipped.", exists=True, dir_okay=False)],
    experiment: Annotated[str, typer.Option(help="The experiment that these runs belong to.", callback=_experiment)],
    caller: Annotated[str, typer.Option(help="Whose runs these become.")] = "local",
) -> None:
    """Load pairs of recorded answers as finished runs; importing a file twice adds nothing twice.

    A line is an object with question, fast_text and slow_text, and perhaps fast_correct, slow_correct, fast_model,
    slow_model, fast_latency_ms, slow_latency_ms, fast_ttft_ms, slow_ttft_ms, class, variant, created_at.
    """
    with clear_errors():
        asyncio.run(_import(read_settings(), file, experiment, Caller(caller)))


async def _import(settings: Settings, file: Path, experiment: str, caller: Caller) -> None:
    """Store batch by batch; of a file with a wrong line everything before that line."""
    console, fates = Console(), Counter[str]()
    redact = Redactor(settings.audit_content, settings.audit_max_text_chars)
    async with opened(settings) as (way, pool):
        store, past = RunStore(pool), Experiments(pool, way)
        first = await past.first_import(caller, redact.remark(experiment)) or datetime.now(UTC)
        day = first.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
        oldest = datetime.now(UTC) - timedelta(days=settings.run_days)
        source = _Until(read_file(file, Import(caller, experiment, day, max(oldest, EPOCH))))
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
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
    fates["duplicate"] += fates.pop("conflict", 0)  # the same line, which was judged or redacted otherwise then
    _tell(+fates, console)
    if source.refused is not None:
        raise ImportRefused(f"{file}: {source.refused.message}") from source.refused
    console.print(f"see /api/experiments/agreement?experiment={quote_plus(experiment)}", soft_wrap=True)


class _Until:
    """The runs of a file up to its first wrong line, and what is wrong with that."""

    def __init__(self, runs: Iterator[Imported]) -> None:
        self._runs = runs
        self.refused: ImportRefused | None = None

    def __iter__(self) -> Iterator[Imported]:
        return self

    def __next__(self) -> Imported:
        try:
            return next(self._runs)
        except ImportRefused as error:
            self.refused = error
            raise StopIteration from error


def export(
    out: Annotated[Path, typer.Option(help="The file to write; - is standard output.")] = Path("-"),
    csv: Annotated[bool, typer.Option("--csv", help="A table instead of JSON Lines.")] = False,
    payload: Annotated[bool, typer.Option(help="With questions and answers.")] = True,
    caller: Annotated[str, typer.Option(help="Whose runs.")] = "local",
) -> None:
    """All of a caller's records, newest first."""
    with clear_errors():
        encoder = exporting.Table(payload=payload) if csv else exporting.Lines()
        asyncio.run(_export(read_settings(), out, encoder, Caller(caller), payload=payload))


async def _export(settings: Settings, out: Path, encoder: exporting.Encoder, caller: Caller, *, payload: bool) -> None:
    """Begin the file when the first records are there: it may hold the export before."""
    async with opened(settings) as (way, pool):
        found = await Experiments(pool, way).export(caller, Filters(), payload=payload)
        with contextlib.closing(found):
            records = await found.batch()
            with _sink(out) as sink:
                while records:
                    sink.write(encoder.encode(records))
                    records = await found.batch()
                sink.write(encoder.end())


def _sink(out: Path) -> contextlib.AbstractContextManager[BinaryIO]:
    """The file, or standard output, which stays open."""
    return contextlib.nullcontext(sys.stdout.buffer) if str(out) == "-" else out.open("wb")
