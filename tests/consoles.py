"""The console in a browser, loaded once for the tests of a file: loading it anew takes longer than most tests do."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import playwright.async_api
import pytest
import pytest_asyncio
from browsers import chromium
from playwright.async_api import Browser, Locator, Page, ViewportSize
from processes import Process, command

WAIT_MS = 20_000
SPAN_MS = 2_400  # who may wait for longer is looked after only every half second, by Playwright's own rule
WIDE: ViewportSize = {"width": 1100, "height": 900}
PHASE = "() => document.body.dataset.phase"
# Whether the run is over, or was told to stop just now: it may end by itself at any moment, and the button with it.
STOPPED = """() => {
  const stop = document.getElementById("stop");
  if (!stop.hidden) stop.click();
  return !stop.hidden || document.body.dataset.phase === "over";
}"""

HURRY = """() => {
  window.patient = setTimeout;
  window.setTimeout = (call, ms, ...rest) => patient(call, ms / 20, ...rest);
}"""


def expect(of: Locator) -> Any:
    """What is expected of a part of a page sooner or later, as Playwright's own; looked at ten times a second."""
    return _Patience(of)


class _Patience:
    def __init__(self, of: Locator) -> None:
        self._expected = playwright.async_api.expect(of)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[None]]:
        look: Callable[..., Awaitable[None]] = getattr(self._expected, name)

        async def until_it_holds(*wanted: Any, timeout: float = WAIT_MS) -> None:
            end = time.monotonic() + timeout / 1000
            while (left := (end - time.monotonic()) * 1000) > SPAN_MS:
                with contextlib.suppress(AssertionError):
                    await look(*wanted, timeout=SPAN_MS)
                    return
            await look(*wanted, timeout=max(1, left))

        return until_it_holds


class Console:
    """A page and what it complained about since that was last asked."""

    def __init__(self, page: Page, url: str, viewport: ViewportSize) -> None:
        self.page = page
        self.url = url
        self._viewport = viewport
        self._complaints: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on(
            "console", lambda said: self._complaints.append(said.text) if said.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: self._complaints.append(str(error)))

    @contextlib.asynccontextmanager
    async def lent(self, *forgiven: str) -> AsyncIterator[Page]:
        """The page at Ask, with nothing live; whatever it complains about, but with these words, fails the test."""
        await self._tidy()
        self._complaints.clear()
        yield self.page
        assert [said for said in self._complaints if not any(words in said for words in forgiven)] == []

    async def _tidy(self) -> None:
        """Undo what the test before did to the page; load it where that led away from it."""
        page = self.page
        await page.unroute_all(behavior="ignoreErrors")
        await page.set_viewport_size(self._viewport)
        await page.emulate_media(reduced_motion="reduce")
        if not page.url.startswith(f"{self.url}/"):
            await page.goto(f"{self.url}/")
        await page.evaluate("location.hash = '#/'")
        await expect(page.locator("body[data-page=ask] #ask")).to_be_visible(timeout=WAIT_MS)
        if await page.evaluate(PHASE) not in {"idle", "over"}:
            await page.wait_for_function(STOPPED)
            await expect(page.locator("body")).to_have_attribute("data-phase", "over", timeout=WAIT_MS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One browser for all tests of a pytest process: they share its start, and each file has profiles of its own."""
    async with chromium() as launched:
        yield launched


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def one_console(browser: Browser, server: Process, request: pytest.FixtureRequest) -> AsyncIterator[Console]:
    """The console of the file's server, loaded once; as wide as the file's VIEWPORT says."""
    async with console(browser, server.url, getattr(request.module, "VIEWPORT", WIDE)) as opened:
        yield opened


@contextlib.asynccontextmanager
async def console(browser: Browser, url: str, viewport: ViewportSize = WIDE) -> AsyncIterator[Console]:
    """The console of a server in a profile of its own, of somebody for whom nothing moves: to move takes frames."""
    context = await browser.new_context(viewport=viewport, reduced_motion="reduce")
    yield Console(await context.new_page(), url, viewport)
    await context.close()


def key_of(process: Process, settings: dict[str, str], name: str, *options: str) -> str:
    """A new key of that name, as the operator of a server with these settings makes it."""
    made = command(process.home, "keys", "create", name, *options, **settings)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@contextlib.asynccontextmanager
async def hurried(page: Page) -> AsyncIterator[None]:
    """What the page does by itself after a while it does twenty times as soon, until the block ends."""
    await page.evaluate(HURRY)
    try:
        yield
    finally:
        await page.evaluate("() => { window.setTimeout = window.patient; }")


async def ask(page: Page, question: str) -> None:
    """Type a question and press Enter; on return nothing that the page shows is of the run before."""
    await page.fill("#question", question)
    await page.press("#question", "Enter")
    await expect(page.locator("#asked")).to_have_text(question, timeout=WAIT_MS)
