"""The Dockerfile and .dockerignore as Docker reads them, as far as ours use them."""

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Step(NamedTuple):
    """One instruction. stage: its number, counted from 0; -1 before the first."""

    stage: int
    word: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words of its exec form. ValueError when it is written for a shell."""
        found: list[str] = json.loads(self.text)
        return found

    @property
    def paths(self) -> list[str]:
        """What a COPY takes, without where it puts it."""
        return [word for word in self.text.split() if not word.startswith("--")][:-1]


def steps() -> list[Step]:
    """Every instruction in order."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    found, stage = [], -1
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, text = line.partition(" ")
        stage += word == "FROM"
        found.append(Step(stage, word, text.strip()))
    return found


def last_stage() -> dict[str, Step]:
    """The last instruction of each kind in the stage that becomes the image."""
    every = steps()
    return {step.word: step for step in every if step.stage == every[-1].stage}


def settings() -> dict[str, str]:
    """The variables that the image sets."""
    return dict(word.split("=", 1) for word in last_stage()["ENV"].text.split())


def labels() -> dict[str, str]:
    """The labels that the image has, before arguments are filled in."""
    return dict(re.findall(r'([\w.]+)="([^"]*)"', last_stage()["LABEL"].text))


def sent(path: str) -> bool:
    """Whether a file of the project is sent to a build: the last pattern of .dockerignore that matches decides."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    result = True
    for pattern in (line for line in lines if line and not line.startswith("#")):
        if _matches(pattern.removeprefix("!"), path):
            result = pattern.startswith("!")
    return result


def _matches(pattern: str, path: str) -> bool:
    """A pattern matches a file, or a folder that the file lies in."""
    parts = path.split("/")
    names = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    if pattern.startswith("**/"):
        return any(fnmatchcase(part, pattern.removeprefix("**/")) for part in parts)
    return any(name.count("/") == pattern.count("/") and fnmatchcase(name, pattern) for name in names)


def pip_installs() -> list[str]:
    """Every call of `pip install` and `pip wheel`, from there to the end of its command."""
    commands = [part for step in steps() if step.word == "RUN" for part in step.text.split("&&")]
    return [part.strip() for part in commands if re.search(r"\bpip\b.* (install|wheel) ", part)]
