"""What the checks of bench/container.py run on: a server of the image that works, and ways to ask it."""

import http.client
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.contained import Contained, Mount, Plan, run
from bench.image import Image
from bench.servers import free_port, get

UID: Final = 10001
START_S: Final = 30.0
SOCKETS: Final = "/mnt/cloudsql/project:region:instance"
SCRIPTED: Final = {"FAST_MODEL": "scripted:fast", "SLOW_MODEL": "scripted:slow", "ALLOW_ANONYMOUS": "true"}


class Ground:
    """What the checks run on: the image, a database, a server in place of Vertex AI."""

    def __init__(self, image: Image, place: Path, sockets: Path, vertex_port: int) -> None:
        self.image = image
        self.vertex = {
            "FAST_MODEL": "vertex:bench",
            "SLOW_MODEL": "vertex:bench",
            "VERTEX_PROJECT": "p",
            "VERTEX_ENDPOINT": f"http://127.0.0.1:{vertex_port}",
        }
        self.place = place
        self._sockets = sockets
        self._count = 0

    def plan(self, *, own: bool = True, **changes: Any) -> Plan:  # noqa: ANN401  # the fields of Plan
        """A plan with an empty volume, the user's own unless told otherwise, and the database's socket."""
        self._count += 1
        home = self.place / str(self._count)
        volume = home / "volume"
        volume.mkdir(parents=True)
        if own:
            os.chown(volume, UID, UID)
            volume.chmod(0o700)
        mounts: tuple[Mount, ...] = (("bind", str(self._sockets), SOCKETS, ""), *changes.pop("mounts", ()))
        return Plan(self.image, home, volume, mounts=mounts, **changes)

    def settings(self, **changes: str) -> dict[str, str]:
        """Those of a server that works."""
        dsn = f"postgresql://tandem@/postgres?host={SOCKETS}"
        return {**SCRIPTED, "DATABASE_URL": dsn, "PORT": str(free_port()), **changes}

    @contextmanager
    def serving(self, **changes: str) -> Iterator[tuple[Contained, int, Plan]]:
        """A ready server and its port."""
        plan = self.plan(settings=self.settings(**changes))
        port = int(plan.settings["PORT"])
        with Contained(plan) as server:
            await_ready(server, port)
            yield server, port, plan

    def fails(self, *words: str, plan: Plan) -> str:
        """The start of a server that must end by itself, soon, with one message that has those words."""
        ran = run(plan, within_s=20.0)
        expect(ran.code == 2, f"ended with {ran.code}:\n{ran.said[-2000:]}")
        expect("Traceback" not in ran.said, ran.said[-2000:])
        expect(all(word in ran.said for word in words), f"does not say {words}:\n{ran.said[-2000:]}")
        return f"{ran.seconds:.1f} s: {' '.join(ran.said.split())[:150]}"


def expect(holds: object, otherwise: str) -> None:
    """AssertionError with those words unless it holds."""
    if not holds:
        raise AssertionError(otherwise)


def await_ready(server: Contained, port: int) -> None:
    """Return when the server is."""
    deadline = time.monotonic() + START_S
    while get(port, "/health/ready")[0] != 200:
        expect(not server.ended and time.monotonic() < deadline, f"the server is not ready:\n{server.said[-3000:]}")
        time.sleep(0.02)


def ask(port: int, question: str) -> http.client.HTTPResponse:
    """The stream of a question, open."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"input": question, "cache": "off"})
    connection.request("POST", "/v1/reason", body, {"Content-Type": "application/json"})
    return connection.getresponse()


def done(stream: str) -> dict[str, Any]:
    """The data of the last event, which must be `done`."""
    last = stream.rstrip("\n").rpartition("\n\n")[2]
    expect(last.startswith("event: done\n"), f"the stream ends with:\n{stream[-500:]}")
    data: dict[str, Any] = json.loads(last.partition("data: ")[2])
    return data


def answered(port: int, status: str = "completed") -> str:
    """Ask; the stream must end with that status, recorded durably."""
    end = done(ask(port, "What holds a house?").read().decode())
    expect((end["status"], end["audit"]) == (status, "durable"), str(end))
    return f"{end['status']}, {end['audit']}"
