"""Every command of README.md and RUNBOOK.md: run against a real server, or taken apart and held against its program."""

import contextlib
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import entries
import httpx
import pytest
from cloud_tools import faults, told_by_the_programs
from command_outputs import SAYS
from processes import environment, fresh_home, running
from shell_commands import ASSIGNMENT, PARSED, ROOT, RUN, Command, Simple, blocks, commands, likely_commands, prose
from typer.testing import CliRunner

from app.cli import app
from app.postgres.binaries import wheel_programs
from app.postgres.embedded import EmbeddedPostgres
from app.record.codec import digest, encode
from app.record.replay import lines
from app.settings import Settings

HERE = "127.0.0.1:8080"
QUICK = {
    "FAST_MODEL": "scripted:fast?first=0.01&gap=0&tokens=5",
    "SLOW_MODEL": "scripted:slow?first=0.03&gap=0&tokens=5",
}
ASKED = {"input": "What is the capital of France?"}
LASTING = {"input": "Are you still there?", "cache": "off", "slow": {"model": "scripted:slow?first=20"}}
PAIRS = {"question": "2 + 2?", "fast_text": "4", "slow_text": "It is 4."}
PEPPER = "a pepper for tests, of thirty-two characters"


@dataclass(frozen=True)
class Desk:
    """Where the commands are run: a folder, the server's address, the environment, and the ids to ask about."""

    folder: Path
    url: str
    environment: dict[str, str]

    def here(self, text: str) -> str:
        """The command for this server."""
        return text.replace(HERE, self.url.removeprefix("http://"))

    def shell(self, text: str) -> subprocess.CompletedProcess[str]:
        """What a shell makes of it, with our programs before all others."""
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", text],
            cwd=ROOT if "make" in text else self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    def ask(self) -> dict[str, Any]:
        """One question, recorded and stored; its whole answer."""
        body = ASKED | {"stream": False}
        told: dict[str, Any] = httpx.post(f"{self.url}/v1/reason", json=body, timeout=10, verify=False).json()
        return told


