"""The container's image, as far as it can be known without building it; bench/container.py builds and runs it."""

import asyncio
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cells import rows
from dockerfiles import ROOT, labels, last_stage, pip_installs, sent, settings, steps
from packaging.requirements import Requirement
from redises import answering
from servers import serving

from app.settings import Settings
from bench.servers import free_port

FOLDER = ROOT / "deploy/image"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RULES = tomllib.loads((FOLDER / "prune.toml").read_text())
SITE = Path(sysconfig.get_path("purelib"))
# Loads what the image may load, where nothing that is pruned can be imported, and asks a model of Vertex AI.
WITHOUT = """
import asyncio, importlib, sys
gone = set(sys.stdin.read().split())
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name in gone:
            raise ModuleNotFoundError(f"{name} is pruned", name=name)
sys.meta_path.insert(0, Gone())
from vertex_models import fake_vertex, open_vertex
from app.llm.model import Prompt
from app.question import Message
async def main():
    async with fake_vertex() as fake:
        model = await open_vertex("20t", fake)
        items = [item async for item in model.ask(Prompt((Message("user", "hello"),)))]
        await model.close()
        print(len(items))
asyncio.run(main())
for name in ("app.postgres.cloud_sql", "google.auth.compute_engine", "google.oauth2.service_account"):
    importlib.import_module(name)
"""


def module(name: str) -> Any:
    """A script of deploy/image as a module."""
    spec = importlib.util.spec_from_file_location(f"image_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def locked(name: str) -> dict[str, str]:
    """What a lock file pins."""
    text = (ROOT / f"deploy/locks/{name}.lock").read_text()
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))


def test_hadolint_finds_nothing() -> None:
    """The Dockerfile breaks no rule of hadolint."""
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint has no package for this machine")
    found = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_ci_has_hadolint() -> None:
    """Where all is checked, so is the Dockerfile."""
    assert shutil.which("hadolint", path=str(Path(sys.executable).parent)) or os.environ.get("CI") != "true"


def test_what_is_copied_is_there_and_sent() -> None:
    """Every path that a COPY takes from the project exists, and .dockerignore lets it through."""
    taken = [path for step in steps() if step.word == "COPY" and "--from" not in step.text for path in step.paths]
    files = [
        file
        for path in taken
        for file in ([*(ROOT / path).rglob("*.py"), *(ROOT / path).rglob("*.js")] or [ROOT / path])
    ]
    assert taken
    assert [str(file) for file in files if not file.is_file() or not sent(str(file.relative_to(ROOT)))] == []


@rows(
    "path",
    [
        ".git/config",
        ".env",
        ".venv/pyvenv.cfg",
        "tests/conftest.py",
        "bench/load.py",
        "key.json",
        "deploy/locks/dev.lock",
        "deploy/terraform/terraform.tfstate",
        "app/__pycache__/cli.cpython-313.pyc",
        "Dockerfile",
    ],
)
def test_nothing_else_is_sent(path: str) -> None:
    """A build never sees the history, an environment, a test, a key or a state."""
    assert not sent(path)


def test_what_app_holds_is_sent() -> None:
    """A wheel from the build has every file that the package says it has."""
    data = [*(ROOT / "app").rglob("*.sql"), *(ROOT / "app/console").rglob("*.*"), *(ROOT / "clients/js/src").iterdir()]
    assert [str(path) for path in data if path.is_file() and not sent(str(path.relative_to(ROOT)))] == []


def test_every_stage_stands_on_one_pinned_base() -> None:
    """The base is named once, with its version and its Debian, and can be given by digest."""
    every = steps()
    assert re.fullmatch(r"PYTHON=python:3\.\d+-slim-[a-z]+", every[0].text)
    names = {match[1] for step in every if (match := re.search(r" AS (\w+)$", step.text))}
    assert {step.text.split()[0] for step in every if step.word == "FROM"} <= {"${PYTHON}"} | names


def test_what_is_installed_is_locked() -> None:
    """Every pip in the build takes hashed wheels of a lock file, or nothing from an index."""
    calls = pip_installs()
    hashed = "--require-hashes --no-deps --only-binary :all: -r locks/"
    assert len(calls) == 4
    assert [call for call in calls if hashed not in call and "--no-index" not in call] == []


def test_the_image_installs_nothing_where_it_runs() -> None:
    """The stage that becomes the image runs one command: it removes the installer and makes the user."""
    last = steps()[-1].stage
    (run,) = [step.text for step in steps() if step.stage == last and step.word == "RUN"]
    assert run.startswith("python -m pip uninstall --yes ")
    assert "ensurepip" in run


def test_the_server_starts_without_a_shell() -> None:
    """Entry, command and health check are lists of words, none of them a shell."""
    last = last_stage()
    check = last["HEALTHCHECK"].text.partition(" CMD ")[2]
    words = [*last["ENTRYPOINT"].words, *last["CMD"].words, *last["HEALTHCHECK"]._replace(text=check).words]
    assert words[:2] == ["/opt/tandem/bin/tandem", "serve"]
    assert not {word.rpartition("/")[2] for word in words} & {"sh", "bash", "env"}


def test_the_image_is_nobodys_root() -> None:
    """The server runs as a user and a group of its own, by number, and SIGTERM is what stops it."""
    last = last_stage()
    assert last["USER"].text == "10001:10001"
    assert last["STOPSIGNAL"].text == "SIGTERM"
    assert "--uid 10001 --gid 10001" in last["RUN"].text


def test_the_image_sets_what_it_must() -> None:
    """The image says where to listen and where to write, in settings that exist, and never who may come in."""
    told = settings()
    assert (told["HOST"], told["PORT"], last_stage()["EXPOSE"].text) == ("0.0.0.0", "8080", "8080")
    assert last_stage()["VOLUME"].words == [told["TANDEM_HOME"]]
    ours = {name for name in told if name.lower() in Settings.model_fields}
    assert ours == {"HOST", "PORT", "TANDEM_HOME"}


