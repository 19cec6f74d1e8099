"""The page /docs as a person uses it: a real browser, a real server."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from browsers import needs_chromium
from consoles import Console, expect
from playwright.async_api import Page
from processes import Process, fresh_home, running

pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="session")]
WAIT_MS = 20_000


@pytest.fixture(scope="module")
def server(files_dsn: str) -> Iterator[Process]:
    """A server whose models are quick."""
    models = {"FAST_MODEL": "scripted:fast?first=0&gap=0", "SLOW_MODEL": "scripted:slow?first=0&gap=0"}
    with fresh_home() as home, running(home, DATABASE_URL=files_dsn, **models) as process:
        yield process


@pytest_asyncio.fixture(loop_scope="session")
async def page(one_console: Console) -> AsyncIterator[Page]:
    """A page; what it complains about, a script or a style that its policy forbids too, fails the test."""
    async with one_console.lent() as lent:
        yield lent


async def test_the_interface_is_drawn_and_tried_without_any_other_server(server: Process, page: Page) -> None:
    """/docs draws the interface and asks a question by it; all that it loads comes from the server itself."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(f"{server.url}/docs")
    await page.locator(".opblock-get", has_text="/v1/reason").locator(".opblock-summary-control").click()
    await page.get_by_role("button", name="Try it out").click()
    await page.get_by_placeholder("input", exact=True).fill("Why?")
    await page.get_by_role("button", name="Execute").click()
    await expect(page.locator(".live-responses-table").first).to_contain_text("event: done", timeout=WAIT_MS)
    assert any("/v1/reason?input=Why" in url for url in asked)
    assert [url for url in asked if not url.startswith((f"{server.url}/", "data:", "blob:"))] == []
