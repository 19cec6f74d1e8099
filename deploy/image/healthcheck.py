"""Is the server of this container alive? The exit code tells: 0 it is, 1 it is not. Standard library only.

It asks GET /health/live of PORT itself, without the standard library's HTTP client, whose import would take longer
than the answer: this runs every few seconds.
"""

import os
import socket
import sys
from typing import Final

TIMEOUT_S: Final = 2.0
REQUEST: Final = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
# Where a server that listens everywhere is reached from beside it.
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # we connect to it


def status(host: str, port: int) -> bytes:
    """The code of the answer, or as much as came of it."""
    with socket.create_connection((host, port), TIMEOUT_S) as connection:
        connection.sendall(REQUEST)
        return connection.makefile("rb").readline(100)[9:12]


def main() -> int:
    """0 when the server says that it lives, else 1 and why."""
    host = os.environ.get("HOST") or "127.0.0.1"
    try:
        code = status(EVERYWHERE.get(host, host), int(os.environ.get("PORT") or "8080"))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if code != b"200":
        sys.stderr.write(f"the server answered {code.decode(errors='replace')!r}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
