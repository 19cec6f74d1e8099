"""tandem runs: past runs of a running server, newest first; one of them whole; or each as it ends."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from app.errors import TandemError
from app.failing import clear_errors
from app.terminal import runs as past
from app.terminal.screen import screen
from app.terminal.server import LOCAL_URL, Url, server
from app.terminal.words import safe
from app.terminal.words import since as counted_back

app = typer.Typer(add_completion=False)

QUESTION = 22  # columns that a question has at least
Label = typer.Option(help="The label that the question was asked with.")


@app.command()
def runs(  # noqa: PLR0913, PLR0917  # an option of the command is an argument
    run_id: Annotated[str | None, typer.Argument(help="One run, to be shown whole.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many.")] = 20,
    since: Annotated[str | None, typer.Option(help="From then on: 90m, 24h, 7d, or a moment in ISO 8601.")] = None,
    until: Annotated[str | None, typer.Option(help="Before then.")] = None,
    status: Annotated[str | None, typer.Option(help="How the run ended, or `running`.")] = None,
    outcome: Annotated[str | None, typer.Option(help="How either lane ended.")] = None,
    agreement: Annotated[str | None, typer.Option(help="agree, disagree or unknown.")] = None,
    source: Annotated[str | None, typer.Option(help="live, cache or import.")] = None,
    model: Annotated[str | None, typer.Option(help="provider:model of either lane.")] = None,
    experiment: Annotated[str | None, Label] = None,
    variant: Annotated[str | None, Label] = None,
    prompt_class: Annotated[str | None, typer.Option("--class", help="The class of the question.")] = None,
    tag: Annotated[str | None, typer.Option(help="One of the run's tags.")] = None,
    slower_than_ms: Annotated[float | None, typer.Option(help="The whole run took at least so long.")] = None,
    questions: Annotated[bool, typer.Option("--questions", help="With the beginning of each question.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show each run as it ends, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each record as a line of JSON.")] = False,
    url: Url = LOCAL_URL,
) -> None:
    """List past runs, newest first; with RUN_ID show one whole. Exit status: 0, or 2 when they cannot be read."""
    wanted: dict[str, Any] = {
        "status": status, "outcome": outcome, "agreement": agreement, "source": source, "model": model,
        "experiment": experiment, "variant": variant, "prompt_class": prompt_class, "tag": tag,
        "min_latency_ms": slower_than_ms,
    }  # fmt: skip
    with clear_errors():
        now = datetime.now(UTC)
        wanted |= {"since": counted_back(since, now), "until": counted_back(until, now)}
        view = View(screen(), questions=questions, as_json=as_json)
        if run_id is not None:
            asyncio.run(_one(url, run_id, view))
        elif follow:
            _until_interrupted(url, wanted, view)
        else:
            asyncio.run(_list(url, wanted, limit, view))


class View:
    """How records are shown: for people, or as JSON lines."""

    def __init__(self, console: Console, *, questions: bool, as_json: bool) -> None:
        self.console, self.questions, self.as_json = console, questions, as_json

    def line(self, record: dict[str, Any]) -> None:
        """One record as one line."""
        if self.as_json:
            typer.echo(json.dumps(record, separators=(",", ":")))
        else:
            words = past.cells(record, questions=False)
            self.console.print(Text("  ").join(words), soft_wrap=True)


async def _list(url: str, wanted: dict[str, Any], limit: int, view: View) -> None:
    async with server(url) as running:
        found = await past.listed(running, wanted, limit, questions=view.questions)
    tell(found, view)


def tell(found: list[dict[str, Any]], view: View) -> None:
    """The records: as JSON lines, as a table, or as lines that fold where the table is too wide for the terminal."""
    if view.as_json:
        for record in found:
            view.line(record)
    elif found:
        if past.width(found, view.console) + view.questions * QUESTION <= view.console.width:
            view.console.print(past.table(found, questions=view.questions))
            return
        for record in found:
            view.console.print(past.lines(record, questions=view.questions), soft_wrap=True)
    else:
        view.console.print("No runs match. Ask one with `tandem ask`, or leave a filter out.")


async def _one(url: str, run_id: str, view: View) -> None:
    async with server(url) as running:
        record = await running.read(past.one(run_id))
    if view.as_json:
        view.line(record)
    else:
        past.show_one(record, view.console)


def _until_interrupted(url: str, wanted: dict[str, Any], view: View) -> None:
    def away(error: TandemError) -> None:
        typer.echo(f"tandem: {safe(error.message)}; waiting for it", err=True)

    async def watch() -> None:
        async with server(url) as running:
            await past.follow(running, wanted, view.line, away)

    try:
        asyncio.run(watch())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
