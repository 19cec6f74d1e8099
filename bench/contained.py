"""Run a built image as an engine would, with its own entry, variables and user, and as little else as there can be.

Its files are read-only; /tmp and the volume are the only places to write; there is no shell and no other program but
Python; no capability, no way to gain one; its own process table, in which it is process 1. It shares the network.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.image import Image
from bench.processes import ROOT, descendants

VOLUME: Final = "/var/lib/tandem"
DEVICES: Final = ("null", "zero", "full", "random", "urandom")
PROGRAMS: Final = ("/usr/bin", "/usr/sbin")

# kind, source, target, options; a bind's source is a path of this machine.
Mount = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program of the image ended, and what it said."""

    code: int
    said: str
    seconds: float


@dataclass(slots=True)
class Plan:
    """What is run in an image. volume: a folder that is mounted at VOLUME; args: in place of the image's command."""

    image: Image
    folder: Path
    volume: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    entry: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    volume_options: str = ""

    def write(self) -> Path:
        """The file that bench.inside reads."""
        config = self.image.config
        uid, gid = (int(part) for part in config["User"].split(":"))
        entry = self.entry or tuple(config["Entrypoint"])
        spec = {
            "root": str(self.image.root),
            "args": [*entry, *(self.args or (() if self.entry else config["Cmd"]))],
            "env": {**self.image.environment, **self.settings},
            "cwd": config["WorkingDir"],
            "uid": uid,
            "gid": gid,
            "mounts": [*self._system(), *self.mounts],
        }
        path = self.folder / "spec.json"
        path.write_text(json.dumps(spec))
        return path

    def _system(self) -> list[Mount]:
        mounts: list[Mount] = [("proc", "proc", "/proc", ""), ("tmpfs", "tmpfs", "/dev", "mode=755")]
        mounts += [("bind", f"/dev/{name}", f"/dev/{name}", "") for name in DEVICES]
        mounts += [("tmpfs", "tmpfs", folder, "mode=755") for folder in PROGRAMS]
        mounts += [("bind", str(self.image.base / self.image.python), f"/{self.image.python}", "ro")]
        mounts += [("tmpfs", "tmpfs", "/tmp", "mode=1777"), ("tmpfs", "tmpfs", "/mnt", "mode=755")]
        mounts += [("bind", str(self.volume), VOLUME, self.volume_options)]
        return mounts


class Contained:
    """A running program of the image. Leaving the context kills it."""

    def __init__(self, plan: Plan) -> None:
        self._log = plan.folder / "output"
        command = ["unshare", "--mount", "--pid", "--fork", sys.executable, "-m", "bench.inside"]
        self._began = time.monotonic()
        with self._log.open("wb") as output:
            self._child = subprocess.Popen(
                [*command, str(plan.write())], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self._program = plan.image.config["Entrypoint"][0] if not plan.entry else plan.entry[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for pid in descendants(self._child.pid)[:1]:  # what changed its user no longer dies with its parent
            os.kill(pid, signal.SIGKILL)
        self._child.kill()
        self._child.wait()

    @property
    def said(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace")

    @property
    def ended(self) -> bool:
        """Whether it has."""
        return self._child.poll() is not None

    def pid(self, within_s: float = 5.0) -> int:
        """The process id of the program, on this machine, once it is the program."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and not self.ended:
            for pid in descendants(self._child.pid)[:1]:
                with contextlib.suppress(OSError):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if self._program.encode() in line and b"bench.inside" not in line:
                        return pid
            time.sleep(0.002)
        raise AssertionError(f"the program did not start:\n{self.said[-2000:]}")

    def signal(self, number: signal.Signals) -> None:
        """Send it one."""
        subprocess.run(["kill", f"-{number.value}", str(self.pid())], check=True)

    def wait(self, within_s: float) -> Ran:
        """Its end. subprocess.TimeoutExpired when it takes longer."""
        code = self._child.wait(within_s)
        return Ran(code, self.said, time.monotonic() - self._began)


def run(plan: Plan, within_s: float = 60.0) -> Ran:
    """A program of the image from its start to its end."""
    with Contained(plan) as contained:
        return contained.wait(within_s)
