"""A real PostgreSQL of our own for a bare laptop, started and stopped with the server.

It listens on a Unix socket in a private folder and nowhere else, so that trusting every local connection is safe.
Its data stay in <home>/postgres between starts.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

from app.errors import StartupError
from app.postgres.binaries import programs, wheel_programs
from app.postgres.home import Account, HomeLock, account, prepare
from app.postgres.postmaster import STOP_S, answers, end_orphan, is_ready, lines_of

logger = logging.getLogger(__name__)

USER = "tandem"
DATABASE = "postgres"
PORT = 5432  # only names the socket file
SOCKET_PATH_MAX = 103  # bytes; macOS allows 103, Linux 107
START_S = 60.0  # recovery after a crash included
LOG_MAX_BYTES = 10_000_000

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_connections": "50",
    "fsync": "on",
    "synchronous_commit": "on",
    "log_checkpoints": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
# Nothing else of our environment reaches it: there are keys in there.
ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class EmbeddedPostgres:
    """One PostgreSQL server that belongs to this process; start and stop it from one event loop.

    While it runs, a task of ours starts it again if it dies. When our process is killed it may live on; the next
    start on the same home stops it and starts anew.
    """

    def __init__(self, home: Path, settings: Mapping[str, str] | None = None) -> None:
        self.home = home.absolute()
        self.data = self.home / "postgres"
        self._settings = {**SETTINGS, **(settings or {})}
        self._lock = HomeLock(self.home)
        self._who = Account(os.geteuid(), os.getegid())
        self._bin = Path()
        self._socket = self.home / "socket"
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def dsn(self) -> str:
        """Where to connect; it holds no password, since there is none."""
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(self._socket), safe='')}&port={PORT}"

    @property
    def pid(self) -> int | None:
        """The process id of the running server."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Bring the server up; on return it answers. Raises StartupError, and then nothing is left running."""
        try:
            await asyncio.to_thread(self._prepare)
            await self._launch()
        except BaseException:  # a cancelled start too must leave nothing running
            await self.stop()
            raise
        self._watcher = asyncio.create_task(self._watch(), name="embedded-postgres")

    async def stop(self) -> None:
        """Shut down fast, within about two seconds, else at once; then let go of the home."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None
        if self._process is not None:
            await asyncio.to_thread(_stop_child, self._process)
            self._process = None
        if self._socket.parent != self.home:
            shutil.rmtree(self._socket, ignore_errors=True)
        self._lock.release()

    def _prepare(self) -> None:
        """Everything that blocks before the server can start: user, home, programs, leftovers, first initdb."""
        self._who = account()
        prepare(self.home, self._who)
        self._lock.acquire()
        self._bin = programs(self.home, self._who)
        end_orphan(self.data)
        self._make_socket_folder()
        if not (self.data / "PG_VERSION").exists():
            self._initdb()

    def _make_socket_folder(self) -> None:
        """An empty private folder for the socket; in /tmp when the home's path is too long for a socket's."""
        if len(os.fsencode(self.home / "socket" / f".s.PGSQL.{PORT}")) > SOCKET_PATH_MAX:
            self._socket = Path(tempfile.mkdtemp(prefix="tandem-", dir="/tmp"))  # mkdtemp makes it private
        else:
            shutil.rmtree(self._socket, ignore_errors=True)
            self._socket.mkdir(mode=0o700)
        self._who.own(self._socket)

    def _initdb(self) -> None:
        """Make the data folder; it gets its name when it is whole, so that a cut initdb is simply repeated."""
        half = self.home / "postgres.half"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(mode=0o700)
        self._who.own(half)
        options = ["-U", USER, "-E", "UTF8", "--locale=C", "--no-sync", "--auth=trust"]
        done = subprocess.run(  # noqa: S603  # our own programs and paths
            [self._bin / "initdb", "-D", half, *options],
            check=False,
            capture_output=True,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            **self._who.switch,
        )
        if done.returncode != 0:
            raise StartupError(f"PostgreSQL could not make its data under {self.home}: {_last(done.stderr)}")
        half.rename(self.data)

    async def _launch(self) -> None:
        """Start the server and wait until it says that it is ready."""
        process = self._process = self._spawn()  # in the loop: a thread could outlive a cancelled start, and leak it
        deadline = time.monotonic() + START_S
        while not is_ready(self.data, process.pid):
            if process.poll() is not None or time.monotonic() > deadline:
                log = await asyncio.to_thread(self._log_tail)
                raise StartupError(f"the embedded PostgreSQL under TANDEM_HOME {self.home} did not start: {log}")
            await asyncio.sleep(0.01)

    def _spawn(self) -> subprocess.Popen[bytes]:
        """The server's process, in a session of its own: ctrl-c in the terminal is for us, not for it."""
        command: list[str | Path] = [self._bin / "postgres", "-D", self.data, "-p", str(PORT), "-k", self._socket]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with self._open_log() as log:
            return subprocess.Popen(  # noqa: S603  # our own programs and paths
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
                **self._who.switch,
            )

    def _open_log(self) -> IO[bytes]:
        """The server's log, private, begun anew when it has grown large."""
        path = self.home / "postgres.log"
        log = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")
        if log.tell() > LOG_MAX_BYTES:
            log.truncate(0)
        return log

    def _log_tail(self) -> str:
        """The end of the server's log, for an error message."""
        return _last((self.home / "postgres.log").read_bytes()[-2000:])

    async def _watch(self) -> None:
        """Start the server again whenever it dies, sooner at first, later if it keeps dying."""
        pause = 0.1
        while True:
            await asyncio.sleep(0.1)
            if self.pid is not None:
                pause = max(0.1, pause * 0.9)
                continue
            logger.error("the embedded PostgreSQL died; starting it again in %.1f s", pause)
            await asyncio.sleep(pause)
            pause = min(5.0, pause * 2)
            try:
                await self._launch()
            except (StartupError, OSError):  # too many files, a full disk: the next turn tries again
                logger.exception("the embedded PostgreSQL could not be started again")


