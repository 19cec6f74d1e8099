"""tandem top: what a running server does now, drawn again and again."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from app.errors import TandemError
from app.failing import clear_errors
from app.terminal.screen import screen
from app.terminal.server import LOCAL_URL, Server, Url, pause_after, server
from app.terminal.top import look, picture
from app.terminal.words import safe

app = typer.Typer(add_completion=False)


@app.command()
def top(
    window: Annotated[Literal["5m", "1h", "24h"], typer.Option(help="Percentiles over this span.")] = "5m",
    every_s: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end, as when the output is no terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Look once and print one JSON object.")] = False,
    url: Url = LOCAL_URL,
) -> None:
    """Show what a running server does now, until Ctrl-C; with keys it takes one of the role `admin`."""
    console = screen()
    with clear_errors():
        try:
            asyncio.run(_show(url, console, window, None if once or as_json else every_s, as_json=as_json))
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


async def _show(url: str, console: Console, window: str, every_s: float | None, *, as_json: bool) -> None:
    async with server(url) as running:
        seen = await look(running)
        if as_json:
            metrics, health = seen
            typer.echo(json.dumps({"metrics": metrics, "health": health}, indent=2))
        elif every_s is None or not console.is_terminal:
            console.print(picture(seen, window))
        else:
            await again(running, console, window, every_s)


async def again(
    running: Server,
    console: Console,
    window: str,
    every_s: float,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Look and draw until this is cancelled; a server that is away or busy for a while is waited for."""
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            pause_s = every_s
            try:
                live.update(picture(await look(running), window), refresh=True)
            except TandemError as error:
                pause_s = pause_after(error, every_s)
                live.update(Text(safe(f"{error.message}\nLooking again in {pause_s:g} s.")), refresh=True)
            await sleep(pause_s)
