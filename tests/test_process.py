"""Real servers that are asked to end, and real servers that are killed. Time is real here."""

import asyncio
import itertools
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import LONG, Process, command, fresh_home, left, postgres_of, running, starting
from seen import Seen, events_in

from bench.servers import free_port

STREAMS = 50
QUICK = {"fast": {"model": "scripted:fast?first=0&gap=0"}, "slow": {"model": "scripted:slow?first=0.1&gap=0"}}
_labels = (f"label-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """One home for the tests of this file that need no new one; no server runs on it between two of them."""
    with fresh_home() as folder:
        yield folder


class Listener:
    """A client that asks one question, for a run of its own, and reads on until the stream ends."""

    def __init__(self, http: httpx.AsyncClient, **body: Any) -> None:
        self.received = b""
        self._grown = asyncio.Event()
        self._task = asyncio.create_task(self._read(http, {"input": "Are you there?", "cache": "off", **body}))

    async def _read(self, http: httpx.AsyncClient, body: dict[str, Any]) -> None:
        async with http.stream("POST", "/v1/reason", json=body) as response:
            assert response.status_code == 200
            async for chunk in response.aiter_bytes():
                self.received += chunk
                self._grown.set()

    @property
    def seen(self) -> list[Seen]:
        """The whole events so far."""
        return events_in(self.received[: self.received.rfind(b"\n\n") + 2])

    async def until(self, name: str, count: int = 1) -> None:
        """Return when that many events of a name have come."""
        while [event.name for event in self.seen].count(name) < count:
            self._grown.clear()
            async with asyncio.timeout(10):
                await self._grown.wait()

    async def end(self) -> list[Seen]:
        """Everything, once the stream has ended as it should."""
        await self._task
        return self.seen

    async def cut(self) -> list[Seen]:
        """Everything, when the server has died under the stream."""
        with pytest.raises(httpx.RemoteProtocolError):
            await self._task
        return self.seen


def talking_to(server: Process) -> httpx.AsyncClient:
    """A client of one server, for many streams at once."""
    limits = httpx.Limits(max_connections=STREAMS + 10)
    return httpx.AsyncClient(base_url=server.url, timeout=20, limits=limits, verify=False)


async def records(server: Process, label: str) -> list[dict[str, Any]]:
    """The records of the runs that were opened under a label."""
    async with talking_to(server) as http:
        answer = await http.get("/api/experiments", params={"experiment": label, "limit": 200})
    found: list[dict[str, Any]] = answer.json()["experiments"]
    return found


async def seconds_to_exit(server: Process) -> float:
    """How long the server takes from now to a good end."""
    began = time.monotonic()
    assert await asyncio.to_thread(server.wait, 9) == 0, server.stderr
    return time.monotonic() - began


def ends(listeners: list[list[Seen]]) -> list[tuple[str, str]]:
    """Of each stream the name and the status of its last event, which alone is a `done`."""
    assert all([event.name for event in seen].count("done") == 1 for seen in listeners)
    return [(seen[-1].name, seen[-1].json["status"]) for seen in listeners]


async def test_sigterm_ends_every_stream_with_done(home: Path) -> None:
    """SIGTERM gives every open stream its `done`, refuses new runs meanwhile, and loses no record."""
    label = next(_labels)
    with running(home, "by name", **LONG, SHUTDOWN_GRACE_S="0.5") as server:
        async with talking_to(server) as http:
            listeners = [Listener(http, experiment=label) for _ in range(STREAMS)]
            for listener in listeners:
                await listener.until("delta")
            server.terminate()
            exit_in = asyncio.create_task(seconds_to_exit(server))
            while (ready := await http.get("/health/ready")).status_code == 200:
                pass
            refused = await http.post("/v1/reason", json={"input": "Am I late?", "experiment": label})
            logs = [await listener.end() for listener in listeners]
            assert await exit_in < 9
    assert (ready.status_code, ready.json()["checks"]["process"]) == (503, "draining")
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"] > "0") == (
        503,
        "shutting_down",
        True,
    )
    assert ends(logs) == [("done", "shutdown")] * STREAMS
    assert {seen[-1].json["audit"] for seen in logs} == {"durable"}
    with running(home) as server:
        found = await records(server, label)
    assert {record["run_id"]: record["status"] for record in found} == {seen[0].run_id: "shutdown" for seen in logs}
    assert len(found) == STREAMS


async def test_closing_the_terminal_is_an_end_like_any_other(home: Path) -> None:
    """SIGHUP, which a closing terminal sends, drains as SIGTERM does: `done`, a durable record, nothing left behind."""
    label = next(_labels)
    with running(home, **LONG, SHUTDOWN_GRACE_S="0.3") as server:
        database = postgres_of(home)
        async with talking_to(server) as http:
            listener = Listener(http, experiment=label)
            await listener.until("delta")
            server.send(signal.SIGHUP)
            exit_in = asyncio.create_task(seconds_to_exit(server))
            seen = await listener.end()
            assert await exit_in < 9
        assert left(home, server.pid, database) == []
    assert (ends([seen]), seen[-1].json["audit"]) == ([("done", "shutdown")], "durable")
    assert "Traceback" not in server.stderr


async def test_a_lane_that_does_not_stop_does_not_hold_the_end(home: Path) -> None:
    """SIGTERM ends a server in time although a lane ignores that it is cancelled for longer than that."""
    stubborn = "scripted:stubborn?first=0&gap=0&hold=25"
    with running(home, FAST_MODEL=stubborn, SLOW_MODEL=stubborn, SHUTDOWN_GRACE_S="0.3") as server:
        database = postgres_of(home)
        async with talking_to(server) as http:
            listener = Listener(http)
            await listener.until("delta", 2)
            server.terminate()
            exit_in = asyncio.create_task(seconds_to_exit(server))
            assert ends([await listener.end()]) == [("done", "shutdown")]
            assert await exit_in < 9
        assert left(home, server.pid, database) == []
    assert "Traceback" not in server.stderr


async def test_streams_that_end_within_the_grace_complete(home: Path) -> None:
    """Streams that end within the grace end as they would have, and the server goes as soon as they have."""
    with running(home, SHUTDOWN_GRACE_S="3") as server:
        async with talking_to(server) as http:
            listeners = [Listener(http, slow={"model": "scripted:slow?first=0.5&gap=0.001"}) for _ in range(5)]
            for listener in listeners:
                await listener.until("delta")
            server.terminate()
            exit_in = asyncio.create_task(seconds_to_exit(server))
            assert ends([await listener.end() for listener in listeners]) == [("done", "completed")] * 5
            assert await exit_in < 3
    assert "Traceback" not in server.stderr


async def test_after_a_kill_the_next_start_tells_the_truth(home: Path) -> None:
    """After `kill -9` the next start has every durable run, and says of the one that was cut: interrupted."""
    with running(home, **LONG) as server:
        async with talking_to(server) as http:
            whole = Listener(http, **QUICK)
            await whole.end()
            listener = Listener(http)
            await listener.until("delta", 3)
            orphan = postgres_of(home)
            server.kill()
            cut = await listener.cut()
            killed = left(home, orphan)
    assert (cut[0].json["audit"], whole.seen[-1].json["audit"]) == ("durable", "durable")
    assert killed  # a killed server cannot stop its PostgreSQL: the next one must
    with running(home) as successor:
        async with talking_to(successor) as http:
            rest = await http.get(f"/v1/runs/{cut[0].run_id}/events", headers={"last-event-id": cut[-1].id})
            record = (await http.get(f"/v1/runs/{cut[0].run_id}")).json()
            again = await http.get(f"/v1/runs/{whole.seen[0].run_id}/events")
        own = postgres_of(home)
        assert successor.stderr.count("1 runs were interrupted") == 1
    (done,) = events_in(rest.content)
    assert (done.name, done.json["status"], done.json["reason"]) == ("done", "failed", "interrupted")
    assert (done.run_id, done.seq) == (cut[0].run_id, cut[-1].seq + 1)
    assert (record["status"], record["reason"]) == ("failed", "interrupted")
    assert again.content == whole.received
    assert left(home, server.pid, orphan, successor.pid, own) == []


def test_one_server_a_home_and_one_a_port(home: Path) -> None:
    """A second server on a home or a port in use is refused with exit code 2 and the name of the setting."""
    with running(home) as server, fresh_home() as elsewhere:
        same_home = command(home, "serve")
        same_port = command(elsewhere, "serve", PORT=server.url.rpartition(":")[2])
        assert (same_home.returncode, same_port.returncode) == (2, 2)
        assert f"another server (pid {server.pid}) uses TANDEM_HOME" in same_home.stderr
        assert "PORT=" in same_port.stderr
        assert "Traceback" not in same_home.stderr + same_port.stderr
        assert server.status("/api/experiments") == 200


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"PORT": "65536", "DEADLINE_S": "-1", "LOG_LEVEL": "loud", "CACHE_TTL_BY_CLASS": "faq"},
            ["PORT: ", "DEADLINE_S: ", "LOG_LEVEL: ", "CACHE_TTL_BY_CLASS: "],
        ),
        ({"DATABASE_URL": "mysql://nobody@127.0.0.1/x"}, ["DATABASE_URL"]),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1/x?port=http"}, ["DATABASE_URL"]),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1/x?sslmode=on"}, ["DATABASE_URL", "sslmode=require"]),
        ({"SPOOL_DIR": "/dev/null"}, ["/dev/null", "SPOOL_DIR"]),
        (
            {"FAST_MODEL": "openai:x", "OPENAI_BASE_URL": "host/v1"},
            ["FAST_MODEL", "OPENAI_BASE_URL", "https://host/v1"],
        ),
        ({"SLOW_MODEL": "openai:x", "OPENAI_API_KEY": "a\nb"}, ["SLOW_MODEL", "OPENAI_API_KEY"]),
        ({"HOST": "0..0.0.0", "ALLOW_ANONYMOUS": "true"}, ["HOST=0..0.0.0", "another HOST"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_invalid_settings_are_named(home: Path, settings: dict[str, str], told: list[str]) -> None:
    """A start with invalid settings ends with exit code 2, names each of them and its bound, and shows no traceback."""
    ended = command(home, "serve", **settings)
    assert ended.returncode == 2, ended.stderr
    assert [words for words in told if words not in ended.stderr] == []
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("moment", ["postgres.half/base", "postgres/postmaster.pid"])
def test_sigterm_while_starting_leaves_nothing(moment: str) -> None:
    """A server that is told to end before it stands goes at once, with its PostgreSQL, and tells those who wait."""
    port = free_port()
    with fresh_home() as home, starting(home, PORT=str(port)) as server:
        server.until((home / moment).exists)
        with socket.create_connection(("127.0.0.1", port), 5) as early:
            early.sendall(b"GET /v1/runs/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert httpx.get(f"http://127.0.0.1:{port}/health/live", verify=False).status_code == 200
            server.terminate()
            assert server.wait(9) == 0, server.stderr
            assert b'"code": "shutting_down"' in early.recv(4096)
        assert "Traceback" not in server.stderr
        assert left(home, server.pid) == []


async def test_a_second_ctrl_c_ends_at_once(home: Path) -> None:
    """A second SIGINT does not wait for the grace, and still takes the PostgreSQL along."""
    with running(home, **LONG, SHUTDOWN_GRACE_S="3") as server:
        database = postgres_of(home)
        async with talking_to(server) as http:
            listener = Listener(http)
            await listener.until("delta")
            server.interrupt()
            await asyncio.to_thread(server.until, lambda: server.status("/health/ready") == 503)
            began = time.monotonic()
            server.interrupt()
            assert ends([await listener.end()]) == [("done", "shutdown")]
            await seconds_to_exit(server)
            assert time.monotonic() - began < 2.5  # less than the grace
        assert "Traceback" not in server.stderr
        assert left(home, server.pid, database) == []


@pytest.mark.parametrize(("listens", "told"), [(False, "away"), (True, "connecting")], ids=["refuses", "never answers"])
async def test_without_its_database_the_server_still_answers(home: Path, listens: bool, told: str) -> None:
    """A database that is down delays neither the start nor a stream nor the end: the spool has it, health says so."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        url = f"postgresql://nobody:hidden@127.0.0.1:{silent.getsockname()[1]}/nothing"
        with running(home, DATABASE_URL=url) as server:
            async with talking_to(server) as http:
                seen = await Listener(http, **QUICK).end()
                async with asyncio.timeout(5):
                    while (health := (await http.get("/health/")).json())["checks"]["database"] != told:  # noqa: ASYNC110  # nobody tells
                        await asyncio.sleep(0.02)  # the first record has not been tried yet
            server.terminate()
            assert await seconds_to_exit(server) < 4
        migrated = None if listens else command(home, "migrate", DATABASE_URL=url)
    assert (seen[0].json["audit"], seen[-1].json["audit"], ends([seen])) == (
        "durable",
        "durable",
        [("done", "completed")],
    )
    assert health["status"] == "ok"
    assert "not every record was stored before the end" in server.stderr
    assert "hidden" not in server.stderr + str(migrated)
    assert "Traceback" not in server.stderr + str(migrated)


def test_the_commands_find_the_server(home: Path) -> None:
    """`tandem ask` prints the final answer alone, and `tandem psql` shows the latencies of both lanes of the run."""
    with running(home, FAST_MODEL="scripted:fast?gap=0", SLOW_MODEL="scripted:slow?first=0.2&gap=0") as server:
        asked = command(home, "ask", "Is it you?", TANDEM_URL=server.url)
        query = "SELECT id, flash_latency_ms, pro_latency_ms FROM experiment_runs ORDER BY created_at DESC LIMIT 1"
        queried = command(home, "psql", "-At", "-F", " ", "-c", query)
    assert (asked.returncode, queried.returncode) == (0, 0), asked.stderr + queried.stderr
    assert asked.stdout.startswith("You asked: “Is it you?” This slower answer was scripted too.")
    assert "quick" not in asked.stdout.partition("slower")[0]
    run_id, flash, pro = queried.stdout.split()
    assert len(run_id) == 36
    assert 0 < float(flash) < 200 <= float(pro)
