"""tandem ask: one question to a running server."""

import asyncio
import math
import sys
from typing import Annotated, Any

import typer

from app.failing import clear_errors
from app.terminal.ask import ask as ask_in_terminal
from app.terminal.screen import screen
from app.terminal.server import LOCAL_URL, Url
from app.terminal.typed import STANDARD_INPUT, standard_input, text_of

app = typer.Typer(add_completion=False)


def _finite(seconds: float | None) -> float | None:
    """A bound that a request can carry."""
    if seconds is not None and not math.isfinite(seconds):
        raise typer.BadParameter("is no number of seconds")
    return seconds


@app.command()
def ask(  # noqa: PLR0913, PLR0917  # an option of the command is an argument
    question: Annotated[str | None, typer.Argument(help="What to ask. Without it, or with -: standard input.")] = None,
    fast: Annotated[str | None, typer.Option(help="The fast lane's model, as provider:model.")] = None,
    slow: Annotated[str | None, typer.Option(help="The slow lane's model.")] = None,
    fast_timeout_s: Annotated[
        float | None, typer.Option(callback=_finite, help="Bound on the fast lane, in seconds.")
    ] = None,
    slow_timeout_s: Annotated[float | None, typer.Option(callback=_finite, help="Bound on the slow lane.")] = None,
    deadline_s: Annotated[float | None, typer.Option(callback=_finite, help="Bound on the whole run.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="How both lanes are asked; the server lists what it knows.")
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask anew, whatever is stored.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the events as JSON lines.")] = False,
    url: Url = LOCAL_URL,
) -> None:
    """Ask a running server, and watch both lanes; piped, the final answer alone.

    Exit status: 0 a verified answer, 3 an unverified one, 1 none, 2 not asked, 130 interrupted.
    """
    body: dict[str, Any] = {"policy": policy, "deadline_s": deadline_s, "cache": "refresh" if refresh else None}
    body |= {"fast": _lane(fast, fast_timeout_s), "slow": _lane(slow, slow_timeout_s)}
    said = {name: value for name, value in body.items() if value is not None}
    with clear_errors():
        said["input"] = _read() if question in {None, "-"} else question
        code = asyncio.run(ask_in_terminal(url, said, json_output=json_output, console=screen()))
    raise typer.Exit(code)


def _read() -> str:
    """The question on standard input; from a terminal, until Ctrl-D."""
    if sys.stdin.isatty():
        typer.echo("Type a question; Ctrl-D ends it.", err=True)
    with text_of(STANDARD_INPUT):
        return standard_input().read().strip()


def _lane(model: str | None, timeout_s: float | None) -> dict[str, Any] | None:
    """What was said of one lane, if anything was."""
    said = {"model": model, "timeout_s": timeout_s}
    return {name: value for name, value in said.items() if value is not None} or None
