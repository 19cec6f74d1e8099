"""The head of a reply and what follows it."""

import asyncio
from types import SimpleNamespace

import pytest

from app.http.joining import Joining


class Wire:
    """A transport that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        """Note a write."""
        self.told.append(data)

    def close(self) -> None:
        """Note the end."""
        self.told.append("closed")

    def is_closing(self) -> bool:
        """Whether the end came."""
        return "closed" in self.told


@pytest.fixture
def cycle() -> SimpleNamespace:
    """What uvicorn calls a cycle, with a way of its own to the wire."""
    made = SimpleNamespace(transport=Wire())
    made.wire, made.transport = made.transport, Joining(made)  # type: ignore[arg-type]  # all that is needed of one
    return made


async def test_a_head_goes_with_what_follows(cycle: SimpleNamespace) -> None:
    """A head and what follows it in the same turn of the loop are one write; the rest goes past the joining."""
    cycle.transport.write(b"head")
    cycle.transport.write(b" body")
    await asyncio.sleep(0)
    assert cycle.transport is cycle.wire
    assert cycle.wire.told == [b"head body"]


async def test_a_head_waits_for_one_turn(cycle: SimpleNamespace) -> None:
    """A head that nothing follows at once goes alone."""
    cycle.transport.write(b"head")
    assert cycle.wire.told == []
    await asyncio.sleep(0)
    assert (cycle.transport, cycle.wire.told) == (cycle.wire, [b"head"])


async def test_a_head_goes_before_the_end(cycle: SimpleNamespace) -> None:
    """A connection is closed behind the head that was written, and gets nothing more."""
    cycle.transport.write(b"head")
    cycle.transport.close()
    await asyncio.sleep(0)
    assert cycle.wire.told == [b"head", "closed"]


async def test_a_head_for_nobody(cycle: SimpleNamespace) -> None:
    """A head whose client has left in the same turn is written nowhere."""
    cycle.transport.write(b"head")
    cycle.wire.close()
    await asyncio.sleep(0)
    assert cycle.wire.told == ["closed"]
