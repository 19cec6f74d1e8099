"""The tests of the provider `vertex`, run by the image's own Python on what the image has left of Google's library."""

import re
from typing import Final

from bench.contained import run
from bench.ground import Ground, expect
from bench.image import Builder
from bench.processes import ROOT

PYTHON: Final = "/opt/tandem/bin/python"
# What the tests import besides; pytest would bring more than the image has, this is what it lacks.
TOOLS: Final = (
    "hypothesis",
    "iniconfig",
    "packaging",
    "pluggy",
    "pygments",
    "pytest",
    "pytest-asyncio",
    "sortedcontainers",
)
TESTS: Final = """
import sys
sys.path[:0] = ["/mnt/project/tests", "/mnt/project", "/mnt/tools"]
import app, pytest
class WithoutDatabase:
    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if "postgres" not in item.fixturenames]
assert app.__file__.startswith("/opt/"), app.__file__
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", *sys.argv[1:]], [WithoutDatabase()]))
"""


def provider_suite(builder: Builder, ground: Ground) -> str:
    """Whole, but for the tests that need a database of the developer's environment."""
    tools = ground.place / "tools"
    builder.install(_of_lock(TOOLS), tools)
    names = sorted(path.name for path in (ROOT / "tests").glob("test_vertex*.py"))
    mounts = [("bind", str(tools), "/mnt/tools", "ro")]
    mounts += [("bind", str(ROOT / name), f"/mnt/project/{name}", "ro") for name in ("tests", "bench")]
    mounts += [("bind", str(ground.image.base / "usr/bin/openssl"), "/usr/bin/openssl", "ro")]  # makes certificates
    ran = run(
        ground.plan(
            entry=(PYTHON, "-c"),
            args=(TESTS, *(f"/mnt/project/tests/{name}" for name in names)),
            mounts=tuple(mounts),
            settings={"CI": "", "HOST": "127.0.0.1"},
        ),
        within_s=300.0,
    )
    expect(ran.code == 0, ran.said[-6000:])
    return f"{', '.join(names)}: {ran.said.strip().splitlines()[-1]}"


def _of_lock(names: tuple[str, ...]) -> str:
    """The entries of dev.lock for some packages."""
    text = (ROOT / "deploy/locks/dev.lock").read_text()
    entries = re.findall(r"^[\w.-]+==(?:.*\\\n)*.*$", text, re.MULTILINE)
    return "\n".join(entry for entry in entries if entry.partition("==")[0] in names) + "\n"
