"""The stream as clients read it that no one here wrote: curl, httpx-sse, two packages of Node, and a browser.

Keep-alives come all the time here. What every client was given must be what the finished log holds, event by event.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import httpx_sse
import pytest
import pytest_asyncio
from browsers import needs_chromium
from cutting import cutting
from playwright.async_api import Browser, Page
from processes import Process, fresh_home, running
from seen import Seen, events_in

PING = b": ping\n"
# Some events with silences longer than the time between two keep-alives, and text that breaks parsers.
FAST = "scripted:garbage?first=0.08&gap=0.015"
SLOW = "scripted:slow?first=0.15&gap=0.04&tokens=5"
NAMES = ["start", "delta", "preliminary", "lane_end", "final", "done"]

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def server(files_dsn: str) -> Iterator[Process]:
    """A real server that sends a keep-alive after every 25 ms of silence."""
    settings = {"DATABASE_URL": files_dsn, "PING_S": "0.025", "FAST_MODEL": FAST, "SLOW_MODEL": SLOW}
    with fresh_home() as home, running(home, **settings) as process:
        yield process


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page of nobody, to be led to an address of the server where little is loaded."""
    context = await browser.new_context()
    yield await context.new_page()
    await context.close()


async def output_of(*command: str | Path) -> bytes:
    """What a program printed; it has 20 s."""
    program = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(20):
            printed, _ = await program.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            program.kill()
    assert program.returncode == 0
    return printed


def lines(printed: bytes) -> list[dict[str, Any]]:
    """What a program printed as lines of JSON."""
    return [json.loads(line) for line in printed.splitlines()]


def asking(url: str, method: str, label: str = "none") -> tuple[str, str | None]:
    """The address and the body of a question that wants a run of its own."""
    if method == "GET":
        return f"{url}/v1/reason?input=two+lanes%3F&cache=off&experiment={label}", None
    return f"{url}/v1/reason", json.dumps({"input": "two lanes?", "cache": "off", "experiment": label})


async def runs_of(url: str, label: str) -> list[dict[str, Any]]:
    """The runs that were opened under a label."""
    async with httpx.AsyncClient(base_url=url, verify=False) as http:
        answer = await http.get("/api/experiments", params={"experiment": label})
    found: list[dict[str, Any]] = answer.json()["experiments"]
    return found


async def log_of(url: str, run_id: str) -> bytes:
    """The finished log of a run."""
    async with httpx.AsyncClient(base_url=url, verify=False) as http:
        return (await http.get(f"/v1/runs/{run_id}/events")).content


async def assert_whole(url: str, seen: list[Seen]) -> None:
    """A client was given every event of its run, in order, once, and nothing else; `done` was the last."""
    assert seen == events_in(await log_of(url, seen[0].run_id))
    names = [event.name for event in seen]
    assert (names[0], names[-1], names.count("done")) == ("start", "done", 1)
    assert set(names) == set(NAMES)
    assert [event.seq for event in seen] == list(range(len(seen)))
    said = {"fast": "", "slow": ""}
    for event in seen:
        if event.name == "delta":
            said[event.json["lane"]] += event.json["text"]
    ends = {event.name: event.json for event in seen}
    assert (said["fast"], said["slow"]) == (ends["preliminary"]["text"], ends["final"]["text"])
    assert "\u2028\u2029\x85" in said["fast"]


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_curl_prints_the_log_and_keep_alives(server: Process, method: str) -> None:
    """curl prints the log to the byte, keep-alives apart: comments of one line, of which no client makes an event."""
    url, body = asking(server.url, method)
    sent = [] if body is None else ["-d", body, "-H", "content-type: application/json"]
    printed = await output_of("curl", "--silent", "--fail", "--no-buffer", *sent, url)
    log = printed.replace(PING, b"")
    seen = events_in(log)
    assert printed.count(PING) >= 3
    assert PING + b"\n" not in printed  # the blank line that makes the SDKs of OpenAI and others raise
    assert log == await log_of(server.url, seen[0].run_id)
    await assert_whole(server.url, seen)


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_httpx_sse_is_given_every_event(server: Process, method: str) -> None:
    """httpx-sse is given the events of the log and nothing for a keep-alive."""
    url, body = asking(server.url, method)
    headers = {"content-type": "application/json"}
    async with (
        httpx.AsyncClient(timeout=10, verify=False) as http,
        httpx_sse.aconnect_sse(http, method, url, content=body, headers=headers) as source,
    ):
        seen = [Seen(event.event, event.id, event.data) async for event in source.aiter_sse()]
    await assert_whole(server.url, seen)


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_eventsource_parser_is_given_every_event(server: Process, node_clients: Path, method: str) -> None:
    """eventsource-parser, fed by fetch, is given the events of the log, and keep-alives as comments alone."""
    url, body = asking(server.url, method)
    printed = lines(await output_of("node", node_clients / "parse.mjs", method, url, *([] if body is None else [body])))
    assert len([line for line in printed if line["name"] == "comment"]) >= 3
    await assert_whole(server.url, [Seen(**line) for line in printed if line["name"] != "comment"])


