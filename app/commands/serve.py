"""tandem serve: listen at once, load and open the parts behind the listening server, close them in the end."""

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import resource
import signal
import socket
from functools import partial
from typing import Any

import typer
import uvloop

from app.failing import clear_errors
from app.http.connection import Bounds
from app.http.doorstep import Doorstep
from app.http.opening import Opening
from app.http.server import DrainingServer, bind, build
from app.logs import configure, log_the_uncaught
from app.settings import Settings, read_settings

FILES = 65_536
# Loaded in a thread once the server listens: with what they import they are two thirds of a start.
WIRING = "app.wiring"
MAIN = "app.main"

app = typer.Typer(add_completion=False)


@app.command()
def serve() -> None:
    """Serve until SIGTERM or Ctrl-C. Settings are environment variables; RUNBOOK.md lists them."""
    with clear_errors():
        settings = read_settings()
        settings.check_bind()
        project, traced = settings.log_project or settings.vertex_project, settings.trace_endpoint is not None
        configure(settings.log_format, settings.log_level, project=project, traced=traced)
        log_the_uncaught()
        with (
            contextlib.closing(bind(settings.host, settings.port)) as listener,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt),
        ):
            runner.run(_serve(settings, listener))


class House:
    """Everything behind the listening server, from when it is loaded until it is closed."""

    def __init__(self, settings: Settings, opening: Opening, doorstep: Doorstep, port: int) -> None:
        self._settings = settings
        self._opening = opening
        self._doorstep = doorstep
        self._port = port
        self._services: Any = None
        self._left = asyncio.Event()
        self.task = asyncio.create_task(self._live(), name="house")

    async def _live(self) -> None:
        wiring, main = await asyncio.to_thread(_load)
        settings = self._settings
        async with wiring.open_services(settings, self._doorstep) as services:
            guard = settings.loopback and settings.auth == "off"
            self._opening.open(main.create_app(services.parts, guard_loopback=guard))
            self._services = services
            _banner(settings, self._port)
            _spare_the_collector()
            await self._left.wait()

    async def drain(self, grace_s: float) -> None:
        """Let the live runs end; a house that does not stand yet is not built any further."""
        if self._services is None:
            self._opening.shut()
            self.task.cancel()
        else:
            await self._services.drain(grace_s)

    async def leave(self) -> None:
        """Close everything. Raises what kept the house from standing."""
        if self._services is None:
            self.task.cancel()
        self._left.set()
        await self.task


async def _serve(settings: Settings, listener: socket.socket) -> None:
    """Listen, open the parts, serve, and close them again, also when a signal comes before they stand."""
    _raise_file_limit()
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    opening, doorstep = Opening(), Doorstep()
    house = House(settings, opening, doorstep, listener.getsockname()[1])
    server = build(opening, house.drain, settings.shutdown_grace_s, connection_bounds(settings), doorstep)
    house.task.add_done_callback(partial(_stop, server, opening))
    signal.signal(signal.SIGTERM, partial(_cancel_soon, loop, task))  # once the server has let go of it
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means it
        signal.signal(signal.SIGHUP, server.handle_exit)  # a terminal that closes is a stop like any other
    try:
        await server.serve(sockets=[listener])
    finally:
        await house.leave()
    logging.shutdown()
    os._exit(0)  # all is closed; the loop would wait for a thread that loads and for a task that does not stop


def connection_bounds(settings: Settings) -> Bounds:
    """What every connection is held to."""
    return Bounds(settings.send_timeout_s, settings.load_head_timeout_s, settings.load_max_connections)


def _load() -> tuple[Any, Any]:
    """The composition root and the application; blocks."""
    return importlib.import_module(WIRING), importlib.import_module(MAIN)


def _stop(server: DrainingServer, opening: Opening, _: asyncio.Task[None]) -> None:
    """A house that could not be built, or is left, needs no server."""
    opening.shut()
    server.should_exit = True


def _cancel_soon(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None], *_: object) -> None:
    """What one signal too many does: end everything now."""
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
