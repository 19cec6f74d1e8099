"""The head of a reply and what follows it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from clock import jump

from app.http.joining import Joining
from app.http.stream import Place, RunStream
from app.question import Caller
from app.reasoning.log import Log


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
    made = SimpleNamespace(transport=Wire(), scope={"method": "GET"}, chunked_encoding=True, expected_content_length=0)
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


@pytest.mark.parametrize(
    "bare",
    [
        {"scope": {"method": "HEAD"}, "expected_content_length": 9},
        {"chunked_encoding": None},
        {"chunked_encoding": False},
    ],
    ids=["HEAD", "no body", "an empty body"],
)
async def test_a_head_alone_waits_for_nothing(cycle: SimpleNamespace, bare: dict[str, Any]) -> None:
    """A head that is the whole reply is written at once: what is said next on the connection comes behind it."""
    vars(cycle).update(bare)
    cycle.transport.write(b"head")
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


def test_a_head_does_not_wait_for_a_log_that_shows_nothing() -> None:
    """The head of a stream goes with its first event, and alone after a quarter of a second without one."""
    sent: list[tuple[float, str]] = []

    async def watched(shows_after_s: float) -> None:
        """Serve a log whose first events come then, and note when what was sent."""
        log = Log("r", Caller("c"), "f")
        begun = log.loop.time()

        async def send(message: dict[str, Any]) -> None:
            """Note the message."""
            sent.append((round(log.loop.time() - begun, 2), message["type"].rpartition(".")[2]))

        log.loop.call_later(shows_after_s, log.relay, b"event: done\nid: r:0\ndata: {}\n\n")
        await RunStream(log, Place(), 15.0, {})({"type": "http"}, asyncio.Event().wait, send)  # type: ignore[arg-type]

    jump(watched(0.1))
    jump(watched(2.0))
    assert sent == [(0.1, "start"), (0.1, "body"), (0.25, "start"), (2.0, "body")]
