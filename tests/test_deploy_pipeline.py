"""cloudbuild.yaml: its schema, its order, its substitutions, and that every script takes the words it is given."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deployments import DEPLOY, ROOT, package, program, vendored

FILE = ROOT / "cloudbuild.yaml"
TEXT = FILE.read_text()
SCRIPTS = sorted((DEPLOY / "cloudbuild").glob("*.sh"))
# What Cloud Build itself fills in.
BUILT_IN = {"BUILD_ID": "0123abcd-0000", "PROJECT_ID": "my-project", "COMMIT_SHA": "abc", "REPO_FULL_NAME": "o/r"}


@pytest.fixture(scope="module")
def build() -> dict[str, Any]:
    """The file, read."""
    read: dict[str, Any] = package("ruamel.yaml").YAML(typ="safe").load(TEXT)
    return read


def filled(text: str, build: dict[str, Any]) -> str:
    """A text with its substitutions made, as dynamicSubstitutions does it, `${NAME:0:8}` included."""
    values = BUILT_IN | build["substitutions"]
    place = re.compile(r"\$(?:\{(\w+)(?::0:(\d+))?\}|([A-Z_]+))")
    while place.search(text):
        text = place.sub(lambda found: values[found[1] or found[3]][: int(found[2]) if found[2] else None], text)
    return text


def test_schema(build: dict[str, Any]) -> None:
    """The file is a build as Cloud Build's published schema has it."""
    vendored("cloudbuild").validate(build)


def test_order(build: dict[str, Any]) -> None:
    """Every step waits for steps before it; the order is test, build, scan, push, migrate, deploy, smoke, shift."""
    ids = [step["id"] for step in build["steps"]]
    for place, step in enumerate(build["steps"]):
        assert set(step["waitFor"]) <= {*ids[:place], "-"}
    wanted = ["test", "build", "scan", "push", "migrate", "deploy", "smoke", "shift"]
    assert [name for name in ids if name in wanted] == wanted
    waits = {step["id"]: step["waitFor"] for step in build["steps"]}
    assert {"sbom", "scan"} == set(waits["push"])
    assert waits["smoke"] == ["deploy"]
    assert waits["shift"] == ["smoke"]


def test_substitutions(build: dict[str, Any]) -> None:
    """Every substitution that is used is declared, every one that is declared is used, and its line says what for."""
    used = set(re.findall(r"\$\{?(_\w+)", TEXT))
    assert used == set(build["substitutions"])
    assert set(re.findall(r"\$\{?([A-Z]\w+)", TEXT)) <= set(BUILT_IN)
    lines = dict(re.findall(r"^  (_\w+): .+? # (.+)$", TEXT, re.MULTILINE))
    assert set(lines) == used


def test_scripts_take_their_words(build: dict[str, Any], tmp_path: Path) -> None:
    """Each Python script accepts the command line that its step gives it."""
    steps = [step for step in build["steps"] if step["entrypoint"] == "python3"]
    assert len(steps) == 4
    for step in steps:
        words = [
            filled(word, build | {"substitutions": build["substitutions"] | {"_DEPLOY": "no"}}) for word in step["args"]
        ]
        ended = subprocess.run([sys.executable, "-S", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr


def test_files_exist(build: dict[str, Any]) -> None:
    """Every script that a step names is there, and no step holds a script of its own."""
    for step in build["steps"]:
        assert (ROOT / step["args"][0]).is_file()
        assert "script" not in step


def test_image_and_tag(build: dict[str, Any]) -> None:
    """The image is one of this project's registry, and the tag one that Cloud Run takes."""
    image = filled("${_IMAGE}", build)
    assert image == "europe-west1-docker.pkg.dev/my-project/tandem/tandem:0123abcd-0000"
    assert build["images"] == ["${_IMAGE}"]
    assert re.fullmatch(r"[a-z]([a-z0-9-]{0,44}[a-z0-9])?", filled("${_TAG}", build))


def test_time_is_enough(build: dict[str, Any]) -> None:
    """The build's time covers the soaks and an hour of everything else."""
    values = build["substitutions"]
    soaks = len(values["_TRAFFIC_STEPS"].split(",")) * float(values["_SOAK_S"])
    assert int(build["timeout"].rstrip("s")) >= soaks + 3600


def test_shellcheck() -> None:
    """Shellcheck finds nothing in the scripts, its optional checks included."""
    command = [program("shellcheck"), "--severity=style", *map(str, SCRIPTS)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def test_scripts_run_on_any_shell() -> None:
    """The scripts are POSIX sh that ends at the first failure, of 40 lines at most."""
    assert SCRIPTS
    for script in SCRIPTS:
        lines = script.read_text().splitlines()
        assert (lines[0], "set -eu" in lines, len(lines) <= 40) == ("#!/bin/sh", True, True)
