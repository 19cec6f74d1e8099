"""A forked server is a process like one that was started by name."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

import pytest
from forks import SAFE, Forked, nursery
from processes import environment, fresh_home, running

pytestmark = pytest.mark.skipif(not SAFE, reason="no process is forked on this system")
AWAY = "postgresql://u@127.0.0.1:1/x"


@pytest.fixture
def output() -> Iterator[IO[bytes]]:
    """A file for what a process says."""
    with tempfile.TemporaryFile() as file:
        yield file


def said(output: IO[bytes]) -> str:
    """What the process has said."""
    return os.pread(output.fileno(), 1 << 16, 0).decode()


def ended(process: Forked) -> int:
    """The exit code, once there is one."""
    return process.wait(20)


def open_files(pid: int) -> dict[str, str]:
    """What a process has open, by its descriptor; it may close one while it is looked at."""
    files = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            files[name] = os.readlink(f"/proc/{pid}/fd/{name}")
    return files


def test_an_exit_code_is_told(output: IO[bytes]) -> None:
    """A forked process ends with the exit code and the words of the command, which names itself as ever."""
    with fresh_home() as home:
        process = nursery().start(["serve"], environment(home, {"PORT": "65536"}), output)
        assert (ended(process), ended(process)) == (2, 2)
    assert "PORT: " in said(output)
    process = nursery().start(["--help"], {}, output)
    assert ended(process) == 0
    assert "Usage: python -m app.cli" in said(output)


def test_a_signal_is_told() -> None:
    """A killed server is gone with the signal as its negative exit code; the next one is none the worse."""
    with fresh_home() as home:
        for sign in (signal.SIGKILL, signal.SIGTERM):
            with running(home, DATABASE_URL=AWAY) as server:
                server.send(sign)
                assert server.wait() == (-sign if sign == signal.SIGKILL else 0)
                assert not server.running


def test_a_forked_server_is_alone() -> None:
    """A forked server leads a session of its own, and holds no file of the process that forked it but /dev/null."""
    with fresh_home() as home, running(home, DATABASE_URL=AWAY, LOG_LEVEL="DEBUG") as server:
        assert os.getsid(server.pid) == os.getpgid(server.pid) == server.pid
        assert os.getsid(nursery().pid) == nursery().pid
        files = open_files(server.pid)
        assert files["0"] == os.devnull
        assert files["1"] == files["2"] != os.devnull
        assert set(open_files(nursery().pid).values()) & set(files.values()) == {os.devnull}


def test_nothing_runs_where_servers_are_forked() -> None:
    """The process that forks has one thread, before and after: a lock that another one holds would stay locked."""
    with fresh_home() as home, running(home, DATABASE_URL=AWAY):
        assert len(os.listdir(f"/proc/{nursery().pid}/task")) == 1
