"""`tandem ask`: one question, both lanes live in the terminal; piped, the final answer and nothing else."""

import asyncio
import json
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import httpx
import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from app.terminal.server import client
from app.terminal.stream import Event, Lost, NoTandem, Refused, Run, Unreachable
from app.terminal.view import Progress, picture
from app.terminal.words import CHANGES, safe

OK, NO_ANSWER, NOT_ASKED, UNVERIFIED, INTERRUPTED = 0, 1, 2, 3, 130
# The server sends at least a comment every 15 s: three times that in silence is a lost connection.
TIMEOUT: Final = httpx.Timeout(10.0, read=45.0)
FRAMES_PER_SECOND: Final = 12
BELOW_THE_LANES: Final = 11  # rows for borders, labels, numbers and the lines below


async def ask(url: str, body: dict[str, Any], *, json_output: bool, console: Console) -> int:
    """Ask the server at url and show the run; the exit code.

    0: a verified answer; 3: an unverified one; 1: none; 2: refused, or no Tandem there; 130: interrupted. Cancelling
    the task, which is what Ctrl-C does under `asyncio.run`, cancels the run on the server and returns 130.
    """
    progress = Progress()
    errors = Console(stderr=True, emoji=False)
    live = console.is_terminal and not json_output

    def on_event(event: Event) -> None:
        progress.source = run.source
        progress.apply(event)
        if json_output:
            line = {"event": event.name, "id": event.id, "data": event.data}
            console.out(json.dumps(line, separators=(",", ":")), highlight=False)

    async with client(url, TIMEOUT) as http:
        run = Run(http, on_event)
        try:
            with _shown(progress, console) if live else nullcontext():
                await run.follow(body)
        except asyncio.CancelledError:
            return await _interrupted(run, errors)
        except (Refused, Unreachable, NoTandem, Lost) as error:
            _say(error, url, errors)
            return NO_ANSWER if isinstance(error, Lost) else NOT_ASKED
    if live:
        console.print(picture(progress, console))
    elif not json_output:
        _print_plain(progress, console, errors)
    if progress.final is None:
        return NO_ANSWER
    return OK if progress.final.get("verified") else UNVERIFIED


def _shown(progress: Progress, console: Console) -> AbstractContextManager[Live]:
    """The lanes while they run, the ends of long texts only; they vanish for the whole picture afterwards."""
    return Live(
        get_renderable=lambda: picture(progress, console, max(console.height - BELOW_THE_LANES, 3)),
        console=console,
        refresh_per_second=FRAMES_PER_SECOND,
        transient=True,
    )


async def _interrupted(run: Run, errors: Console) -> int:
    """Tell the server to stop, and the person what became of it."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
    if run.source == "attached":  # only who began it may stop it
        errors.print(Text(f"Left. Run {run.id} goes on for those who read it."))
        return INTERRUPTED
    stopped = await run.cancel()
    if run.id is not None:
        errors.print(Text(f"Stopped. Run {run.id} {'was cancelled' if stopped else 'could not be cancelled'}."))
    return INTERRUPTED


def _say(error: Refused | Unreachable | NoTandem | Lost, url: str, errors: Console) -> None:
    """A message that names what to do next."""
    if isinstance(error, Unreachable):
        words = (
            f"No server answers at {url}. Start one with `tandem serve` (or `make run`), or name another with --url."
        )
    elif isinstance(error, Refused):
        wait = f" Try again in {error.retry_after} s." if error.retry_after else ""
        words = f"Refused by {url}: {error.message} ({error.status} {error.problem_code}){wait}"
    else:
        words = f"{error.message[0].upper()}{error.message[1:]}."
    errors.print(Text(safe(words)), soft_wrap=True)


def _print_plain(progress: Progress, console: Console, errors: Console) -> None:
    """The final answer on standard output; what its reader should know of it on standard error."""
    if progress.final is not None:
        typer.echo(safe(progress.final["text"]), file=console.file)  # as it is: rich would make spaces of its tabs
        if not progress.final.get("verified"):
            errors.print(Text(CHANGES["unverified"]), soft_wrap=True)
        return
    done = progress.done or {}
    errors.print(Text(f"No answer: {done.get('status', 'over')} ({done.get('reason')})."), soft_wrap=True)
