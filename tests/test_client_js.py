"""The JavaScript client: its modules by themselves, and its contract with a real server, in Node and in Chromium."""

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from browsers import needs_chromium
from consoles import key_of
from cutting import cutting
from npm import NODE, failures_of, needs_node
from playwright.async_api import Browser, Page, Route
from processes import ROOT, Process, fresh_home, running

from app.http.carried import CSP

FOLDER = ROOT / "tests/clients/js"
SUITES = ["parser.test.mjs", "run.test.mjs"]
RACES, STREAMS, KEPT = 3, 4, 3  # a browser has six connections to a server

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass(frozen=True)
class Site:
    """A server that wants keys, and one."""

    process: Process
    key: str = field(repr=False)

    def world(self, url: str = "", stride: int = 1) -> dict[str, Any]:
        """What the contract's rules are told; stride: a stream is cut at every so manieth byte."""
        bounds = {"races": RACES, "streams": STREAMS, "kept": KEPT}
        return {"baseUrl": url or self.process.url, "key": self.key, "stride": stride, **bounds}


@pytest.fixture(scope="module")
def site(files_dsn: str) -> Iterator[Site]:
    """A server with few places, which keeps the streams of few runs and those for a while only; and a key to it."""
    settings = {
        "DATABASE_URL": files_dsn,
        "AUTH": "keys",
        "MODELS_ALLOWED": "*",
        "KEY_PEPPER": secrets.token_hex(32),
        "FAST_MODEL": "scripted:fast?first=0.01&gap=0",
        "SLOW_MODEL": "scripted:slow?first=0.03&gap=0.002",
        "CACHE": "true",
        "LIMIT_CALLER": "off",
        "LOAD_MAX_RACES": str(RACES),
        "LOAD_STREAMS_PER_CALLER": str(STREAMS),
        "QUEUE_TIMEOUT_S": "0.05",
        "KEPT_RUNS": str(KEPT),
        "AUDIT_CONTENT": "none",
    }
    with fresh_home() as home, running(home, **settings) as process:
        yield Site(process, key_of(process, settings, "alice"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """One page for this file."""
    opened = await browser.new_page()
    yield opened
    await opened.close()


async def in_node(suite: Path, **variables: str) -> str:
    """What a suite says in plain Node, when it fails."""
    program = await asyncio.create_subprocess_exec(
        str(NODE),
        "--test",
        suite,
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(90):
            printed, _ = await program.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            program.kill()
    return "" if program.returncode == 0 else printed.decode()


# Runs the rules one after another: [rule, what went wrong] of those that fail.
IN_PAGE = """async ([world, name]) => {
  const contract = await import("/contract/tests/clients/js/contract.mjs");
  const headers = { authorization: `Bearer ${world.key}` };
  const session = await fetch("/v1/session", { method: "POST", headers });
  const failed = session.ok ? [] : [["session", String(session.status)]];
  for (const [rule, check] of contract[name]) {
    await check({ ...world, baseUrl: "", watching: {} }).catch((error) => failed.push([rule, `${error.stack}`]));
  }
  return failed;
}"""


async def serve_contract(route: Route) -> None:
    """A page of ours and the rules; the client itself is what the server has in its console."""
    name = route.request.url.partition("/contract/")[2]
    if name.startswith("clients/js/src/"):
        await route.fulfill(
            response=await route.fetch(url=route.request.url.replace("contract/clients/js/src", "console/client"))
        )
    elif name == "page.html":
        await route.fulfill(body="<!doctype html>", content_type="text/html", headers={"Content-Security-Policy": CSP})
    else:
        await route.fulfill(path=ROOT / name, content_type="text/javascript")


async def in_chromium(page: Page, world: dict[str, Any], rules: str) -> list[list[str]]:
    """The rules that fail in a page of the server."""
    await page.route("**/contract/**", serve_contract)
    await page.goto(f"{world['baseUrl']}/contract/page.html")
    async with asyncio.timeout(90):
        failed: list[list[str]] = await page.evaluate(IN_PAGE, [world, rules])
    await page.unroute("**/contract/**")
    return failed


@needs_node
async def test_a_module_keeps_its_rules() -> None:
    """Each module of the client passes its own suite in plain Node."""
    assert await asyncio.to_thread(failures_of, *map(FOLDER.joinpath, SUITES)) == ""


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.long)])
async def test_node_keeps_the_contract(site: Site, node_clients: Path, stride: int) -> None:
    """The client keeps every rule of its contract in Node."""
    world = json.dumps(site.world(stride=stride))
    failed = await in_node(node_clients / "js/contract.test.mjs", TANDEM=world, CONTRACT="rules")
    assert not failed, failed


async def test_node_comes_back_over_a_wire_that_breaks(site: Site, node_clients: Path) -> None:
    """Streams that are cut on the wire are come back to from Node, and no second race begins."""
    async with cutting(site.process.url, after=1500, cuts=4) as wire:
        world = json.dumps(site.world(wire.url))
        failed = await in_node(node_clients / "js/contract.test.mjs", TANDEM=world, CONTRACT="broken")
        assert not failed, failed
    assert wire.cuts == 0


@needs_chromium
@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.long)])
async def test_chromium_keeps_the_contract(site: Site, page: Page, stride: int) -> None:
    """The client keeps every rule of its contract in Chromium, under the console's own policy."""
    assert await in_chromium(page, site.world(stride=stride), "rules") == []


@needs_chromium
async def test_chromium_comes_back_over_a_wire_that_breaks(site: Site, page: Page) -> None:
    """Streams that are cut on the wire are come back to from Chromium, and no second race begins."""
    async with cutting(site.process.url, after=1500, cuts=4) as wire:
        assert await in_chromium(page, site.world(wire.url), "broken") == []
    assert wire.cuts == 0
