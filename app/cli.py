"""tandem serve | ask | migrate | psql | audit | cache: the program's commands."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console

from app import audit, caching
from app.errors import StartupError
from app.http.server import bind, build
from app.logs import configure
from app.main import create_app
from app.postgres.migrate import migrate as apply_migrations
from app.postgres.pool import check_dsn, translated
from app.settings import Settings, read_settings
from app.terminal.ask import ask as ask_in_terminal
from app.wiring import open_services
from app.wiring.commands import clear_errors

FILES = 65_536

app = typer.Typer(add_completion=False, no_args_is_help=True, help="One question, two models, one truthful stream.")
app.add_typer(audit.app, name="audit")
app.add_typer(caching.app, name="cache")


@app.command()
def serve() -> None:
    """Serve until SIGTERM or Ctrl-C. Settings are environment variables; RUNBOOK.md lists them."""
    with clear_errors():
        settings = read_settings()
        configure(settings.log_format, settings.log_level)
        with (
            contextlib.closing(bind(settings.host, settings.port)) as listener,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt),
        ):
            runner.run(_serve(settings, listener))


async def _serve(settings: Settings, listener: socket.socket) -> None:
    """Open the parts, serve, and close them again, also when a signal comes before the server stands."""
    _raise_file_limit()
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    ended_early = partial(_cancel_soon, loop, task)
    signal.signal(signal.SIGTERM, ended_early)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means it
        signal.signal(signal.SIGHUP, ended_early)
    async with open_services(settings) as services:
        application = create_app(services.parts, guard_loopback=settings.loopback and settings.auth == "off")
        server = build(application, services.drain, settings.shutdown_grace_s, settings.send_timeout_s)
        _banner(settings, listener.getsockname()[1])
        if signal.getsignal(signal.SIGHUP) is ended_early:  # a terminal that closes is a stop like any other
            signal.signal(signal.SIGHUP, server.handle_exit)
        _spare_the_collector()
        await server.serve(sockets=[listener])
    if asyncio.all_tasks() - {task}:  # the loop would wait for what does not stop, for as long as that pleases
        logging.shutdown()
        os._exit(0)


def _cancel_soon(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None], *_: object) -> None:
    """What a signal does before the server stands: end the start, and what it has opened."""
    loop.call_soon_threadsafe(task.cancel)


def _raise_file_limit() -> None:
    """A stream needs three files, its own and two upstream; the usual soft limit of 1,024 would end at 340."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # some systems keep a lower limit than they tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _spare_the_collector() -> None:
    """Take everything that was made to start out of the garbage collector's rounds, and let them come less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def _banner(settings: Settings, port: int) -> None:
    """Tell where, with which models and on which database."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    database = "DATABASE_URL" if settings.database_url else f"embedded, in {settings.tandem_home}"
    typer.echo(f"Tandem  http://{host}:{port}/", err=True)
    typer.echo(f"  fast      {settings.fast_model}", err=True)
    typer.echo(f"  slow      {settings.slow_model}", err=True)
    typer.echo(f"  database  PostgreSQL, {database}", err=True)


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


@app.command()
def migrate() -> None:
    """Bring the database of DATABASE_URL up to this version's schema (the embedded one is migrated at each start)."""
    with clear_errors():
        settings = read_settings()
        if settings.database_url is None:
            raise StartupError("set DATABASE_URL; the embedded database is migrated whenever the server starts")
        dsn = settings.database_url.get_secret_value()
        check_dsn(dsn)
        with translated():
            applied = asyncio.run(apply_migrations(dsn))
    typer.echo("\n".join(applied) if applied else "nothing to do")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """Open psql on the database of a running server; further arguments go to psql."""
    with clear_errors():
        settings = read_settings()
        home = Path(settings.tandem_home)
        command = [sys.executable, "-m", "app.postgres.embedded", "--home", str(home), "psql", *context.args]
        os.execv(command[0], command)  # noqa: S606  # our own interpreter


def main() -> None:
    """The entry point."""
    app()


if __name__ == "__main__":
    main()