def _stop_child(process: subprocess.Popen[bytes]) -> None:
    """Fast shutdown; immediate when that takes too long, kill when that does."""
    for sign in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        process.send_signal(sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
            return


def _last(output: bytes, lines: int = 5) -> str:
    """The last lines of what a program said, on one line."""
    return " | ".join(output.decode("utf-8", "replace").strip().splitlines()[-lines:])


def running_dsn(home: Path) -> str | None:
    """Where the server that runs on this home is reached; None when none does."""
    lines = lines_of(home / "postgres")
    return (
        f"postgresql://{USER}@/{DATABASE}?host={quote(lines[4], safe='')}&port={lines[3]}" if answers(lines) else None
    )


def psql_command(home: Path, arguments: list[str]) -> list[str]:
    """The wheel's psql, pointed at the server that runs on this home."""
    lines = lines_of(home / "postgres")
    if not answers(lines):
        raise StartupError(f"no embedded PostgreSQL runs on TANDEM_HOME {home}: start the server with `make run` first")
    psql = wheel_programs() / "psql"
    return [str(psql), "-h", lines[4], "-p", lines[3], "-U", USER, "-d", DATABASE, *arguments]


def main() -> None:
    """`python -m app.postgres.embedded --home DIR psql [ARGS]`."""
    parser = argparse.ArgumentParser(prog="python -m app.postgres.embedded")
    parser.add_argument("--home", type=Path, required=True, help="TANDEM_HOME of the running server")
    parser.add_argument("program", choices=["psql"])
    options, arguments = parser.parse_known_args()
    try:
        command = psql_command(options.home, arguments)
    except (StartupError, PermissionError) as error:
        sys.exit(str(error))
    os.execv(command[0], command)  # noqa: S606  # psql takes over the terminal


if __name__ == "__main__":
    main()
