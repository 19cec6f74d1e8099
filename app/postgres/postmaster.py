"""The running server as its postmaster.pid tells it: does it answer, is it ready, and how to end one nobody owns."""

import contextlib
import logging
import os
import shutil
import signal
import socket
import time
from pathlib import Path

logger = logging.getLogger(__name__)

STOP_S = 2.0


def lines_of(data: Path) -> list[str]:
    """The lines of postmaster.pid: pid, data folder, start, port, socket folder, address, shared memory, state."""
    try:
        return [line.strip() for line in (data / "postmaster.pid").read_text("utf-8", "replace").splitlines()]
    except FileNotFoundError:
        return []


def is_ready(data: Path, pid: int) -> bool:
    """Whether the server with this pid says that it takes connections."""
    lines = lines_of(data)
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7] == "ready"


def answers(lines: list[str]) -> bool:
    """Whether somebody listens on the socket that a postmaster.pid names."""
    if len(lines) < 5:
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(f"{lines[4]}/.s.PGSQL.{lines[3]}")
        except OSError:
            return False
        return True


def _alive(pid: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def end_orphan(data: Path) -> None:
    """Stop the server that a killed process of ours left on this data folder, and clear what it left behind.

    We hold the lock of the home, so no living server of ours can be meant. A pid that is alive but whose socket
    does not answer belongs to a stranger by now; it is left alone. PostgreSQL itself refuses to share a data folder.
    """
    lines = lines_of(data)
    if not lines or not lines[0].isdigit():
        return
    pid = int(lines[0])
    if answers(lines):
        logger.warning("stopping the PostgreSQL (pid %d) that a killed server left on %s", pid, data)
        for sign in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
            if _gone(pid, STOP_S):
                break
    (data / "postmaster.pid").unlink(missing_ok=True)
    if len(lines) >= 5 and Path(lines[4]).name.startswith("tandem-") and lines[4].startswith("/tmp/"):  # noqa: S108
        shutil.rmtree(lines[4], ignore_errors=True)


def _gone(pid: int, within_s: float) -> bool:
    """Wait until the process has ended; it is not our child, so it can only be looked at."""
    deadline = time.monotonic() + within_s
    while _alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)  # in a thread of its own, never on the loop
    return True
