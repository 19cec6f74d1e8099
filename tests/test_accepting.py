"""Who stands before the door is taken in, all at once; and who has no hope is told there."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from servers import Server, eventually, serving
from wire import dialled, head, post, reply, tell

from app.admission import ceiling
from app.admission.ceiling import LASTING, LEAST, Ceiling
from app.admission.load import Capacity, Load
from app.errors import Overloaded
from app.http import accepting
from app.http.accepting import Accepting
from app.telemetry.lag import Lag

QUESTION = post(b'{"input": "Why?", "cache": "off"}')
LATE_S = 0.05


class Greeted(asyncio.Protocol):
    """A protocol that counts."""

    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """One more."""
        Greeted.count += 1
        transport.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listener with room before it."""
    with socket.create_server(("127.0.0.1", 0), backlog=300) as made:
        yield made


async def test_all_who_wait_are_taken_in_at_once(listener: socket.socket) -> None:
    """However many stand before the door, one turn of the loop is enough to see them, and few more to greet them."""
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        Greeted.count, doors = 0, Accepting(listener, Greeted)
        for _ in range(5):
            await asyncio.sleep(0)
        doors.close()
        await doors.wait_closed()
    assert Greeted.count == 100


async def test_a_system_without_files_is_left_alone_for_a_while(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When no file is left the loop does not spin: it says so, rests, and takes in who waited."""

    class Poor(socket.socket):
        """A listener that has no file for the first."""

        poor = True

        def accept(self) -> Any:
            """As the system would."""
            if Poor.poor:
                Poor.poor = False
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    monkeypatch.setattr(accepting, "REST_S", 0.01)
    with Poor(fileno=os.dup(listener.fileno())) as poor, socket.create_connection(listener.getsockname()):
        Greeted.count, doors = 0, Accepting(poor, Greeted)
        with caplog.at_level(logging.WARNING):
            await eventually(lambda: Greeted.count)
        doors.close()
    assert Greeted.count == 1
    assert [record.getMessage() for record in caplog.records] == [
        "no connection can be taken in for 0.01 s: Too many open files"
    ]


def lately(look: Callable[..., None], *racing: int) -> None:
    """The loop is late for as long as it takes to matter."""
    for _ in range(LASTING + 1):
        look(LATE_S * 2, *racing)


def test_races_are_fewer_while_the_loop_is_late() -> None:
    """Lateness takes away a part of what runs, never the last few; good looks give it back, up to what is set."""
    ceiling = Ceiling(1000, LATE_S)
    lately(ceiling.look, 100)
    assert (ceiling.races, ceiling.binding) == (80, True)
    for _ in range(100):
        ceiling.look(LATE_S * 2, 100)
    assert ceiling.races == LEAST
    for _ in range(300):
        ceiling.look(0.0, 100)
    assert (ceiling.races, ceiling.binding) == (1000, False)


def test_a_burst_takes_no_race_away() -> None:
    """A loop that is late for a moment only, again and again, bears as many races as before."""
    ceiling = Ceiling(1000, LATE_S)
    for look in range(10 * LASTING):
        ceiling.look(LATE_S * 2 if look % LASTING else 0.0, 900)
    assert (ceiling.races, ceiling.binding) == (1000, False)


async def test_no_more_are_let_by_than_there_are_places() -> None:
    """While the loop is the bound, as many are let by as places are free, and those behind them are turned away."""
    load = Load(Capacity(200, 10, 1.0, LATE_S))
    assert not any(load.turns_away() for _ in range(300))
    lately(load.look)
    assert [load.turns_away() for _ in range(LEAST + 2)] == [False] * LEAST + [True] * 2
    load.look(LATE_S * 2)
    assert not load.turns_away()
    assert load.refused[Overloaded.code] == 2


@pytest_asyncio.fixture
async def late(dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """A server whose loop is late, with as many races as it bears: none."""
    monkeypatch.setattr(Lag, "now_s", 0.4)
    monkeypatch.setattr(ceiling, "LEAST", 0)
    monkeypatch.setattr(ceiling, "LASTING", 0)
    async with serving(dsn, cors_origins="https://page.example") as server:
        looks: Any = server.parts.numbers
        await eventually(looks.sources.queue.turns_away)
        looks.sources.queue.refused.clear()
        yield server


async def test_who_has_no_hope_is_told_before_the_question_is_read(late: Server) -> None:
    """A server whose loop is late answers the head of a new question, and takes everything else."""
    told = await tell(late.port, QUESTION[: QUESTION.index(b"{")])  # and no body
    assert (told.status, told.json()["code"], told.headers["retry-after"]) == (503, Overloaded.code, "5")
    assert told.json()["request_id"] == told.headers["x-request-id"]
    assert (await tell(late.port, head("GET", "/health/live"))).status == 200
    again = post(b'{"input": "Why?"}', "Last-Event-ID: 0190b6a5-0000-7000-8000-000000000000:1")
    assert (await tell(late.port, again)).status == 404
    scraped = (await tell(late.port, head("GET", "/prometheus"))).body
    assert b'tandem_refusals_total{code="overloaded"} 1.0' in scraped
    assert b'tandem_queue_refused_total{reason="overloaded"} 1.0' in scraped
    assert b'tandem_connections_ended_total{reason="overloaded"} 1.0' in scraped


async def test_who_is_turned_away_is_told_as_anybody_is(late: Server) -> None:
    """The answer has the id that the request came with, what every answer carries, and a listed page may read it."""
    inside = await tell(late.port, head("GET", "/health/live", "Origin: https://page.example"))
    told = [await tell(late.port, post(b"{}", "X-Request-ID: mine-1", "Origin: https://page.example")) for _ in "ab"][1]
    assert (told.status, told.headers["x-request-id"], told.json()["request_id"]) == (503, "mine-1", "mine-1")
    assert inside.headers.keys() - {"date", "transfer-encoding"} <= told.headers.keys()
    assert told.headers["access-control-allow-origin"] == "https://page.example"


async def test_who_is_turned_away_is_told_once(late: Server) -> None:
    """What is wrong in the rest of a body behind that answer gets no second one."""
    begun = head("POST", "/v1/reason", "Transfer-Encoding: chunked")
    async with dialled(late.port, begun) as (reader, writer), asyncio.timeout(1):
        assert (await reply(reader)).status == 503
        writer.write(b"no number of a chunk\r\n")
        assert await reader.read() == b""


async def test_who_is_turned_away_may_finish(late: Server) -> None:
    """A question whose body is still on its way is told all the same, and the connection ends behind the body."""
    begun, rest = QUESTION[:-5], QUESTION[-5:]
    async with dialled(late.port, begun) as (reader, writer), asyncio.timeout(1):
        assert (await reply(reader)).status == 503
        writer.write(rest)
        assert await reader.read() == b""
