"""What `python -m bench.hostile` does to a server: each attack is a coroutine over its port that ends by itself."""

import asyncio
import contextlib
import gzip
import os
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

LASTS_S: Final = 16.0  # at most: longer than any patience of the server
HEAD: Final = b"POST /v1/reason HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
LIVE: Final = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
ENDLESS: Final = b'{"model":"scripted:long?first=0&gap=0&tokens=20000"}'
LONG: Final = b'{"input":"Why?","cache":"off","fast":%b,"slow":%b}' % (ENDLESS, ENDLESS)
HELLO: Final = bytes.fromhex("16030100f8010000f40303") + bytes(range(240))
UPGRADE: Final = b"GET /v1/reason HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
TCP_REPAIR: Final = 19  # Linux, root: a socket that is closed with it tells the other side nothing
NO_LINGER: Final = struct.pack("ii", 1, 0)


def asking(body: bytes, *more: bytes) -> bytes:
    """A question."""
    return HEAD + b"".join(line + b"\r\n" for line in more) + b"Content-Length: %d\r\n\r\n" % len(body) + body


QUESTION: Final = asking(b'{"input":"Why?","cache":"off"}')


async def say(port: int, pieces: Sequence[bytes], every_s: float = 0.0) -> bytes:
    """Send these, the last of them again and again until the connection ends when there is a pause; what was heard."""
    heard = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(LASTS_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                sending = asyncio.create_task(_send(writer, pieces, every_s))
                while piece := await reader.read(65_536):
                    heard = (heard + piece)[:4096]
            finally:
                sending.cancel()
                writer.transport.abort()
    return heard


async def _send(writer: asyncio.StreamWriter, pieces: Sequence[bytes], every_s: float) -> None:
    with contextlib.suppress(OSError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every_s)
        while every_s and not writer.is_closing():
            writer.write(pieces[-1])
            await asyncio.sleep(every_s)


def many(count: int, *pieces: bytes, every_s: float = 0.0) -> Callable[[int], Awaitable[None]]:
    """So many clients at once that say this; a hundred new ones every twentieth of a second."""

    async def attack(port: int) -> None:
        """All of them, to the end."""
        tasks = []
        for number in range(count):
            tasks.append(asyncio.create_task(say(port, pieces, every_s)))
            if number % 100 == 99:
                await asyncio.sleep(0.05)
        await asyncio.gather(*tasks)

    return attack


def pour(framing: bytes, piece: bytes) -> Callable[[int], Awaitable[None]]:
    """Two gigabytes, as far as they are taken."""
    pieces = [HEAD + framing + b"\r\n\r\n", *[piece] * ((2 << 30) // len(piece))]
    return many(4, *pieces)


def bomb(coding: bytes, packed: Callable[[bytes], bytes]) -> Callable[[int], Awaitable[None]]:
    """A few bytes that become 64 MB; they are packed when the attack begins, beside the loop, for that takes long."""

    async def attack(port: int) -> None:
        """Fifty clients with the same body."""
        body = await asyncio.to_thread(lambda: packed(b'{"input":"' + b"a" * (64 << 20) + b'"}'))
        await many(50, asking(body, b"Connection: close", b"Content-Encoding: " + coding))(port)

    return attack


async def _raw(port: int, request: bytes) -> socket.socket:
    """A bare connection on which this was sent."""
    made = socket.socket()
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(made, ("127.0.0.1", port))
    await loop.sock_sendall(made, request)
    return made


async def deaf(port: int) -> None:
    """Clients that ask for much and read nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(await _raw(port, asking(LONG)))
        await asyncio.sleep(8)


async def vanish(port: int) -> None:
    """Clients that are gone without a word, in a head and in a stream."""
    for number in range(300):
        made = await _raw(port, QUESTION if number % 6 == 0 else HEAD[:40])
        await asyncio.sleep(0.005)
        made.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        made.close()
    await asyncio.sleep(4)


async def storm(port: int) -> None:
    """Connections that are reset as soon as they have said something."""
    for number in range(4000):
        try:
            made = await _raw(port, QUESTION if number % 10 == 0 else LIVE * (number % 2))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            made.close()
        except OSError:
            continue
        await asyncio.sleep(0.0005)  # the honest client lives in this loop too


@dataclass(frozen=True, slots=True)
class Attack:
    """counted: a part of a line of /prometheus that rises; log: how many lines it may leave at most."""

    name: str
    run: Callable[[int], Awaitable[None]]
    counted: str


def _ended(reason: str) -> str:
    return f'tandem_connections_ended_total{{reason="{reason}"}}'


def _refused(code: str) -> str:
    return f'tandem_refusals_total{{code="{code}"}}'


_SPACES: Final = b" " * 65_536
ATTACKS: Final = (
    Attack("slow heads", many(200, HEAD + b"a", b"a", every_s=1.0), _ended("head_late")),
    Attack(
        "slow bodies", many(200, HEAD + b"Content-Length: 9999\r\n\r\n", b" ", every_s=1.0), _ended("body_unwanted")
    ),
    Attack("never reading", deaf, _ended("never_read")),
    Attack("2 GB announced", pour(b"Content-Length: 2147483648", _SPACES), _ended("body_unwanted")),
    Attack(
        "2 GB in chunks", pour(b"Transfer-Encoding: chunked", b"10000\r\n" + _SPACES + b"\r\n"), _ended("body_unwanted")
    ),
    Attack("10,000 headers", many(200, HEAD + b"a: b\r\n" * 10_000 + b"\r\n"), _ended("head_large")),
    Attack("a header of 1 MB", many(200, HEAD + b"a: " + b"b" * (1 << 20) + b"\r\n\r\n"), _ended("head_large")),
    Attack("bomb, gzip", bomb(b"gzip", gzip.compress), _refused("unsupported_media_type")),
    Attack("bomb, deflate", bomb(b"deflate", zlib.compress), _refused("unsupported_media_type")),
    Attack(
        "bomb, br",
        many(50, asking(os.urandom(65_536), b"Connection: close", b"Content-Encoding: br")),
        _refused("unsupported_media_type"),
    ),
    Attack("5,000 idle", many(5000), _ended("head_late")),
    Attack("vanished", vanish, _ended("head_late")),
    Attack("reset storm", storm, 'route="/health/live"'),
    Attack("pipelined", many(50, LIVE * 5000), _ended("pipelined")),
    Attack("HTTP/1.0", many(200, b"GET /v1/reason HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"), _refused("invalid_request")),
    Attack("garbage", many(500, b"\x00\xff\xfe nothing \x80\r\n\r\n" * 20), _ended("malformed")),
    Attack("TLS to the plain port", many(500, HELLO), _ended("malformed")),
    Attack("websocket", many(200, UPGRADE + b"Connection: close\r\n\r\n"), _refused("invalid_request")),
)
