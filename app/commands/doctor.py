"""tandem doctor: looks at everything a server needs and says what to do; all it makes is the spool's folder."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.commands.checks import lanes, machine, stores
from app.commands.checks.finding import Finding, Mark, worst
from app.errors import StartupError
from app.settings import Settings, read_settings

SHOWN: Final[dict[Mark, str]] = {
    "ok": "[green]ok[/]", "off": "[dim]off[/]", "mend": "[yellow]mend[/]", "stop": "[red]stop[/]",
}  # fmt: skip
LAST_WORD: Final = ("all is well", "something is to be mended", "the server cannot start so")

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    live: Annotated[bool, typer.Option("--live", help="Ask each model for one token, which costs money.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check settings, stores, models and this machine. Exit status: 0 all well, 1 to be mended, 2 cannot start."""
    findings = asyncio.run(examined(live=live))
    status = worst(findings)
    if as_json:
        told = {"status": status, "checks": [asdict(finding) for finding in findings]}
        typer.echo(json.dumps(told, indent=2))
    else:
        console = Console()
        console.print(table(findings))
        console.print(LAST_WORD[status])
    raise typer.Exit(status)


async def examined(*, live: bool) -> list[Finding]:
    """Everything that was looked at; without settings that can be read, only the machine."""
    findings = [machine.python(), machine.files()]
    try:
        settings = read_settings()
    except StartupError as error:
        return [Finding("settings", "stop", error.message, "RUNBOOK.md, Settings"), *findings]
    findings.insert(0, Finding("settings", "ok", "every variable is valid"))
    for look in (_of_machine(settings), stores.database(settings), _one(stores.redis, settings)):
        findings += [finding async for finding in look]
    findings += [finding async for finding in lanes.lanes(settings, live=live)]
    priced = lanes.prices(settings)
    findings += [priced, *(lanes.costs(settings) if priced.mark != "stop" else ())]
    return [*findings, await lanes.traces(settings)]


async def _of_machine(settings: Settings) -> AsyncIterator[Finding]:
    """In a thread: a sick disk or name server may take long."""

    def all_of_it() -> list[Finding]:
        return [machine.port(settings), machine.home(settings), *machine.spool(settings)]

    for finding in await asyncio.to_thread(all_of_it):
        yield finding


async def _one(look: Callable[[Settings], Any], settings: Settings) -> AsyncIterator[Finding]:
    yield await look(settings)


def table(findings: list[Finding]) -> Table:
    """For people."""
    shown = Table(box=None, pad_edge=False)
    for heading in ("", "check", "found", "what to do"):
        shown.add_column(heading, overflow="fold")
    for finding in findings:
        shown.add_row(SHOWN[finding.mark], finding.check, _plain(finding.told), _plain(finding.fix))
    return shown


def _plain(text: str) -> Text:
    """Text that is no markup, and has no emoji in it: of `vertex:x:y` nothing is to be replaced."""
    return Text(text)
