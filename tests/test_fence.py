"""What no PostgreSQL sends ends the connection instead of the event loop, and what one sends is never mistaken."""

import asyncio
import struct
from typing import Any
from urllib.parse import urlsplit

import pytest
from cells import rows
from redises import answering

from app.postgres.fence import Fenced, install
from app.postgres.pool import Pool
from app.record.store import StoreUnavailable


def head(kind: bytes, length: int) -> bytes:
    """The head of a message."""
    return struct.pack("!ci", kind, length)


@rows(
    "reply",
    [
        head(b"R", -1) + bytes(60),
        head(b"R", 3),
        head(b"Z", -(2**31)) + b"x" * 40,
        head(b"?", 8) + bytes(4),
        b"\xff" * 99,
    ],
)
async def test_noise_ends_the_connection(reply: bytes) -> None:
    """A length or a kind that there is not is an unavailable database, at once."""
    async with answering(reply) as address, asyncio.timeout(2):
        port = urlsplit(address).port
        async with Pool(f"postgresql://tandem@127.0.0.1:{port}/x?sslmode=disable") as pool:
            with pytest.raises(StoreUnavailable):
                async with pool.connection():
                    pass


@rows("size", [1, 2, 3, 5, 7, 64])
def test_pieces(size: int) -> None:
    """Sound messages are sound in whatever pieces they come; the first byte that is not is found behind them."""
    fence: Any = Fenced.__new__(Fenced)
    fence._head, fence._due = b"", 0
    sound = b"".join(
        head(kind, 4 + n) + b"\xff" * n for n, kind in enumerate((b"R", b"S", b"K", b"Z", b"T", b"D", b"C"))
    )
    assert all(fence._sound(sound[at : at + size]) for at in range(0, len(sound), size))
    assert not fence._sound(head(b"D", 3))


async def test_every_connection(dsn: str) -> None:
    """Connections are made behind the fence, and large values pass it."""
    install()
    async with Pool(dsn) as pool, pool.connection() as connection:
        assert isinstance(connection._protocol, Fenced)
        assert await connection.fetchval("SELECT length(repeat('x', 3000000))") == 3_000_000
        assert len(await connection.fetchval("SELECT repeat('x', 3000000)")) == 3_000_000
