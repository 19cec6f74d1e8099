"""The packages for Node that tests read the stream and check the client with, as their lock file names them."""

import fcntl
import json
import os
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

CLIENTS = Path(__file__).parent / "clients"
NODE = shutil.which("node")
SUITES = "for (const suite of process.argv.slice(1)) await import(suite);"
# Where everything is to be there, a test that cannot run is red.
needs_node = pytest.mark.skipif(NODE is None and os.environ.get("CI") != "true", reason="node is not installed")


def installed_packages() -> dict[str, Any] | None:
    """What npm says of the packages that it has installed."""
    told = CLIENTS / "node_modules" / ".package-lock.json"
    packages: dict[str, Any] | None = json.loads(told.read_text())["packages"] if told.exists() else None
    return packages


def with_system_certificates() -> dict[str, str]:
    """Our environment; Node trusts what this Python trusts, behind a company's proxy more than its own list."""
    trusted = ssl.get_default_verify_paths().cafile
    return ({"NODE_EXTRA_CA_CERTS": trusted} if trusted else {}) | os.environ


def failures_of(*suites: Path) -> str:
    """What suites say in plain Node, all in one process, when one of their tests fails; each tells its line."""
    command = [str(NODE), "--input-type=module", "--eval", SUITES, *map(Path.as_uri, suites)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


@pytest.fixture(scope="session")
def node_clients() -> Path:
    """The folder of the clients for Node, with the packages that their lock file names."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node or npm is not installed")
    with (CLIENTS / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several pytest processes may come here at once
        wanted = json.load(lock)["packages"]
        if installed_packages() != {path: wanted[path] for path in wanted if path}:
            install = ["npm", "ci", "--prefix", str(CLIENTS), "--no-audit", "--no-fund", "--silent"]
            subprocess.run(install, check=True, timeout=120, env=with_system_certificates())
    return CLIENTS
