"""The servers that are measured, each in a process of its own: upstream itself, the pass-through, Tandem."""

import contextlib
import http.client
import json
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.plan import Answer
from bench.processes import Child, Cores

PROMPT = "Say hello to the load test, please."
# The bounds on a whole answer are widened, and a saturated server refuses nobody; how long a lane may be silent stays.
TANDEM_ENV = {
    "FAST_TIMEOUT_S": "120",
    "SLOW_TIMEOUT_S": "120",
    "DEADLINE_S": "150",
    "LOAD_MAX_LAG_S": "60",
    "LOG_LEVEL": "WARNING",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A server to be loaded. pid: whose processor time and memory count; None: nobody's."""

    name: str
    port: int
    pid: int | None

    @property
    def dialect(self) -> str:
        """How its stream is read."""
        return "tandem" if self.name == "tandem" else "openai"

    @property
    def path(self) -> str:
        """Where it is asked."""
        return "/v1/reason" if self.name == "tandem" else "/v1/chat/completions"

    def body(self, answer: Answer) -> str:
        """The question that makes upstream answer so; Tandem asks it twice, once for each lane, and stores nothing."""
        if self.name == "tandem":
            lane = {"model": f"openai:{answer.model}"}
            return json.dumps({"input": PROMPT, "fast": lane, "slow": lane, "cache": "off"})
        messages = [{"role": "user", "content": PROMPT}]
        options = {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps({"model": answer.model, "messages": messages, **options})


def get(port: int, path: str) -> tuple[int, bytes]:
    """The status and body of one GET; status 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def upstream_stats(port: int) -> dict[str, Any]:
    """What upstream counted since its start."""
    stats: dict[str, Any] = json.loads(get(port, "/stats")[1])
    return stats


def free_port() -> int:
    """A port of loopback that nobody uses now, and that no system gives to others before it is used, or used again."""
    while True:
        port = random.randrange(15_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder with a short path for logs and data, which the system user of PostgreSQL can enter when we are root."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711 if os.geteuid() == 0 else 0o700)
        yield Path(name)


@contextlib.contextmanager
def upstream(logs: Path, port: int) -> Iterator[Target]:
    """The fake upstream, which is also the target `direct`."""
    port = port or free_port()
    with Child(["bench.upstream", str(port)], logs / "upstream.log") as child:
        child.await_ready(lambda: get(port, "/stats")[0] == 200)
        yield Target("direct", port, child.pid)


@contextlib.contextmanager
def baseline(logs: Path, upstream_port: int, cores: Cores) -> Iterator[Target]:
    """The pass-through."""
    port = free_port()
    with Child(["bench.baseline", str(port), str(upstream_port)], logs / "baseline.log") as child:
        cores.give_server(child.pid)
        child.await_ready(lambda: get(port, "/")[0] == 404)
        yield Target("baseline", port, child.pid)


@contextlib.contextmanager
def tandem(logs: Path, upstream_port: int, cores: Cores) -> Iterator[Target]:
    """Tandem as `tandem serve` runs it, with an embedded PostgreSQL whose data is thrown away at the end."""
    port = free_port()
    model = "openai:20t-0ms"
    own = {"PORT": str(port), "HOST": "127.0.0.1", "TANDEM_HOME": str(logs / "home")}
    base_url = f"http://127.0.0.1:{upstream_port}/v1"
    models = {"FAST_MODEL": model, "SLOW_MODEL": model, "OPENAI_BASE_URL": base_url}
    with Child(["app.cli", "serve"], logs / "tandem.log", {**TANDEM_ENV, **own, **models}) as child:
        cores.give_server(child.pid)
        child.await_ready(lambda: get(port, "/health/ready")[0] == 200)
        yield Target("tandem", port, child.pid)
