"""What a strict client reads: the bytes of a stream held against the protocol, written without a look at the server.

Also a bare HTTP client over a socket, for what a well-behaved client library would never send.
"""

import asyncio
import contextlib
import json
import re
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, NamedTuple

_EVENT = re.compile(
    r"event: (?P<name>start|delta|preliminary|lane_end|final|done)\n"
    r"(?P<retry>retry: \d+\n)?"
    r"id: (?P<run>[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}):(?P<seq>0|[1-9]\d*)\n"
    r"data: (?P<data>\{[ -~]+\})\n\n"
)
_PING = ": ping\n"


class Event(NamedTuple):
    """One event as a client sees it."""

    name: str
    seq: int
    data: dict[str, Any]
    run_id: str = ""


def read_events(raw: bytes) -> list[Event]:
    """Every event in the bytes of a stream or of its end; AssertionError at the first byte that may not stand there."""
    text, at, events = raw.decode("ascii"), 0, []
    while at < len(text):
        if text.startswith(_PING, at):
            at += len(_PING)
            continue
        match = _EVENT.match(text, at)
        assert match, f"not an event: {text[at : at + 200]!r}"
        assert (match["retry"] is not None) == (match["name"] == "start")
        events.append(Event(match["name"], int(match["seq"]), json.loads(match["data"]), match["run"]))
        at = match.end()
    return events


def valid_stream(raw: bytes) -> list[Event]:
    """The events of a whole stream that keeps every promise of the protocol about order and number."""
    events = read_events(raw)
    names = [event.name for event in events]
    assert [event.seq for event in events] == list(range(len(events)))
    assert len({event.run_id for event in events}) == 1
    assert names[0] == "start"
    assert names[-1] == "done"
    assert all(names.count(name) == 1 for name in ("start", "done"))
    assert all(names.count(name) <= 1 for name in ("preliminary", "final"))
    if "final" in names:
        assert names[-2] == "final"
    for lane in ("fast", "slow"):
        _valid_lane([event for event in events if event.data.get("lane") == lane and event.name != "final"])
    _truthful(events)
    return events


def _valid_lane(events: list[Event]) -> None:
    names = [event.name for event in events]
    assert names.count("lane_end") == 1
    assert names[-1] == "lane_end"
    if "preliminary" in names:
        assert names[-2:] == ["preliminary", "lane_end"]
        said = "".join(e.data["text"] for e in events if e.name == "delta" and e.data["kind"] == "answer")
        assert events[-2].data["text"] == said
        assert events[-2].data["lane"] == "fast"


def _truthful(events: list[Event]) -> None:
    """The status follows from how the lanes ended and from what stands."""
    done = events[-1].data
    final = next((event.data for event in events if event.name == "final"), None)
    outcomes = {event.data["lane"]: event.data["outcome"] for event in events if event.name == "lane_end"}
    assert done["final_lane"] == (final and final["lane"])
    assert done["verified"] == (final is not None and final["verified"])
    if final is not None:
        assert outcomes[final["lane"]] == "completed"
        assert final["verified"] == (final["lane"] == "slow")
    assert (done["status"] == "completed") == done["verified"]
    if done["status"] in {"timeout", "failed"}:
        assert final is None
    if done["status"] == "timeout":
        assert "timeout" in outcomes.values()


@dataclass(frozen=True)
class Reply:
    """A whole reply as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body."""
        found: dict[str, Any] = json.loads(self.body)
        return found


def head(method: str, target: str, *lines: str, host: str | None = "127.0.0.1") -> bytes:
    """The head of a request, byte for byte as given."""
    hosts = () if host is None else (f"Host: {host}",)
    return "\r\n".join([f"{method} {target} HTTP/1.1", *hosts, *lines, "", ""]).encode("latin-1")


def post(body: bytes, *lines: str, target: str = "/v1/reason") -> bytes:
    """A whole POST of JSON."""
    return head("POST", target, "Content-Type: application/json", f"Content-Length: {len(body)}", *lines) + body


@contextlib.asynccontextmanager
async def dialled(port: int, send: bytes = b"") -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, with something said on it; it is reset at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(send)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def reply(reader: asyncio.StreamReader) -> Reply:
    """The next whole reply on a connection."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Reply(int(first.split(" ")[1]), headers, body)


async def tell(port: int, request: bytes) -> Reply:
    """Send some bytes on a connection of their own and read one reply."""
    async with dialled(port, request) as (reader, _):
        return await asyncio.wait_for(reply(reader), 10)


def reset(connection: socket.socket) -> None:
    """Close a socket so that the other side sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def deaf(port: int, request: bytes) -> socket.socket:
    """A client with a tiny buffer that asks and never reads."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    await asyncio.get_running_loop().sock_sendall(client, request)
    return client
