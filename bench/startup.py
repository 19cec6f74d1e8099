"""`python -m bench.startup`: how long a start takes, against the bare imports of the web stack, and memory at rest.

Every round starts a bare interpreter that imports fastapi, sse_starlette, asyncpg and uvicorn, and then one server
after another: scripted models on a PostgreSQL that runs, models of Vertex AI on the same (and on a gRPC server of
tests/ in place of Google's), scripted models on an embedded PostgreSQL that is started along. Seconds since the
process was started: `accepts` until the port takes a connection, `live` until GET /health/live is 200, `ready` until
GET /health/ready is. `at rest` is the resident memory of the server itself two seconds later.
"""

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from app.postgres.embedded import EmbeddedPostgres
from app.postgres.migrate import migrate
from bench.processes import Child, environment, rss_bytes
from bench.servers import folder, free_port, get
from bench.vertex import upstream

IMPORTS: Final = "import fastapi, sse_starlette, asyncpg, uvicorn"
MOMENTS: Final = ("accepts", "live", "ready")
REST_S: Final = 2.0
LOOK_S: Final = 0.002

Measured = dict[str, float]


def bench(
    repeats: Annotated[int, typer.Option(min=1, max=50, help="Rounds; the table has medians.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON there.")] = None,
) -> None:
    """Print the table, with each time as a multiple of the bare imports."""
    with folder() as home, ExitStack() as stack:
        dsn = stack.enter_context(_database(home))
        vertex_port = stack.enter_context(upstream(messages=1, gap_s=0.0))
        cases = _cases(dsn, vertex_port)
        _round(home / "warm", cases)  # byte code and page cache
        rounds = [_round(home / str(number), cases) for number in range(repeats)]
    medians = {
        name: {what: statistics.median(each[name][what] for each in rounds) for what in rounds[0][name]}
        for name in rounds[0]
    }
    _print(medians)
    if out is not None:
        out.write_text(json.dumps({"python": sys.version, "median": medians, "rounds": rounds}, indent=1))


def _cases(dsn: str, vertex_port: int) -> dict[str, dict[str, str]]:
    """The settings of every server."""
    scripted = {"FAST_MODEL": "scripted:fast", "SLOW_MODEL": "scripted:slow"}
    vertex = {
        "FAST_MODEL": "vertex:bench",
        "SLOW_MODEL": "vertex:bench",
        "VERTEX_PROJECT": "p",
        "VERTEX_ENDPOINT": f"http://127.0.0.1:{vertex_port}",
    }
    return {
        "scripted": scripted | {"DATABASE_URL": dsn},
        "vertex": vertex | {"DATABASE_URL": dsn},
        "embedded": scripted,
    }


@contextmanager
def _database(home: Path) -> Iterator[str]:
    """A migrated PostgreSQL of our own, and its address."""
    with asyncio.Runner() as runner:
        server = EmbeddedPostgres(home / "database")
        runner.run(server.__aenter__())
        try:
            runner.run(migrate(server.dsn))
            yield server.dsn
        finally:
            runner.run(server.__aexit__(None, None, None))


def _round(home: Path, cases: Mapping[str, Mapping[str, str]]) -> dict[str, Measured]:
    """Everything once."""
    home.mkdir()
    embedded = home.parent / "embedded"  # kept between rounds, as on a machine that is restarted
    homes = {name: embedded if name == "embedded" else home / name for name in cases}
    return {"imports": _imports()} | {name: _start(homes[name], home, own) for name, own in cases.items()}


def _imports() -> Measured:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, env=environment({}))
    return {"ready": time.monotonic() - began}


def _start(home: Path, logs: Path, own: Mapping[str, str]) -> Measured:
    """One server, from nothing to rest."""
    port = free_port()
    settings = {**own, "PORT": str(port), "HOST": "127.0.0.1", "TANDEM_HOME": str(home), "LOG_LEVEL": "WARNING"}
    holds: dict[str, Callable[[], bool]] = {
        "accepts": lambda: _accepts(port),
        "live": lambda: get(port, "/health/live")[0] == 200,
        "ready": lambda: get(port, "/health/ready")[0] == 200,
    }
    began = time.monotonic()
    with Child(["app.cli", "serve"], logs / "log", settings) as child:
        found: Measured = {}
        for moment in MOMENTS:
            child.await_ready(holds[moment], every_s=LOOK_S)
            found[moment] = time.monotonic() - began
        time.sleep(REST_S)
        return found | {"mib": rss_bytes(child.pid) / 2**20}


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _print(medians: Mapping[str, Measured]) -> None:
    bare = medians["imports"]["ready"]
    print(f"bare imports {bare:.2f} s\n")
    print(f"{'server':10}" + "".join(f"{moment:>16}" for moment in MOMENTS) + f"{'at rest':>12}")
    for name, found in medians.items():
        if name != "imports":
            times = "".join(f"{found[moment]:8.2f} s {found[moment] / bare:4.2f}x" for moment in MOMENTS)
            print(f"{name:10}{times}{found['mib']:8.0f} MiB")


if __name__ == "__main__":
    typer.run(bench)
