"""A gcloud and a docker that never leave the machine, on a PATH of their own; played_gcloud.py is what they do."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from played_gcloud import STATE, keep, load

OLD = "tandem-00001-old"
TAG = "r-0123abcd"
SCRIPTS = Path(__file__).parents[1] / "deploy" / "cloudbuild"
IMAGE = "europe-docker.pkg.dev/p/tandem/tandem"
PROGRAM = Path(__file__).with_name("played_gcloud.py")


class Cloud:
    """The file behind the fake. address: where the new revision really is; lines: what each look at the log finds."""

    def __init__(self, folder: Path, address: str = "", **played: Any) -> None:
        self.folder = folder
        self._file = str(folder / "cloud")
        programs = folder / "bin"
        programs.mkdir()
        for name in ("gcloud", "docker"):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{PROGRAM}" {name} "$@"\n')
            program.chmod(0o755)
        state = {"shares": {OLD: 100}, "tags": {}, "job": True, "lines": [], "fail": {}, "calls": []}
        keep(self._file, {**state, "address": address, **played})
        self.env = {STATE: self._file, "PATH": f"{programs}:{os.environ['PATH']}"}

    def __getitem__(self, name: str) -> Any:
        return load(self._file)[name]

    def __setitem__(self, name: str, value: Any) -> None:
        keep(self._file, {**load(self._file), name: value})

    @property
    def calls(self) -> list[str]:
        """The commands so far, their first words alone: `run deploy`."""
        return [" ".join(word for word in call[1:4] if re.fullmatch(r"[a-z]+", word)) for call in self["calls"]]


def lines(good: int, bad: int = 0, broken: int = 0) -> str:
    """A look at the log: streams that went well, streams that failed, and answers of the platform's own, 503."""
    own = [{"jsonPayload": {"status": "ok", "http_status": 200}}] * good
    own += [{"jsonPayload": {"status": "error", "http_status": 200}}] * bad
    own += [{"jsonPayload": {"status": "error", "http_status": 422}}]  # a client's own fault counts for nothing
    return json.dumps(own + [{"httpRequest": {"status": 503}}] * broken)


def made(folder: Path, **played: Any) -> Cloud:
    """A cloud, and the file that names the image which was pushed."""
    (folder / "image").write_text(f"{IMAGE}@sha256:abc\n")
    return Cloud(folder, **played)


async def started(cloud: Cloud, program: str, *words: str) -> asyncio.subprocess.Process:
    """A script of deploy/cloudbuild with this cloud before it."""
    interpreter = [sys.executable, "-S"] if program.endswith(".py") else ["sh"]
    return await asyncio.create_subprocess_exec(
        *interpreter,
        str(SCRIPTS / program),
        *words,
        env={**os.environ, **cloud.env},
        cwd=cloud.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def ran(cloud: Cloud, program: str, *words: str) -> tuple[int | None, str]:
    """Its exit code and everything it said."""
    child = await started(cloud, program, *words)
    said, _ = await asyncio.wait_for(child.communicate(), 60)
    return child.returncode, said.decode()
