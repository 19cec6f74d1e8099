"""The page of a server with AUTH=keys in a real browser: the sign-in form, the cookie, EventSource, the sign-out."""

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import pytest
import pytest_asyncio
from browsers import REBOUND, needs_chromium, page_elsewhere
from consoles import ask, expect, key_of
from playwright.async_api import Browser, Page
from processes import Process, fresh_home, running

pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="session")]
WAIT_MS = 10_000
# What a page can do with a session: ask by EventSource, which sends no header of its own.
STREAM = """url => new Promise((resolve) => {
  const source = new EventSource(url);
  const ended = (how) => () => { source.close(); resolve(how); };
  source.addEventListener("done", ended("done"));
  source.onerror = ended("error");
})"""


class Guarded(NamedTuple):
    """A server that wants keys, and those of Alice and Bob."""

    process: Process
    key: str
    other: str


@pytest.fixture(scope="module")
def server(files_dsn: str) -> Iterator[Guarded]:
    """A server as its operator starts it, and keys as they make them."""
    settings = {"DATABASE_URL": files_dsn, "AUTH": "keys", "KEY_PEPPER": secrets.token_hex(32)}
    models = {"FAST_MODEL": "scripted:fast?first=0.01&gap=0", "SLOW_MODEL": "scripted:slow?first=0.02&gap=0"}
    with fresh_home() as home, running(home, **models, **settings) as process:
        alice, bob = (key_of(process, settings, name) for name in ("alice", "bob"))
        yield Guarded(process, alice, bob)


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, server: Guarded) -> AsyncIterator[Page]:
    """The page in a fresh profile, before anybody has signed in; a complaint but a 401 fails the test."""
    complaints: list[str] = []
    context = await browser.new_context(reduced_motion="reduce")
    opened = await context.new_page()
    opened.set_default_timeout(WAIT_MS)
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    await opened.goto(server.process.url)
    yield opened
    await context.close()
    assert [words for words in complaints if "401 (Unauthorized)" not in words] == []


async def signed_in(page: Page, key: str) -> None:
    """Type a key into the form."""
    await expect(page.locator("#sign-in")).to_be_visible(timeout=WAIT_MS)
    await page.fill("#key", key)
    await page.click("#enter")


async def test_a_key_opens_the_page(server: Guarded, page: Page) -> None:
    """A wrong key is told, the right one opens the page; when its session ends only its holder finds the page again."""
    await expect(page.locator("#ask")).to_be_hidden(timeout=WAIT_MS)
    await signed_in(page, "tandem_wrong")
    await expect(page.locator("#sign-in-hint")).to_have_text("this key is not known here", timeout=WAIT_MS)
    await signed_in(page, server.key)
    await expect(page.locator("#who-name")).to_have_text("alice", timeout=WAIT_MS)
    await expect(page.locator("#sign-in")).to_be_hidden()
    await ask(page, "Who am I?")
    await expect(page.locator("#done")).to_have_attribute("data-status", "completed", timeout=WAIT_MS)
    assert server.key not in await page.content()
    await page.context.clear_cookies()  # what the end of a session is to the page
    await ask(page, "And still?")
    await signed_in(page, server.key)
    await expect(page.locator("#asked")).to_be_visible(timeout=WAIT_MS)
    await expect(page.locator("#asked")).to_have_text("And still?")
    await page.context.clear_cookies()
    await page.evaluate("document.getElementById('ask').requestSubmit()")  # what was not answered is in the box
    await signed_in(page, server.other)
    await expect(page.locator("#who-name")).to_have_text("bob", timeout=WAIT_MS)
    await expect(page.locator("#empty")).to_be_visible()
    assert "And still?" not in await page.content()


async def test_without_tls_a_good_key_says_what_is_missing(server: Guarded, page: Page) -> None:
    """By plain HTTP from elsewhere no session can be kept, and the form says so instead of asking again in silence."""
    await page.goto(f"http://{REBOUND}:{server.process.url.rpartition(':')[2]}/")
    await signed_in(page, server.key)
    await expect(page.locator("#sign-in-hint")).to_contain_text("by https", timeout=WAIT_MS)
    await expect(page.locator("#key")).to_be_visible()


async def test_who_leaves_in_one_tab_leaves_in_all(server: Guarded, page: Page) -> None:
    """After the sign-out, or when somebody else comes in, no other tab shows what was asked there before."""
    await signed_in(page, server.key)
    await expect(page.locator("#who-name")).to_have_text("alice", timeout=WAIT_MS)
    other = await page.context.new_page()

    async def asked() -> None:
        """The other tab shows what Alice asked."""
        await other.goto(server.process.url)
        await expect(other.locator("#who-name")).to_have_text("alice", timeout=WAIT_MS)
        await ask(other, "What does Alice ask?")

    await asked()
    await page.click("#sign-out")
    await expect(other.locator("#key")).to_be_visible(timeout=WAIT_MS)
    await expect(other.locator("html")).not_to_contain_text("Alice", timeout=WAIT_MS)  # it was hidden before
    await signed_in(page, server.key)
    await expect(page.locator("#who-name")).to_have_text("alice", timeout=WAIT_MS)
    await asked()
    await page.context.clear_cookies()
    await page.reload()
    await signed_in(page, server.other)
    await expect(other.locator("#who-name")).to_have_text("bob", timeout=WAIT_MS)
    assert "Alice" not in await other.content()


async def test_the_session_is_a_cookie_that_scripts_do_not_see(server: Guarded, page: Page) -> None:
    """EventSource streams by the cookie alone, which no script can read and which is gone after the sign-out."""
    address = "/v1/reason?input=By+EventSource"
    assert await page.evaluate(STREAM, address) == "error"
    await signed_in(page, server.key)
    await expect(page.locator("#who-name")).to_have_text("alice", timeout=WAIT_MS)
    assert await page.evaluate(STREAM, address) == "done"
    assert await page.evaluate("document.cookie + Object.values(localStorage) + Object.values(sessionStorage)") == ""
    (cookie,) = await page.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == ("tandem", True, "Strict", "/")
    await page.click("#sign-out")
    await expect(page.locator("#sign-in")).to_be_visible(timeout=WAIT_MS)
    assert await page.context.cookies() == []
    assert await page.evaluate(STREAM, address) == "error"
    await page.context.add_cookies([{**cookie, "url": server.process.url, "path": None, "domain": None}])
    assert await page.evaluate("fetch('/v1/session').then((answer) => answer.status)") == 401


async def test_another_sites_page_cannot_use_the_session(server: Guarded, page: Page) -> None:
    """A page of another origin that asks with credentials comes without the cookie, and is refused."""
    await signed_in(page, server.key)
    await expect(page.locator("#who-name")).to_have_text("alice", timeout=WAIT_MS)
    async with (
        page_elsewhere() as port,
        page.context.expect_event("response", lambda response: "/v1/session" in response.url) as waiting,
    ):
        other = await page.context.new_page()
        await other.goto(f"http://localhost:{port}/")
        fetched = "url => fetch(url, {credentials: 'include', mode: 'no-cors'}).then((answer) => answer.type)"
        assert await other.evaluate(fetched, f"{server.process.url}/v1/session") == "opaque"
        await other.close()
    assert (await waiting.value).status == 401
