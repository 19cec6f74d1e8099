"""What was measured: where (the machine, versions, commit), as JSON, and as a table for people."""

import importlib.metadata
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from bench.measure import FAULTS, Block
from bench.processes import LINUX, ROOT, Cores

PACKAGES: Final = (
    "aiohttp", "asyncpg", "fastapi", "httptools", "msgspec", "pydantic", "sse-starlette", "starlette", "uvicorn",
    "uvloop",
)  # fmt: skip

COLUMNS: Final = (
    "requests\n/s", "events\n/s", "CPU µs/event\nserver + database", "\nboth", "CPU ms\n/request",
    "1st token ms\np50 / p99", "token ms\np50 / p99", "KiB/stream\nopen / peak",
)  # fmt: skip
WIDTH: Final = 126  # of the tables; a narrower terminal would break their columns


def surroundings(cores: Cores) -> dict[str, Any]:
    """Where a result comes from, without which it cannot be compared."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "server_cores": sorted(cores.server) if cores.server else None,
        "load_cores": sorted(cores.others) if cores.others else None,
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
    }


def _processor() -> str:
    if not LINUX:
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _git(*arguments: str) -> str | None:
    return _output("git", "-c", "safe.directory=*", *arguments)


def _output(*command: str) -> str | None:
    """What a program says; None when it is missing or fails."""
    try:
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def write(path: Path, result: dict[str, Any]) -> None:
    """The whole result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def line(block: Block) -> str:
    """One block while the benchmark runs."""
    cost = f"{block['cpu_us_per_event']:8.1f} µs/event" if "cpu_us_per_event" in block else ""
    return (
        f"{block['model']:24} {block['streams']:5} streams  {block['target']:9} {block['asked']:6} requests "
        f"{block['events_per_s']:9,.0f} events/s {cost}  {_faults(block) or 'whole'}"
    )


def show(console: Console, cells: list[dict[str, Any]]) -> None:
    """One table a workload, and below it what went wrong."""
    for workload in dict.fromkeys(cell["workload"] for cell in cells):
        mine = [cell for cell in cells if cell["workload"] == workload]
        table = Table(
            title=f"{workload}: {mine[0]['model']}", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1)
        )
        table.add_column("streams", justify="right", no_wrap=True)
        table.add_column("target", no_wrap=True)
        for title in COLUMNS:
            table.add_column(title, justify="right", no_wrap=True)
        for cell in mine:
            last = cell["target"] == mine[-1]["target"]
            table.add_row(str(cell["streams"]), cell["target"], *_row(cell["median"]), end_section=last)
        console.print(table)
        for cell in mine:
            if faults := _faults(cell["median"]):
                console.print(f"  [red]{cell['target']} at {cell['streams']} streams: {faults}[/red]")


def _row(median: Block) -> list[str]:
    return [
        f"{median['requests_per_s']:,.0f}",
        f"{median['events_per_s']:,.0f}",
        _joined(median, " + ", "server_us_per_event", "database_us_per_event"),
        _joined(median, "", "cpu_us_per_event"),
        _joined(median, "", "cpu_ms_per_request"),
        _joined(median, " / ", "added_first_token_us_p50", "added_first_token_us_p99", unit=1000),
        _joined(median, " / ", "added_token_us_p50", "added_token_us_p99", unit=1000),
        _joined(median, " / ", "open_kib_per_stream", "peak_kib_per_stream"),
    ]


def _joined(median: Block, glue: str, *names: str, unit: float = 1) -> str:
    """The numbers of these names that there are, to three digits or so."""
    values = [median[name] / unit for name in names if median.get(name) is not None]
    return glue.join(
        f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"
        for value in values
    )


def _faults(block: Block) -> str:
    """Every kind of fault that happened, by its name."""
    return ", ".join(f"{block[name]:g} {name.replace('_', ' ')}" for name in FAULTS if block[name])
