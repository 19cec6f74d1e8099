"""The JavaScript client as others get it: types, size, package, and how it is served."""

import gzip
import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from npm import NODE
from processes import ROOT
from servers import Server, serving
from setuptools import Distribution  # type: ignore[import-untyped]  # has none

import app
from app.events import delta_frames, parse

CLIENT = ROOT / "clients/js"
SOURCES = sorted((CLIENT / "src").glob("*.js"))
PACKAGE = json.loads((CLIENT / "package.json").read_text())
TSCONFIG = {
    "compilerOptions": {
        "strict": True,
        "noEmit": True,
        "target": "es2022",
        "lib": ["es2022", "dom"],
        "module": "nodenext",
        "types": [],
        "skipDefaultLibCheck": True,
    },
    "files": ["sample.ts"],
}
MINIFY = """const [fs, { minify }] = [require("fs"), require("uglify-js")];
for (const path of process.argv.slice(1)) {
  const { code, error } = minify(fs.readFileSync(path, "utf8"), { module: true });
  if (error) throw error;
  console.log(code);
}"""

in_loop = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncIterator[Server]:
    """A server for the examples."""
    async with serving() as found:
        yield found


def declare() -> Any:
    """The script that writes the types, as a module."""
    spec = importlib.util.spec_from_file_location("declare", CLIENT / "declare.py")
    assert spec is not None
    assert spec.loader is not None
    found: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_types_are_the_servers() -> None:
    """The types are what the server's schema makes them now; `python clients/js/declare.py` writes them anew."""
    script = declare()
    assert script.TARGET.read_text() == script.declarations()


def test_a_delta_is_what_its_type_says() -> None:
    """The one event that has no struct in the server has the shape that the types give it."""
    script = declare()
    (frame,) = delta_frames("run", 0, "slow", "thinking", ["text"])
    data = parse(frame.encode())[2]
    assert msgspec.to_builtins(msgspec.convert(data, script.Delta)) == data


def test_an_address_has_what_the_server_takes_there() -> None:
    """watch() sends the fields that GET takes, and no other."""
    (names,) = re.findall(r"^const SCALARS = (\[.*\]);$", (CLIENT / "src/tandem.js").read_text(), re.MULTILINE)
    assert json.loads(names) == ["input", *declare().scalars()]


def test_typescript_takes_the_types(node_clients: Path, tmp_path: Path) -> None:
    """A strict program compiles against the package, and each of its mistakes is found."""
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/tandem-client").symlink_to(CLIENT)
    shutil.copy(ROOT / "tests/clients/js/sample.ts", tmp_path)
    (tmp_path / "tsconfig.json").write_text(json.dumps(TSCONFIG))
    command: list[str | Path] = [str(NODE), node_clients / "node_modules/typescript/bin/tsc", "--project", tmp_path]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_the_client_is_small(node_clients: Path) -> None:
    """Minified and compressed all modules together have less than 5,000 bytes."""
    command: list[str | Path] = [str(NODE), "--eval", MINIFY, *SOURCES]
    small = subprocess.run(command, cwd=node_clients, capture_output=True, timeout=60, check=True).stdout
    assert len(small) > 5000
    assert len(gzip.compress(small)) < 5000


def test_the_package_is_whole() -> None:
    """What the package names is there; its version and licence are the project's, and installing runs nothing."""
    project = (ROOT / "pyproject.toml").read_text()
    entry = PACKAGE["exports"]["."]
    assert list(entry) == ["types", "default"]
    assert [name for name in [*entry.values(), PACKAGE["types"]] if not (CLIENT / name).is_file()] == []
    assert PACKAGE["files"] == ["src"]
    assert (PACKAGE["version"], PACKAGE["type"], PACKAGE["sideEffects"]) == (app.__version__, "module", False)
    assert f'license = "{PACKAGE["license"]}"' in project
    assert not {"dependencies", "scripts"} & PACKAGE.keys()


def test_a_wheel_has_the_client() -> None:
    """The files of the client are among the package's data, as files and not as a link."""
    wheel = Distribution({"packages": ["app"], "package_data": {"app": ["console/**/*"]}})
    data = wheel.get_command_obj("build_py")
    data.ensure_finalized()
    found = {name for _, _, _, names in data.get_data_files_without_manifest() for name in names}
    assert {f"console/client/{path.name}" for path in (CLIENT / "src").iterdir()} <= found
    assert '"console/**/*"' in (ROOT / "pyproject.toml").read_text()


@in_loop
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/console/client/tandem.js", "text/javascript"),
        ("/console/client/tandem.d.ts", "text/plain"),
        ("/console/base.css", "text/css"),
        ("/console/mark.svg", "image/svg+xml"),
    ],
)
async def test_a_file_of_the_console_is_asked_for_anew(server: Server, path: str, kind: str) -> None:
    """A file has its type, and is sent again only when its content has changed."""
    sent = await server.client.get(path)
    assert (sent.status_code, sent.headers["content-type"].partition(";")[0]) == (200, kind)
    assert sent.headers["cache-control"] == "no-cache"
    again = await server.client.get(path, headers={"If-None-Match": sent.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await server.client.get(path, headers={"If-None-Match": '"other"'})
    assert other.content == sent.content


@in_loop
@pytest.mark.parametrize(("accepted", "coding"), [("br, gzip;q=0.5", "gzip"), ("gzip;q=0", None), ("identity", None)])
async def test_a_file_is_sent_compressed_to_who_takes_it(server: Server, accepted: str, coding: str | None) -> None:
    """A file comes compressed to who accepts gzip, with a tag of its own, and as it is to everybody else."""
    sent = await server.client.get("/console/base.css", headers={"Accept-Encoding": accepted})
    plain = await server.client.get("/console/base.css", headers={"Accept-Encoding": "identity"})
    assert (sent.headers.get("content-encoding"), sent.headers["vary"]) == (coding, "Accept-Encoding")
    assert sent.content == plain.content
    assert (sent.headers["etag"] == plain.headers["etag"]) is (coding is None)