async def test_eventsource_of_npm_is_given_every_event(server: Process, node_clients: Path) -> None:
    """The `eventsource` package is given the events of the log and nothing for a keep-alive."""
    url, _ = asking(server.url, "GET")
    opened, *printed = lines(await output_of("node", node_clients / "read.mjs", url, "--once"))
    assert opened == {"name": "opened"}
    await assert_whole(server.url, [Seen(**line) for line in printed])


async def test_eventsource_of_npm_comes_back(server: Process, node_clients: Path) -> None:
    """An `eventsource` whose connection breaks comes back to the same run, and a 204 after `done` stops it for good."""
    label = uuid4().hex
    async with cutting(server.url, after=1500, cuts=1) as wire:
        printed = lines(await output_of("node", node_clients / "read.mjs", asking(wire.url, "GET", label)[0]))
    assert [line["name"] for line in printed if "id" not in line] == ["opened", "lost", "opened", "lost", "stopped"]
    await assert_whole(server.url, [Seen(**line) for line in printed if "id" in line])
    assert (wire.cuts, wire.streams, wire.stops) == (0, 2, 1)
    assert len(await runs_of(server.url, label)) == 1


# An EventSource of the page: what it was given until it stops for good, or, with `once`, until `done`.
LISTEN = """([url, names, once]) => new Promise((resolve) => {
  const seen = [];
  const source = new EventSource(url);
  for (const name of [...names, "message"]) {
    source.addEventListener(name, (event) => {
      seen.push([name, event.lastEventId, event.data]);
      if (name === "done" && once) { source.close(); resolve(seen); }
    });
  }
  source.addEventListener("error", () => {
    const stopped = source.readyState === EventSource.CLOSED;
    seen.push([stopped ? "stopped" : "lost"]);
    if (stopped) resolve(seen);
  });
})"""

FETCH = """async ([url, body]) => {
  const init = body === null ? {} : { method: "POST", body, headers: { "content-type": "application/json" } };
  return await (await fetch(url, init)).text();
}"""


@needs_chromium
async def test_the_event_source_of_chromium_is_given_every_event(server: Process, page: Page) -> None:
    """Chromium's own EventSource is given the events of the log and nothing for a keep-alive."""
    await page.goto(f"{server.url}/health/live")
    seen = await page.evaluate(LISTEN, [asking(server.url, "GET")[0], NAMES, True])
    await assert_whole(server.url, [Seen(*event) for event in seen])


@needs_chromium
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_the_fetch_of_chromium_is_given_every_byte(server: Process, page: Page, method: str) -> None:
    """Chromium's fetch reads the log to the byte, keep-alives apart."""
    await page.goto(f"{server.url}/health/live")
    text: str = await page.evaluate(FETCH, list(asking(server.url, method)))
    assert text.count(PING.decode()) >= 3
    await assert_whole(server.url, events_in(text.replace(PING.decode(), "").encode("ascii")))


@needs_chromium
async def test_the_event_source_of_chromium_comes_back(server: Process, page: Page) -> None:
    """Chromium's EventSource whose connection breaks comes back to the same run, and a 204 after `done` stops it."""
    label = uuid4().hex
    async with cutting(server.url, after=1500, cuts=1) as wire:
        await page.goto(f"{wire.url}/health/live")
        async with asyncio.timeout(20):
            seen = await page.evaluate(LISTEN, [asking(wire.url, "GET", label)[0], NAMES, False])
    assert [event[0] for event in seen if len(event) == 1] == ["lost", "lost", "stopped"]
    await assert_whole(server.url, [Seen(*event) for event in seen if len(event) == 3])
    assert (wire.cuts, wire.streams, wire.stops) == (0, 2, 1)
    assert len(await runs_of(server.url, label)) == 1
