"""Every query of the dashboard, asked of a real Prometheus: `python -m bench.dashboard`; needs `prometheus`.

A server answers questions of every kind, some of which fail, while Prometheus scrapes it once a second. Then the
expressions of each panel are run as Grafana would, with its variables filled in: none may be wrong, and none may be
empty but those that are about what did not happen here.
"""

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import typer
from rich.console import Console
from rich.table import Table

from bench.answers import serving
from bench.processes import ROOT
from bench.servers import folder, free_port, get

DASHBOARD: Final = ROOT / "deploy" / "monitoring" / "dashboard.json"
FILLED: Final = {
    "$__rate_interval": "20s",
    "$__interval": "5s",
    "$__range": "1m",
    "$instance": ".*",
}
MODELS: Final = {
    "FAST_MODEL": "scripted:fast?first=0.01&gap=0",
    "SLOW_MODEL": "scripted:slow?first=0.02&gap=0",
    "LOAD_MAX_RACES": "2",
    "QUEUE_LENGTH": "0",
    "FAST_TIMEOUT_S": "0.3",
}
# What does not happen in a short and healthy life, so that there is nothing to show: by a part of the expression.
MAY_BE_EMPTY: Final = ("ALERTS", "tandem_limit_exceeded_total", "tandem_cache_evictions_total", "tandem_cost_usd_total")


def queries(board: dict[str, Any]) -> list[tuple[str, str]]:
    """Panel by panel, each expression as it is asked; of annotations and variables too."""
    found = [("annotation", mark["expr"]) for mark in board["annotations"]["list"] if "expr" in mark]
    found += [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel.get("targets", ())]
    return [(title, filled(expression)) for title, expression in found]


def filled(expression: str) -> str:
    """An expression without variables. ValueError for one that nobody fills in."""
    for name, value in FILLED.items():
        expression = expression.replace(name, value)
    if re.search(r"\$\w", expression):
        raise ValueError(f"a variable that is not known here: {expression}")
    return expression


@contextlib.contextmanager
def prometheus(place: Path, port: int) -> Iterator[int]:
    """A Prometheus that looks at that server once a second: its port."""
    own, config = free_port(), place / "prometheus.yml"
    scrape = {
        "job_name": "tandem",
        "metrics_path": "/prometheus",
        "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
    }
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))  # JSON is YAML
    listen, data = f"--web.listen-address=127.0.0.1:{own}", f"--storage.tsdb.path={place / 'data'}"
    with (place / "prometheus.log").open("wb") as output:
        command = ["prometheus", f"--config.file={config}", listen, data]
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        until = time.monotonic() + 20
        while get(own, "/-/ready")[0] != 200 and time.monotonic() < until:
            time.sleep(0.1)
        yield own
    finally:
        process.terminate()
        process.wait(10)


async def live(port: int, seconds: float) -> None:
    """Questions of every kind for so long: answered, stored, refused, wrong, timed out, cancelled."""
    hang = {"model": "scripted:hang"}
    bodies: list[dict[str, Any]] = [
        {"input": "Why?"}, {"input": "Why?", "cache": "off"}, {"input": "Why?", "fast": hang}, {"wrong": 1},
        {"input": "Why?", "fast": hang, "slow": hang, "deadline_s": 0.4},
        {"input": "Why?", "slow": {"model": "scripted:fails"}},
    ]  # fmt: skip
    until, turn = time.monotonic() + seconds, 0
    async with aiohttp.ClientSession() as http:
        while time.monotonic() < until:
            turn += 1
            await asyncio.gather(*(_ask(http, port, body) for body in bodies))
            async with http.get(f"http://127.0.0.1:{port}/health/") as response:
                await response.read()
            await asyncio.sleep(0.2)


async def _ask(http: aiohttp.ClientSession, port: int, body: dict[str, Any]) -> None:
    async with http.post(f"http://127.0.0.1:{port}/v1/reason", json=body) as response:
        await response.read()


def run(port: int, expression: str) -> tuple[str, int]:
    """What Prometheus says to an expression: `ok` or what is wrong, and how many series it found."""
    status, body = get(port, f"/api/v1/query?query={urllib.parse.quote(expression)}")
    told = json.loads(body)
    if status != 200:
        return told["error"], 0
    numbers = [row["value"][1] for row in told["data"]["result"]]
    return "ok", sum(number != "NaN" for number in numbers)


def main(seconds: Annotated[float, typer.Option(min=5, max=600, help="Of life before the queries.")] = 12.0) -> None:
    """Print what each query found; exit code 1 when one was wrong, or empty that should not be."""
    if shutil.which("prometheus") is None:
        raise SystemExit("bench.dashboard: apt-get install prometheus")
    table, wrong = Table("panel", "series", "said", "query"), 0
    with folder() as logs, serving(logs, **MODELS) as (port, _), prometheus(logs, port) as asked:
        asyncio.run(live(port, seconds))
        for title, expression in queries(json.loads(DASHBOARD.read_text())):
            said, series = run(asked, expression)
            excused = any(part in expression for part in MAY_BE_EMPTY)
            if said != "ok" or not (series or excused):
                wrong += 1
                table.add_row(title, str(series), said, expression)
            elif not series:
                table.add_row(title, "0", "as nothing happened", expression)
    console = Console(width=180, highlight=False)
    console.print(table)
    console.print(f"{wrong} of {len(queries(json.loads(DASHBOARD.read_text())))} queries wrong")
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    typer.run(main)
