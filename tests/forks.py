"""Servers that are forked rather than started: what `tandem serve` imports is imported once, not once a server.

One process a pytest process has the modules, and no loop, no thread and no connection; a server begins as a copy of
it, in a session of its own, with the environment and the output it is given, and runs `python -m app.cli` from there.
It is as real a process as any: it can be killed, and its exit code is that of a child.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parent.parent
LOADED = ("app.commands.serve", "app.wiring", "app.main", "app.postgres.embedded")
MODULE = "app.cli"
MESSAGE_BYTES = 1 << 17
LOOK_S = 0.005
# What fork() leaves undefined, the frameworks of macOS leave undefined often.
SAFE = sys.platform == "linux"


class Forked:
    """A forked process, with the part of subprocess.Popen that a test uses."""

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self._nursery = nursery
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, None while it runs. Its id is not used again before this has told one."""
        if self.returncode is None:
            self.returncode = self._nursery.ask({"look": self.pid})
        return self.returncode

    def wait(self, timeout: float) -> int:
        """The exit code; subprocess.TimeoutExpired when it does not come in time."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(MODULE, timeout)
            time.sleep(LOOK_S)
        return code

    def send_signal(self, sign: signal.Signals) -> None:
        """A signal, as long as it runs."""
        if self.poll() is None:
            os.kill(self.pid, sign)


class Nursery:
    """The process that forks. Any thread may ask."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forks", str(theirs.fileno())],
                env=dict(environment),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for pytest
                pass_fds=[theirs.fileno()],
            )
        self.pid = self._process.pid
        self._lock = threading.Lock()
        atexit.register(self.close)

    def start(self, arguments: list[str], environment: Mapping[str, str], *outputs: IO[bytes]) -> Forked:
        """`tandem ...` in a new session, with nothing to read; outputs: one for all it says, or one more for errors."""
        return Forked(self, self.ask({"arguments": arguments, "environment": dict(environment)}, *outputs))

    def ask(self, order: dict[str, Any], *files: IO[bytes]) -> Any:
        """Its answer."""
        with self._lock:
            socket.send_fds(self._ours, [json.dumps(order).encode()], [file.fileno() for file in files])
            return json.loads(self._ours.recv(MESSAGE_BYTES))

    def close(self) -> None:
        """It ends when nobody can ask any more; what it has forked does not."""
        self._ours.close()
        self._process.wait()


@functools.cache
def nursery() -> Nursery:
    """That of this pytest process, from the first time that it is needed."""
    kept = ("PATH", "HOME")
    return Nursery({"LC_ALL": "C.UTF-8"} | {name: os.environ[name] for name in kept if name in os.environ})


def serve(orders: socket.socket) -> list[str] | None:
    """Fork for every order: in the new process its arguments, and None in this one once nobody asks any more."""
    while True:
        message, files, _, _ = socket.recv_fds(orders, MESSAGE_BYTES, 2)
        if not message:
            return None
        order = json.loads(message)
        if "look" in order:
            pid, status = os.waitpid(order["look"], os.WNOHANG)
            orders.send(json.dumps(os.waitstatus_to_exitcode(status) if pid else None).encode())
            continue
        pid = os.fork()
        if pid == 0:
            _settle(order["environment"], files)
            return list(order["arguments"])
        for file in files:
            os.close(file)
        orders.send(json.dumps(pid).encode())


def _settle(environment: dict[str, str], outputs: list[int]) -> None:
    """Become what a start by name would have made: a session, an environment and an output of its own."""
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would ignore it, as all that nohup starts do
    for number in (1, 2):
        os.dup2(outputs[min(number, len(outputs)) - 1], number)
    for output in outputs:
        os.close(output)
    os.environ.clear()
    os.environ.update(environment)


def main() -> None:
    """Load what a server loads, fork until nobody asks, and be a server where one was forked."""
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        for name in LOADED:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()  # so that no copy is made only because a collector looked at it
        arguments = serve(orders)
    if arguments is not None:
        sys.argv[1:] = arguments
        runpy.run_module(MODULE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