@pytest.fixture(scope="module")
def desk(postgres: EmbeddedPostgres) -> Iterator[Desk]:
    """A real `tandem serve` on the database of this pytest process, and what the commands find beside it."""
    if shutil.which("curl") is None and os.environ.get("CI") != "true":
        pytest.skip("curl is not installed")
    quick = QUICK | {"CACHE": "true", "DATABASE_URL": postgres.dsn}
    with fresh_home() as home, running(home, **quick) as server:
        folder = home / "here"
        programs = folder / "bin"
        programs.mkdir(parents=True)
        _program(programs / "tandem", f'exec "{sys.executable}" -m app.cli "$@"')
        _program(programs / "psql", f'exec "{wheel_programs() / "psql"}" "$@"')
        (folder / "pairs.jsonl").write_text(json.dumps(PAIRS) + "\n")
        (folder / "questions.txt").write_text("What is 1 + 1?\nWhat is 2 + 2?\n")
        entry = entries.closing(entries.opening())
        (folder / "audit.log").write_text(
            "\n".join(lines(entry.id, entry.version, digest(encode(entry)), encode(entry)))
        )
        values = environment(postgres.home, quick | {"TANDEM_URL": server.url, "COLUMNS": "120", "LINES": "40"})
        values |= {"PATH": f"{programs}:{values['PATH']}", "PYTHONPATH": str(ROOT), "PAGER": "cat"}
        desk = Desk(folder, server.url, values)
        done = desk.ask()
        values |= {"RUN_ID": done["start"]["run_id"], "FINGERPRINT": done["done"]["fingerprint"], "KEY_PEPPER": PEPPER}
        values["KEY_ID"] = json.loads(desk.shell("tandem keys create bob --json").stdout)["id"]
        yield desk


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(desk: Desk, command: Command, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """The exit code and what was said. What would start a server, or run for minutes, says how it would."""
    (one, *more) = command.simple
    if one.words[:1] == ("psql",) and one.program == "make":
        return _said(desk.shell(f'psql "$DATABASE_URL" {one.words[1].removeprefix("ARGS=")}'))
    if one.program == "make":
        return _said(desk.shell(re.sub(r"\bmake\b", "make -n", command.text, count=1)))
    if one.program == "python":
        return _helped(one, monkeypatch)
    if one.words[:1] == ("serve",):
        return 0, "Tandem"  # the server of the fixture
    with _prepared(desk, command.text) as run_id:
        if one.program == "tandem" and not more and one.words[:1] != ("psql",):
            return _in_this_process(desk, one, monkeypatch)
        return _said(desk.shell(f"export RUN_ID={run_id}; {desk.here(command.text)}"))


def _said(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    return done.returncode, done.stdout + (done.stderr if done.returncode else "")


def _helped(one: Simple, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """What a benchmark or a script says of itself; every flag of the command must be in it."""
    name, said = one.words[one.words[0] == "-m"], io.StringIO()
    with monkeypatch.context() as patch, warnings.catch_warnings(), contextlib.redirect_stdout(said):
        warnings.simplefilter("ignore", RuntimeWarning)  # that another test has imported the module before
        patch.setattr(sys, "argv", [name, "--help"])
        with contextlib.suppress(SystemExit):
            (runpy.run_path if name.endswith(".py") else runpy.run_module)(name, run_name="__main__")
    unknown = [word for word in one.words[2:] if word.startswith("--") and word not in said.getvalue()]
    return (2, f"no {unknown}") if unknown else (0, said.getvalue())


def _in_this_process(desk: Desk, one: Simple, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """A command of ours without a new Python for it, in the folder and the environment of the desk."""
    with monkeypatch.context() as patch:
        patch.chdir(desk.folder)
        for name, value in (desk.environment | one.sets).items():
            patch.setenv(name, value)
        words = [re.sub(r"\$(\w+)", lambda found: desk.environment[found[1]], word) for word in one.words]
        done = CliRunner().invoke(app, words)
    return done.exit_code, done.output


@contextlib.contextmanager
def _prepared(desk: Desk, text: str) -> Iterator[str]:
    """What a command needs before it: an answer to forget, or a run that lives; the id of the run it is about."""
    if re.search(r"DELETE|cache clear", text):
        desk.ask()
    if not re.search(r"/(cancel|accept)", text):
        yield desk.environment["RUN_ID"]
        return
    with httpx.stream("POST", f"{desk.url}/v1/reason", json=LASTING, timeout=10, verify=False) as response:
        for line in response.iter_lines():
            if line == "event: preliminary":
                break
        yield response.headers["x-run-id"]


def test_every_command_that_can_run_here_runs(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of the documents that needs nothing but this machine ends well and says what it should."""
    wrong = []
    for command in {command.text: command for command in commands() if command.runs}.values():
        code, said = run(desk, command, monkeypatch)
        expected = next((says for has, says in SAYS if re.search(has, command.text)), "no row of SAYS fits it")
        if code or not re.search(expected, said, re.MULTILINE):
            wrong.append(f"{command.where}: {command.text}\n  exit {code}, expected {expected!r}:\n{said[-800:]}")
    assert not wrong, "\n\n".join(wrong)


def test_every_other_command_is_one_its_program_takes() -> None:
    """A command of the documents that needs a cloud uses subcommands and flags that its program has."""
    others = [command for command in commands() if not command.runs]
    found = {
        f"{command.where}: {command.text}": fault
        for command in others
        for one in command.simple
        if one.program not in RUN - {"python"} and (fault := faults(one))
    }
    assert len(others) > 20
    assert not found


def test_no_command_is_neither_run_nor_taken_apart() -> None:
    """Every program of a command is known to these tests, and nothing that reads like a command is hidden from them."""
    unknown = {one.program for command in commands() for one in command.simple} - RUN - PARSED
    fenced = [text for kind, text in blocks() if kind != "sh" and _begins(text)]
    assert not unknown
    assert not fenced
    assert not [text for text in likely_commands() if text.split()[0] not in RUN | PARSED]
    assert not [line for line in prose() if line.count("`") % 2]


def _begins(text: str) -> bool:
    return any(line.split()[0].removeprefix(".venv/bin/") in RUN | PARSED for line in text.splitlines() if line.split())


def test_a_shell_reads_every_block() -> None:
    """`bash -n` takes every fenced block, and every command in a line of text."""
    whole = "\n".join([text for kind, text in blocks() if kind == "sh"] + [command.text for command in commands()])
    done = subprocess.run(["bash", "-n"], input=whole, capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_set_only_settings_that_there_are() -> None:
    """Whatever a command sets for the server, before it or by a flag, is a setting of the server."""
    aliases = {str(name).upper() for field in Settings.model_fields.values() for name in _choices(field)}
    known = aliases | {name.upper() for name in Settings.model_fields} | {"TANDEM_URL", "ARGS", "PYTHON"}
    ours = [
        one for command in commands() for one in command.simple if one.program in {"make", "tandem", "gcloud", "docker"}
    ]
    named = {name for one in ours for name in [*one.sets, *_given(one)]}
    assert named
    assert not named - known


def _choices(field: Any) -> list[Any]:
    return getattr(field.validation_alias, "choices", [])


def _given(one: Simple) -> list[str]:
    """The variables in --update-env-vars A=1,B=2, --set-secrets and -e."""
    flags = {"--update-env-vars", "--set-env-vars", "--update-secrets", "--set-secrets", "-e", "--env"}
    values = [value for flag, value in zip(one.words, one.words[1:], strict=False) if flag in flags]
    return [match[1] for value in values for part in value.split(",") if (match := ASSIGNMENT.fullmatch(part))]


def test_files_of_commands_are_there() -> None:
    """A file or folder of the repository that a command names exists."""
    words = {
        word.partition("=")[2] if word.startswith("-chdir=") else word
        for command in commands()
        for one in command.simple
        for word in one.words
    }
    named = {word for word in words if re.match(r"(deploy|app|tests|bench|clients)/|cloudbuild\.yaml|Dockerfile", word)}
    assert named
    assert not [word for word in named if not (ROOT / word).exists() and not (ROOT / f"{word}.example").exists()]


def test_variables_of_terraform_are_declared() -> None:
    """A variable that RUNBOOK.md gives to Terraform is declared in deploy/terraform, with the default that it tells."""
    told = [re.findall(r'^(\w+) += "?(.*?)"?$', text, re.MULTILINE) for kind, text in blocks() if kind == "hcl"]
    text = (ROOT / "deploy" / "terraform" / "variables.tf").read_text()
    declared = dict(
        re.findall(r'^variable "(\w+)" \{(?:(?!^\}).)*?^  default += "?(.*?)"?$', text, re.MULTILINE | re.DOTALL)
    )
    assert len(told) == 1
    assert dict(told[0]).items() <= declared.items()


def test_the_lists_are_what_the_programs_say() -> None:
    """The subcommands and flags that these tests believe in are those of the programs on this machine."""
    if not any(map(shutil.which, ("gcloud", "kubectl", "docker", "terraform"))):
        pytest.skip("none of the programs is installed")
    assert told_by_the_programs() == {}
