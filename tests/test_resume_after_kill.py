"""Coming back to a run whose server was killed, while PostgreSQL is away and afterwards. Time is real here."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import entries
import httpx
import pytest
from filing import filed
from journals import Underway
from processes import LONG, fresh_home, running
from seen import events_in
from servers import serving
from test_process import Listener, talking_to

from app.errors import RunNotLive
from app.http.resume import resume
from app.question import Caller
from app.record.entry import Interruption
from bench.proxy import Proxy


@pytest.fixture
def home() -> Iterator[Path]:
    """A home of its own."""
    with fresh_home() as folder:
        yield folder


async def test_a_killed_run_gets_one_done_once_the_record_is_there(home: Path, dsn: str) -> None:
    """While PostgreSQL is away a reader is told to come again, never that there is no such run; then one `done`."""
    parts = urlsplit(dsn)
    async with Proxy(parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432") as proxy:
        away = f"postgresql://tandem@127.0.0.1:{proxy.port}{parts.path}?sslmode=disable"
        await proxy.down()
        with running(home, DATABASE_URL=dsn, **LONG) as server:
            async with talking_to(server) as http:
                listener = Listener(http)
                await listener.until("delta", 3)
                server.kill()
                last = (await listener.cut())[-1]
        with running(home, DATABASE_URL=away) as successor:
            async with talking_to(successor) as http:
                told = await _back(http, last.id)
                assert (told.status_code, told.json()["code"]) == (503, "record_unavailable")
                assert int(told.headers["retry-after"]) > 0
                await proxy.up()
                async with asyncio.timeout(20):
                    while (told := await _back(http, last.id)).status_code in (409, 503):
                        assert "retry-after" in told.headers
                (done,) = events_in(told.content)
                again = await _back(http, done.id)
    assert (done.name, done.seq, done.json["reason"]) == ("done", last.seq + 1, "interrupted")
    assert again.status_code == 204


async def _back(http: httpx.AsyncClient, last_id: str) -> httpx.Response:
    """What a client is given that has seen a run up to this event."""
    return await http.get(f"/v1/runs/{last_id.partition(':')[0]}/events", headers={"last-event-id": last_id})


@pytest.mark.parametrize("interrupted", [False, True])
async def test_an_outcome_on_its_way_is_waited_for(dsn: str, interrupted: bool) -> None:
    """A run that is open or interrupted in the record, while its outcome may be on its way, is no `done` yet."""
    async with serving(dsn) as server:
        start = entries.opening(caller="local")
        records: Any = server.parts.records
        await records.write(filed(Interruption(start, start.created_at) if interrupted else start))
        parts = replace(server.parts, pending=Underway())
        with pytest.raises(RunNotLive):
            await resume(parts, Caller("local"), start.run_id, 3)
        assert (await resume(server.parts, Caller("local"), start.run_id, 3)).status_code == 200
