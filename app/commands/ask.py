"""tandem ask: one question to a running server."""

import asyncio
from typing import Annotated, Any

import typer
from rich.console import Console

from app.terminal.ask import ask as ask_in_terminal

app = typer.Typer(add_completion=False)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    url: Annotated[str, typer.Option(envvar="TANDEM_URL", help="The server.")] = "http://127.0.0.1:8080",
    json_output: Annotated[bool, typer.Option("--json", help="Print the events as JSON lines.")] = False,
    deadline_s: Annotated[float | None, typer.Option(help="Bound on the whole run, in seconds.")] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask anew, whatever is stored.")] = False,
) -> None:
    """Ask a running server, and watch both lanes."""
    body: dict[str, Any] = {"input": question}
    if deadline_s is not None:
        body["deadline_s"] = deadline_s
    if refresh:
        body["cache"] = "refresh"
    raise typer.Exit(asyncio.run(ask_in_terminal(url, body, json_output=json_output, console=Console())))
