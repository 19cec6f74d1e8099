"""The real server as a child process, on a port and a home of its own, and never left behind."""

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import httpx
from databases import short_folder
from forks import SAFE, Forked, nursery

from app.postgres.postmaster import end_orphan, lines_of

How = Literal["forked", "by name"]
ROOT = Path(__file__).parent.parent
READY_S = 30.0
STOP_S = 15.0
# A run of these takes a minute: whatever ends it sooner is what is tested.
ENDLESS = "?first=0.05&gap=0.5&tokens=120"
LONG = {"FAST_MODEL": f"scripted:fast{ENDLESS}", "SLOW_MODEL": f"scripted:slow{ENDLESS}", "FAST_TIMEOUT_S": "60"}


class Process:
    """One server, from its start to its end. A negative exit code is the signal that ended it, as in subprocess."""

    def __init__(self, home: Path, settings: dict[str, str], how: How = "forked") -> None:
        self.home = home
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by end()
        self._last_words: str | None = None
        self._child = self._fork(settings) if how == "forked" and SAFE else self._start(settings)
        self.pid = self._child.pid

    def _fork(self, settings: dict[str, str]) -> Forked:
        return nursery().start(["serve"], environment(self.home, settings), self._said)

    def _start(self, settings: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve"],
            env=environment(self.home, settings),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            start_new_session=True,
        )

    @property
    def stderr(self) -> str:
        """Everything the server has said so far."""
        if self._last_words is not None:
            return self._last_words
        size = os.fstat(self._said.fileno()).st_size
        return os.pread(self._said.fileno(), size, 0).decode("utf-8", "replace")

    @property
    def url(self) -> str:
        """Where the server says that it is, without a slash at the end."""
        found = re.search(r"^Tandem +(http://\S+)/$", self.stderr, re.MULTILINE)
        if found is None:
            raise AssertionError(f"the server has not said where it is:\n{self.stderr}")
        return found[1]

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._child.poll() is None

    def send(self, sign: signal.Signals) -> None:
        """A signal to the server alone."""
        self._child.send_signal(sign)

    def terminate(self) -> None:
        """What a container host sends first."""
        self.send(signal.SIGTERM)

    def interrupt(self) -> None:
        """What Ctrl-C sends."""
        self.send(signal.SIGINT)

    def kill(self) -> None:
        """What nobody can prepare for; on return the process is gone."""
        self.send(signal.SIGKILL)
        self._child.wait(STOP_S)

    def wait(self, within_s: float = STOP_S) -> int:
        """The exit code."""
        return self._child.wait(within_s)

    def until_ready(self) -> None:
        """Return when the server wants to be asked; fail with what it said when it ends instead."""
        self.until(lambda: "Tandem  http://" in self.stderr)
        self.until(lambda: self.status("/health/ready") == 200)

    def until(self, happened: Callable[[], bool]) -> None:
        """Return when something has happened to the running server."""
        deadline = time.monotonic() + READY_S
        while not happened():
            if not self.running or time.monotonic() > deadline:
                raise AssertionError(f"the server did not get there; exit code {self._child.poll()}:\n{self.stderr}")
            time.sleep(0.01)

    def status(self, path: str) -> int | None:
        """The status of a GET, None while nobody answers."""
        try:
            return httpx.get(self.url + path, timeout=5, verify=False).status_code
        except httpx.TransportError:
            return None

    def end(self) -> None:
        """The process is gone afterwards, whatever became of the test."""
        if self.running:
            self.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(STOP_S)
        if self.running:
            self.kill()
        self._last_words = self.stderr
        self._said.close()


def environment(home: Path, settings: dict[str, str]) -> dict[str, str]:
    """The environment of a server or a command: nothing of ours but the path and what the test names."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "LC_ALL": "C.UTF-8",
        "TANDEM_HOME": str(home),
        "PORT": "0",
        "FAST_MODEL": "scripted:fast",
        "SLOW_MODEL": "scripted:slow",
        "CACHE": "false",  # most tests ask one question again and again
        **settings,
    }


@contextlib.contextmanager
def starting(home: Path, how: How = "forked", /, **settings: str) -> Iterator[Process]:
    """A server that may not be ready yet, or never be; it ends with the block. It is forked where a fork is safe."""
    process = Process(home, settings, how)
    try:
        yield process
    finally:
        process.end()


@contextlib.contextmanager
def running(home: Path, how: How = "forked", /, **settings: str) -> Iterator[Process]:
    """A server that is ready; it ends with the block. The home, and what a killed server leaves there, stay."""
    with starting(home, how, **settings) as process:
        process.until_ready()
        yield process


@contextlib.contextmanager
def fresh_home() -> Iterator[Path]:
    """A TANDEM_HOME of its own; at the end it goes, with the PostgreSQL that a killed server may have left on it."""
    with short_folder() as folder:
        home = folder / "home"
        try:
            yield home
        finally:
            end_orphan(home / "postgres")
            shutil.rmtree(home, ignore_errors=True)


def postgres_of(home: Path) -> int:
    """The process id of the PostgreSQL that runs, or ran last, on a home; 0 when its end left no trace."""
    lines = lines_of(home / "postgres")
    return int(lines[0]) if lines else 0


def left(home: Path, *leaders: int) -> list[str]:
    """What still runs of these servers: the processes of their groups, and all that name the home in their command."""
    listed = subprocess.run(["ps", "-axo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    found = []
    for line in listed.splitlines():
        group, state, command_line = [*line.split(None, 2), ""][:3]
        if not state.startswith("Z") and (int(group) in leaders or str(home) in command_line):
            found.append(command_line)
    return found


def command(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`tandem ...`, run to its end; forked where a fork is safe."""
    told = environment(home, settings)
    if not SAFE:
        words = [sys.executable, "-m", "app.cli", *arguments]
        run = functools.partial(subprocess.run, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return run(words, env=told, timeout=READY_S, check=False)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        made = nursery().start([*arguments], told, output, errors)
        try:
            code = made.wait(READY_S)
        finally:
            made.send_signal(signal.SIGKILL)
        said, complained = (os.pread(file.fileno(), 1 << 24, 0).decode() for file in (output, errors))
    return subprocess.CompletedProcess(arguments, code, said, complained)
