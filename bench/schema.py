"""Sends a server with AUTH=keys everything its OpenAPI schema allows, and much that it does not.

    python -m bench.schema [--examples 20]

Fails on a 5xx, on a status that the schema does not have, on a method that is answered though there is none, and on an
address that is answered without a key or with a wrong one. Takes a minute or two; needs schemathesis.
"""

import argparse
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.processes import PASSED_ON, ROOT
from bench.servers import get

CHECKS: Final = "not_a_server_error,status_code_conformance,unsupported_method,ignored_auth,content_type_conformance"
READY_S: Final = 60.0
LANE: Final = "?first=0.005&gap=0&tokens=3"


def environment(home: Path, port: int) -> dict[str, str]:
    """Of a server that answers at once, guesses without end, and asks no real provider."""
    return {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "TANDEM_HOME": str(home),
        "PORT": str(port),
        "AUTH": "keys",
        "KEY_PEPPER": secrets.token_hex(32),
        "AUTH_FAILURES_PER_MINUTE": "1000000",
        "FAST_MODEL": f"scripted:fast{LANE}",
        "SLOW_MODEL": f"scripted:slow{LANE}",
        "DEADLINE_S": "3",
        "LOG_LEVEL": "WARNING",
    }


def ready(port: int) -> None:
    """Wait until the server is."""
    until = time.monotonic() + READY_S
    while get(port, "/health/ready")[0] != 200:
        if time.monotonic() > until:
            raise SystemExit("the server does not start")
        time.sleep(0.1)


def main(examples: int) -> int:
    """The exit code of schemathesis."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder, socket.socket() as probe:
        Path(folder).chmod(0o711)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        env = environment(Path(folder) / "home", port)
        tandem = [sys.executable, "-m", "app.cli"]
        server = subprocess.Popen([*tandem, "serve"], env=env, cwd=ROOT)
        try:
            ready(port)
            create = [*tandem, "keys", "create", "schema", "--roles", "ask,read,admin"]
            made = subprocess.run(create, env=env, cwd=ROOT, check=True, capture_output=True, text=True)
            tested = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/openapi.json"]
            options = ["--checks", CHECKS, "-n", str(examples), "--phases", "examples,coverage,fuzzing"]
            header = ["-H", f"Authorization: Bearer {made.stdout.strip()}"]  # of a server that ends with this process
            more = ["--warnings", "off", "--continue-on-failure"]
            return subprocess.run([*tested, *options, *header, *more], cwd=folder, check=False).returncode
        finally:
            server.terminate()
            server.wait(15)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=20, help="how many requests are made up for each operation")
    sys.exit(main(parser.parse_args().examples))
