"""tandem race: a file of questions asked of a running server, and how often its two models agreed."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.errors import TandemError
from app.failing import clear_errors
from app.terminal.ask import TIMEOUT
from app.terminal.race import Asked, Body, Race, counted, questions_of, recorded
from app.terminal.screen import screen
from app.terminal.server import LOCAL_URL, Server, Url, client
from app.terminal.stats import agreement
from app.terminal.stream import NoTandem, Unreachable
from app.terminal.typed import STANDARD_INPUT, UTF8, standard_input, text_of

app = typer.Typer(add_completion=False)
ALL_ANSWERED, SOME_NOT, INTERRUPTED = 0, 1, 130
SHOWN = 10  # failures that are told one by one


@app.command()
def race(  # noqa: PLR0913, PLR0917  # an option of the command is an argument
    questions: Annotated[
        Path,
        typer.Argument(
            help="One question a line, as text or JSON with input, prompt_class, tags; - reads standard input."
        ),
    ],
    n: Annotated[int, typer.Option("--n", "-n", min=1, max=100_000, help="The first so many.")] = 100_000,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="So many at the same time.")] = 2,
    fast: Annotated[str | None, typer.Option(help="The fast lane's model, as provider:model.")] = None,
    slow: Annotated[str | None, typer.Option(help="The slow lane's model.")] = None,
    policy: Annotated[str | None, typer.Option(help="How both lanes are asked.")] = None,
    experiment: Annotated[str | None, typer.Option(help="The label of all runs. Default: race- and the time.")] = None,
    variant: Annotated[str | None, typer.Option(help="A second label, to compare with another race.")] = None,
    cache: Annotated[Literal["use", "refresh", "off"], typer.Option(help="What may answer instead.")] = "off",
    out: Annotated[Path | None, typer.Option(help="Write each end as a line of JSON to this new file.")] = None,
    url: Url = LOCAL_URL,
) -> None:
    """Ask a set of questions, and print how often both models agreed, as the record has it.

    Exit status: 0 every question has an answer, 1 not all, 2 not asked, 130 interrupted. It costs what asking costs.
    """
    label = experiment or f"race-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    lanes = {name: {"model": model} for name, model in (("fast", fast), ("slow", slow)) if model is not None}
    said = {"policy": policy, "variant": variant, "experiment": label, "cache": cache, **lanes}
    shared = {name: value for name, value in said.items() if value is not None}
    with clear_errors():
        bodies = _read(questions, n)
        with _new(out) if out else nullcontext() as file:
            code = asyncio.run(raced(url, bodies, shared, at_once, file))
    raise typer.Exit(code)


def _read(path: Path, most: int) -> list[Body]:
    """The questions of a file, or of standard input."""
    if str(path) == "-":
        with text_of(STANDARD_INPUT):
            return questions_of(standard_input(), STANDARD_INPUT, most)
    with text_of(str(path)), path.open(encoding=UTF8) as lines:
        return questions_of(lines, str(path), most)


@contextmanager
def _new(path: Path) -> Iterator[TextIO]:
    """A new file, there before anything is paid for; one into which nothing was written is taken away again."""
    with path.open("x", encoding="utf-8") as file:
        try:
            yield file
        finally:
            if file.tell() == 0:
                path.unlink(missing_ok=True)


async def raced(url: str, bodies: list[Body], shared: Body, at_once: int, file: TextIO | None) -> int:
    """Ask, show the progress and then the tables; the exit status."""
    asked: list[Asked] = []
    console, errors = screen(), Console(stderr=True, emoji=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with client(url, TIMEOUT) as http:
        with Progress(*columns, console=errors, disable=not errors.is_terminal) as progress:
            task = progress.add_task("asking", total=len(bodies))

            def on_end(one: Asked) -> None:
                asked.append(one)
                if file is not None:
                    file.write(json.dumps(one.line()) + "\n")
                progress.update(task, advance=1, description=_counts(counted(asked)["status"]))

            interrupted, gone = False, None
            try:
                await Race(http, shared, on_end).run(bodies, at_once)
            except asyncio.CancelledError:
                interrupted = True
                _uncancel()
            except (Unreachable, NoTandem) as error:
                if not asked:
                    raise
                gone = error
        await _tell(Server(http, url), shared["experiment"], asked, console)
    if gone is not None:
        console.print(f"{gone.message}: {len(bodies) - len(asked):,} were not asked", soft_wrap=True, markup=False)
    answered = gone is None and all(one.final is not None for one in asked)
    return INTERRUPTED if interrupted else ALL_ANSWERED if answered else SOME_NOT


def _uncancel() -> None:
    """Ctrl-C was heard: what was asked so far is still told."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


async def _tell(running: Server, experiment: str, asked: Sequence[Asked], console: Console) -> None:
    """How the runs ended, what went wrong, and the agreement."""
    counts = counted(asked)
    console.print(f"{len(asked):,} asked: {_counts(counts['status'])}")
    if counts["change"]:
        console.print(f"final answers: {_counts(counts['change'])}")
    for one in [one for one in asked if one.status not in {"completed", "partial"}][:SHOWN]:
        question = str(one.question.get("input", "a conversation"))[:60]
        console.print(f"{one.status}: {question!r}: {one.why}", soft_wrap=True, markup=False)
    try:
        verdicts = await recorded(running, experiment, asked)
    except TandemError as error:
        console.print(f"The agreement cannot be read: {error.message}", soft_wrap=True, markup=False)
    else:
        if verdicts["total"]["n"]:
            console.print()
            console.print(agreement(verdicts))
    more = f"\nexperiment {experiment}: `tandem stats --experiment {experiment}` tells more"
    console.print(more, soft_wrap=True, markup=False)


def _counts(counts: dict[str, Any]) -> str:
    """So many of each."""
    return ", ".join(f"{n:,} {name}" for name, n in counts.items()) or "none"
