"""tandem stats: what the records of a running server say together."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from app.failing import clear_errors
from app.terminal.screen import screen
from app.terminal.server import LOCAL_URL, Url, server
from app.terminal.stats import show
from app.terminal.words import since as counted_back

app = typer.Typer(add_completion=False)


@app.command()
def stats(  # noqa: PLR0913, PLR0917  # an option of the command is an argument
    since: Annotated[str | None, typer.Option(help="From then on: 90m, 24h, 7d, or a moment in ISO 8601.")] = "24h",
    until: Annotated[str | None, typer.Option(help="Before then.")] = None,
    experiment: Annotated[str | None, typer.Option(help="Of this experiment alone.")] = None,
    variant: Annotated[str | None, typer.Option(help="Of this variant alone.")] = None,
    prompt_class: Annotated[str | None, typer.Option("--class", help="Of this class of questions alone.")] = None,
    model: Annotated[str | None, typer.Option(help="With this model in either lane.")] = None,
    by: Annotated[
        str | None, typer.Option(help="Group by these, a comma list; the server lists what it knows.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    url: Url = LOCAL_URL,
) -> None:
    """Counts, latencies, cost and agreement of past runs. Exit status: 0, or 2 when they cannot be read."""
    with clear_errors():
        now = datetime.now(UTC)
        wanted: dict[str, Any] = {
            "since": counted_back(since, now), "until": counted_back(until, now), "experiment": experiment,
            "variant": variant, "prompt_class": prompt_class, "model": model,
        }  # fmt: skip
        numbers, verdicts = asyncio.run(_read(url, wanted, by))
    if as_json:
        typer.echo(json.dumps({"stats": numbers, "agreement": verdicts}, indent=2))
    else:
        show(numbers, verdicts, screen())


async def _read(url: str, wanted: dict[str, Any], by: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What /api/experiments/stats and /agreement say."""
    async with server(url) as running:
        numbers = await running.read("/api/experiments/stats", **wanted, by=by)
        return numbers, await running.read("/api/experiments/agreement", **wanted)
