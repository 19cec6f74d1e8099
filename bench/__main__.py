"""`python -m bench`: see bench/README.md, or --help."""

import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console

from bench import measure, report
from bench.plan import WORKLOADS, read_answer
from bench.processes import ROOT, Cores, raise_file_limit

HELP = """Measure what a streamed event costs in Tandem, against a plain pass-through of the same upstream.

Both stand before one fake upstream and are loaded in turn, as is upstream itself (`direct`), all on this machine.
Tandem asks upstream twice a request and keeps a record in PostgreSQL; the pass-through asks once and keeps nothing.
bench/README.md says how to read the table."""


def bench(  # noqa: PLR0913, PLR0917  # an option of the command is an argument
    workloads: Annotated[
        str, typer.Option(help="Of W1, W2, W3, long; or a name like 20t-10ms-200ttft.")
    ] = "W1,W2,W3,long",
    streams: Annotated[str, typer.Option(help="Numbers of open streams.")] = "1,32,256,1000",
    repeats: Annotated[int, typer.Option(min=1, max=100, help="Blocks a target and cell; the table has medians.")] = 3,
    seconds: Annotated[float, typer.Option(min=0, max=600, help="A block begins no new request after these.")] = 2.0,
    quick: Annotated[bool, typer.Option("--quick", help="W1 and W2 at 1 and 32 streams, once, briefly.")] = False,
    out: Annotated[Path | None, typer.Option(help="The JSON. Default: bench/results/TIME.json")] = None,
    external_url: Annotated[str | None, typer.Option(help="Measure this Tandem, which runs on this machine.")] = None,
    external_pid: Annotated[int, typer.Option(help="Its process, for processor time and memory.")] = 0,
    upstream_port: Annotated[int, typer.Option(help="Where the fake upstream listens; 0: anywhere.")] = 0,
    pin: Annotated[bool, typer.Option(help="Server on one half of the cores, load on the other (Linux).")] = True,
) -> None:
    if quick:
        workloads, streams, repeats, seconds = "W1,W2", "1,32", 1, min(seconds, 0.5)
    try:
        plan = measure.Plan(
            workloads={name: read_answer(WORKLOADS.get(name, name)) for name in workloads.split(",")},
            streams=[int(number) for number in streams.split(",")],
            repeats=repeats,
            seconds=seconds,
            upstream_port=upstream_port,
            external=_external(external_url, external_pid),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if external_url and not upstream_port:
        raise typer.BadParameter("an external server needs --upstream-port, where its OPENAI_BASE_URL points")
    _run(plan, pin=pin, out=out or ROOT / "bench" / "results" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json")


def _external(url: str | None, pid: int) -> measure.External | None:
    return None if url is None else measure.External(urlsplit(url).port or 80, pid)


def _run(plan: measure.Plan, *, pin: bool, out: Path) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that our children are ended on the way out
    raise_file_limit()
    cores, progress = Cores(pin=pin), Console(stderr=True, soft_wrap=True, highlight=False)
    where = report.surroundings(cores)
    try:
        cells = measure.run(plan, cores, lambda block: progress.print(report.line(block)))
    except RuntimeError as error:
        raise SystemExit(f"bench: {error}") from None
    options = {"repeats": plan.repeats, "seconds": plan.seconds, "external": plan.external is not None}
    report.write(out, {"where": where, "options": options, "cells": cells})
    console = Console(width=max(report.WIDTH, progress.width), highlight=False)
    report.show(console, cells)
    console.print(
        f"[dim]{where['processor']}, Python {where['python']}, commit {where['commit']}; all numbers: {out}[/dim]"
    )


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(help=HELP)(bench)
    app()
