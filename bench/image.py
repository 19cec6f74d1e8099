"""Build the Dockerfile where no Docker engine is: buildah runs its very instructions, on a base of Debian's packages.

The base stands in for the image that the Dockerfile names: the same Debian, the same Python version, `python` and pip
in /usr/local/bin, but Debian's build of Python. Everything lies in one folder; when it is kept, only what changed is
made again.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.processes import ROOT

TOOLS: Final = ("debootstrap", "buildah", "unshare", "mount")
BASE: Final = re.compile(r"^ARG PYTHON=python:(\d\.\d+)-slim-(\w+)$", re.MULTILINE)
CERTIFICATES: Final = "etc/ssl/certs/of-this-machine.crt"
TAG: Final = "tandem"


class CannotBuild(Exception):
    """What is missing, or what a command said in the end."""


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: its files, how it is to be run, and the base it stands on. python: the interpreter's file."""

    root: Path
    base: Path
    python: str
    config: Mapping[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it sets."""
        return dict(line.split("=", 1) for line in self.config["Env"])


def check_tools() -> None:
    """CannotBuild unless we are root on a Linux that has what is needed."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if sys.platform != "linux" or os.geteuid() != 0:
        raise CannotBuild("this makes file systems and mounts them: run it as root, on Linux")
    if missing:
        raise CannotBuild(f"{' and '.join(missing)} missing: apt-get install debootstrap buildah")


class Builder:
    """buildah with images of its own in a folder, which stay there; what it mounts is let go of in the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        found = BASE.search((ROOT / "Dockerfile").read_text())
        if found is None:
            raise CannotBuild("the Dockerfile no longer begins with ARG PYTHON=python:X.Y-slim-SUITE")
        self._version, self._suite = found.groups()
        self._base = folder / f"{self._suite}-{self._version}"
        self._name = f"localhost/python:{self._version}-slim-{self._suite}"

    @contextlib.contextmanager
    def built(self, **arguments: str) -> Iterator[Image]:
        """The image of the Dockerfile, its files mounted while the block lasts."""
        self._make_base()
        given = [f"--build-arg={name}={value}" for name, value in {"PYTHON": self._name, **arguments}.items()]
        self._buildah(
            "bud", "--isolation=chroot", "--format=docker", "--layers", "--pull-never", "--tag", TAG, *given, str(ROOT)
        )
        told = json.loads(self._buildah("inspect", "--type=image", TAG))
        container = self._buildah("from", "--pull-never", TAG)
        try:
            root = Path(self._buildah("mount", container))
            yield Image(root, self._base, f"usr/bin/python{self._version}", told["Docker"]["config"])
        finally:
            self._buildah("rm", container)

    def install(self, lock: str, target: Path) -> None:
        """Unpack what a text like a lock file names, for the base's Python."""
        target.mkdir(parents=True, exist_ok=True)
        wanted = target.parent / "wanted.lock"
        wanted.write_text(lock)
        container = self._buildah("from", "--pull-never", self._name)
        try:
            options = [
                "--require-hashes",
                "--no-deps",
                "--only-binary=:all:",
                "--target=/target",
                "--requirement=/wanted",
            ]
            binds = [f"--volume={target}:/target", f"--volume={wanted}:/wanted:ro"]
            self._buildah("run", "--isolation=chroot", *binds, container, "python", "-m", "pip", "install", *options)
        finally:
            self._buildah("rm", container)

    def _make_base(self) -> None:
        """The base image, unless the folder has it."""
        done = self._base.with_suffix(".done")
        if done.exists():
            return
        shutil.rmtree(self._base, ignore_errors=True)
        packages = f"ca-certificates,netbase,tzdata,python{self._version}-venv,python3-pip-whl"
        _run("debootstrap", "--variant=minbase", f"--include={packages}", self._suite, str(self._base))
        for name in ("python", "python3", f"python{self._version}"):
            (self._base / "usr/local/bin" / name).symlink_to(f"/usr/bin/python{self._version}")
        for mark in self._base.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            mark.unlink()
        _reach_the_registry(self._base)
        (wheel,) = self._base.glob("usr/share/python-wheels/pip-*.whl")
        pip = Path("/") / wheel.relative_to(self._base)
        _run("chroot", str(self._base), "/usr/local/bin/python", f"{pip}/pip", "install", "--no-index", str(pip))
        container = self._buildah("from", "scratch")
        self._buildah("add", "--quiet", container, str(self._base), "/")
        self._buildah("commit", "--quiet", "--rm", "--format=docker", container, self._name)
        done.touch()

    def _buildah(self, *arguments: str) -> str:
        places = [f"--root={self._folder / 'images'}", f"--runroot={self._folder / 'run'}"]
        scratch = self._folder / "scratch"
        scratch.mkdir(exist_ok=True)
        return _run("buildah", *places, *arguments, env={"TMPDIR": str(scratch)})


def _run(*command: str, env: Mapping[str, str] | None = None) -> str:
    """What a command printed. CannotBuild with the end of what it said when it failed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=dict(os.environ) | dict(env or {}))
    if done.returncode:
        said = (done.stdout + done.stderr)[-3000:]
        raise CannotBuild(f"`{' '.join(command[:3])} ...` ended with {done.returncode}:\n{said}")
    return done.stdout.strip()


def _reach_the_registry(base: Path) -> None:
    """Let the base's pip go where ours goes: our pip's options and certificates, but for folders of this machine."""
    listed = _run(sys.executable, "-m", "pip", "config", "list")
    options = {}
    for line in listed.splitlines():
        name, value = line.split("=", 1)
        option, text = name.rpartition(".")[2], value.strip("'\"")
        if option == "cert":
            shutil.copyfile(text, base / CERTIFICATES)
            options[option] = f"/{CERTIFICATES}"
        elif not any(word.startswith(("/", "file:")) for word in text.split()):
            options[option] = text
    (base / "etc/pip.conf").write_text(
        "\n".join(["[global]", *(f"{name} = {value}" for name, value in options.items())])
    )
