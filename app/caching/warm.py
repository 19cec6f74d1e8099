"""tandem cache warm: ask the most asked questions of the record now, so that their answers are there when they come."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, NamedTuple

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from app.errors import TandemError
from app.failing import clear_errors
from app.postgres.questions import most_asked
from app.settings import Settings, read_settings
from app.terminal.server import LOCAL_URL, Server, Url, server
from app.terminal.stream import NoTandem, Refused, Unreachable
from app.wiring.commands import opened

Outcome = Literal["already there", "answered", "failed"]
SHOWN: Final = 10  # failures that are told one by one


class NothingStored(TandemError):
    """The server keeps no answers: to ask it in advance is of no use."""

    code = "nothing_stored"


class Warmed(NamedTuple):
    """What became of one question."""

    outcome: Outcome
    fingerprint: str
    why: str = ""


class Wish(NamedTuple):
    """Which questions, and how they are asked."""

    top: int
    hours: float
    caller: str | None
    refresh: bool
    concurrency: int


def warm(  # noqa: PLR0913, PLR0917  # an option of the command is an argument
    top: Annotated[int, typer.Option(min=1, max=10_000, help="The most asked so many.")] = 50,
    hours: Annotated[float, typer.Option(min=0.1, max=87_600, help="Counted over these last hours.")] = 24.0,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask anew what is stored already.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="So many at once.")] = 2,
    caller: Annotated[
        str | None, typer.Option(help="Whose questions. Default: local, or all if CACHE_SCOPE=global.")
    ] = None,
    url: Url = LOCAL_URL,
) -> None:
    """Ask the most asked questions of the record at the running server, each with its own models and parameters.

    Labels other than the prompt class, which decides how long an answer is kept, are left out. It costs what asking
    costs. The exit code is 1 unless every question has a stored answer afterwards.
    """
    with clear_errors():
        settings = read_settings()
        whose = caller or (None if settings.cache_scope == "global" else "local")
        wish = Wish(top, hours, whose, refresh, concurrency)
        warmed = asyncio.run(_warm(settings, url, wish, Console(emoji=False)))
    raise typer.Exit(1 if any(one.outcome == "failed" for one in warmed) else 0)


async def _warm(settings: Settings, url: str, wish: Wish, console: Console) -> list[Warmed]:
    """Ask and print the summary."""
    async with server(url) as running:
        if (await running.stats())["status"] == "off":
            raise NothingStored("this server stores no answers (CACHE=false)")
        since = datetime.now(UTC) - timedelta(hours=wish.hours)
        async with opened(settings) as (_, pool):
            questions = await most_asked(pool, wish.caller, since, wish.top)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("asking", total=len(questions))
            warmed = await _ask_all(running, questions, wish, lambda: progress.advance(task))
    _tell(warmed, console)
    return warmed


async def _ask_all(
    running: Server, questions: list[dict[str, Any]], wish: Wish, on_end: Callable[[], None]
) -> list[Warmed]:
    """A few workers take one question after another."""
    left, warmed = iter(questions), list[Warmed]()

    async def work(left: Iterator[dict[str, Any]]) -> None:
        for question in left:
            warmed.append(await _ask(running, question, refresh=wish.refresh))
            on_end()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(wish.concurrency, len(questions))):
            group.create_task(work(left))
    return warmed


async def _ask(running: Server, question: dict[str, Any], *, refresh: bool) -> Warmed:
    """One question; whatever goes wrong with it, the others are still asked."""
    fingerprint = question["fingerprint"]
    try:
        headers, told = await running.call("POST", "/v1/reason", body_of(question, refresh=refresh))
        done = told["done"]
    except (Refused, Unreachable, NoTandem) as error:
        return Warmed("failed", fingerprint, error.message)
    if done["status"] != "completed":
        return Warmed("failed", fingerprint, f"{done['status']} ({done['reason']}): only verified answers are stored")
    return Warmed("already there" if headers.get("x-run-source") == "cache" else "answered", fingerprint)


def body_of(question: dict[str, Any], *, refresh: bool) -> dict[str, Any]:
    """What to post for a question of the record, so that it has the same fingerprint."""
    parameters, prompt_class = question["parameters"], question["labels"]["prompt_class"]
    lanes = {
        lane: {name: value for name, value in parameters[lane].items() if value is not None}
        for lane in ("fast", "slow")
    }
    return {
        "messages": question["messages"],
        "policy": question["policy"],
        **lanes,
        "deadline_s": parameters["deadline_s"],
        "cache": "refresh" if refresh else "use",
        "stream": False,
        **({"prompt_class": prompt_class} if prompt_class else {}),
    }


def _tell(warmed: list[Warmed], console: Console) -> None:
    """How many of each, and why some failed."""
    counts = Counter(one.outcome for one in warmed)
    table = Table("already there", "answered", "failed")
    table.add_row(*(str(counts[outcome]) for outcome in ("already there", "answered", "failed")))
    console.print(table)
    for one in [one for one in warmed if one.outcome == "failed"][:SHOWN]:
        console.print(f"failed: {one.fingerprint[:16]}: {one.why}", soft_wrap=True, highlight=False, markup=False)
    if not warmed:
        console.print("the record has no question to ask: none in these hours, or their texts are not kept")
