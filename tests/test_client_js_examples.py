"""The examples in the README of the JavaScript client, each run as it stands against a real server."""

import asyncio
import json
import re
from collections.abc import Iterator
from functools import partial

import pytest
from browsers import needs_chromium
from npm import NODE, needs_node
from playwright.async_api import Browser, Route
from processes import ROOT, Process, fresh_home, running

CLIENT = ROOT / "clients/js"
EXAMPLES = re.findall(r"^```js( browser)?\n(.*?)^```$", (CLIENT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8080"
TITLES = ["completed", "confirmed", "revised", "undetermined"]
BODY = '<body><p id="fast"></p><p id="slow"></p><button id="stop"></button></body>'

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def server(files_dsn: str) -> Iterator[Process]:
    """A server for the examples."""
    settings = {"DATABASE_URL": files_dsn, "FAST_MODEL": "scripted:fast?first=0.01&gap=0.001", "MODELS_ALLOWED": "*"}
    with fresh_home() as home, running(home, **settings, SLOW_MODEL="scripted:slow?first=0.03&gap=0.001") as process:
        yield process


@needs_node
@pytest.mark.parametrize("code", [code for page, code in EXAMPLES if not page])
async def test_an_example_for_node_runs(server: Process, code: str) -> None:
    """An example of the README runs as it stands, to a `done`."""
    command = [str(NODE), "--input-type=module", "--eval", code.replace(ADDRESS, server.url)]
    program = await asyncio.create_subprocess_exec(*command, cwd=CLIENT, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        printed, _ = await program.communicate()
    assert program.returncode == 0
    assert re.search(r"^(completed|\d+ done)$", printed.decode(), re.MULTILINE)


async def as_page(route: Route, *, html: str) -> None:
    """Answer with this page."""
    await route.fulfill(body=html, content_type="text/html")


@needs_chromium
async def test_the_examples_for_a_page_run(server: Process, browser: Browser) -> None:
    """Each example of the README for a page runs in one, as a module."""
    codes = [code for page, code in EXAMPLES if page]
    assert len(codes) == 2
    page = await browser.new_page()
    for number, code in enumerate(codes):
        html = f'{BODY}<script type="module">{code}</script>'
        await page.route(f"**/{number}.html", partial(as_page, html=html))
        await page.goto(f"{server.url}/{number}.html")
        await page.wait_for_function(f"{json.dumps(TITLES)}.includes(document.title)")
    await page.close()