def test_the_image_says_what_it_is() -> None:
    """Source, version, revision and licence are labels; what a build knows comes as arguments."""
    told = {name.removeprefix("org.opencontainers.image."): value for name, value in labels().items()}
    assert told["licenses"] == PROJECT["project"]["license"]
    assert (told["source"], told["version"], told["revision"]) == ("${SOURCE}", "${VERSION}", "${REVISION}")


def test_the_lock_holds_the_extras_of_the_image() -> None:
    """The server's lock has all of `vertex` and `cloudsql`, and nothing that only a laptop needs."""
    extras = {
        name: {Requirement(one).name for one in wanted}
        for name, wanted in PROJECT["project"]["optional-dependencies"].items()
    }
    names = set(locked("server"))
    assert extras["vertex"] | extras["cloudsql"] <= names
    assert not names & extras["laptop"]


def test_the_build_has_what_the_wheel_needs() -> None:
    """The lock of the build satisfies the project's build system."""
    tools = locked("image")
    wanted = [Requirement(one) for one in PROJECT["build-system"]["requires"]]
    assert all(one.specifier.contains(tools[one.name]) for one in wanted)
    assert "cyclonedx-bom" in tools


async def test_the_health_check_believes_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The health check is 0 beside a server that lives."""
    async with serving() as server:
        monkeypatch.setenv("PORT", str(server.port))
        monkeypatch.setenv("HOST", "0.0.0.0")
        assert await asyncio.to_thread(module("healthcheck").main) == 0


@pytest.mark.parametrize("reply", [b"HTTP/1.1 503 Service Unavailable\r\n\r\n", b"", b"\xff" * 200])
async def test_the_health_check_wants_a_200(monkeypatch: pytest.MonkeyPatch, reply: bytes) -> None:
    """The health check is 1 beside something that answers anything else, or nothing."""
    async with answering(reply) as url:
        monkeypatch.setenv("PORT", re.findall(r":(\d+)/", url)[0])
        assert await asyncio.to_thread(module("healthcheck").main) == 1


@pytest.mark.parametrize("port", ["", "no number"])
def test_the_health_check_wants_a_server(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    """The health check is 1 beside no server, and where PORT is none."""
    monkeypatch.setenv("PORT", port or str(free_port()))
    assert module("healthcheck").main() == 1


def test_the_health_check_is_the_standard_library_alone() -> None:
    """The health check runs in a Python that sees no package."""
    command: list[str | Path] = [sys.executable, "-IS", FOLDER / "healthcheck.py"]
    ran = subprocess.run(command, env={"PORT": str(free_port())}, capture_output=True, text=True, check=False)
    assert (ran.returncode, "refused" in ran.stderr) == (1, True)


def test_a_signal_at_the_start_ends_it(tmp_path: Path) -> None:
    """A SIGTERM before the server listens to it ends process 1, which the kernel would let go on."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app/cli.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(30)\n")
    command: list[str | Path] = [sys.executable, "-P", FOLDER / "tandem.py", "serve"]
    with subprocess.Popen(command, env={"PYTHONPATH": str(tmp_path)}, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.readline()
        started.send_signal(signal.SIGTERM)
        assert started.wait(10) == 143


def test_pruning_is_exact(tmp_path: Path) -> None:
    """What the list names goes, from the record of what is installed too, and the rest stays."""
    for name, files in {"one": ["one/a.py", "one/b.pyi", "one/tests/t.py"], "two": ["two/__init__.py"]}.items():
        about = tmp_path / f"{name}-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        for file in files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text("text")
        (about / "RECORD").write_text("".join(f"{file},,\n" for file in [*files, f"{about.name}/METADATA"]))
    prune = module("prune")
    freed = prune.prune(
        {"distributions": ["two"], "globs": ["*.pyi", "*/tests/*"], "kept": {"one": ["one/*"]}}, tmp_path
    )
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.suffix == ".py") == ["one/a.py"]
    assert freed > 12
    assert (tmp_path / "one-1.dist-info/RECORD").read_text() == "one/a.py,,\none-1.dist-info/METADATA,,\n"


@pytest.mark.parametrize("rules", [{"distributions": ["none"]}, {"globs": ["*.none"]}, {"kept": {"pip-none": ["*"]}}])
def test_pruning_wants_an_exact_list(tmp_path: Path, rules: dict[str, Any]) -> None:
    """An entry of the list that removes nothing ends the build."""
    with pytest.raises(SystemExit, match="prune"):
        module("prune").plan({"distributions": [], "globs": [], "kept": {}, **rules}, tmp_path)


@pytest.mark.long
def test_the_provider_works_on_what_is_left() -> None:
    """Without the modules that the image lacks Gemini answers, and the ways to Cloud SQL can be loaded."""
    if any(
        importlib.util.find_spec(name) is None for name in ("google", "google.cloud.sql", "google.cloud.aiplatform")
    ):
        pytest.skip("the extras of a server are not installed here; `make test` installs them")
    names = set().union(*module("prune").plan(RULES, SITE).values())
    gone = {name[:-3].removesuffix("/__init__").replace("/", ".") for name in names if name.endswith(".py")}
    assert "google.cloud.aiplatform_v1beta1" in gone
    command = [sys.executable, "-c", WITHOUT]
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    ran = subprocess.run(command, input=" ".join(gone), env=paths, capture_output=True, text=True, check=False)
    assert (ran.returncode, int(ran.stdout or 0) > 20) == (0, True), ran.stderr[-2000:]
