"""The Ask page with models that say what is tested: what stands, what changed, what survives, what stays text."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from browsers import needs_chromium
from cells import rows
from consoles import Console, ask, expect
from cutting import Wire, cutting
from fake_openai import HANG, FakeOpenAI, fake_openai
from playwright.async_api import Browser, BrowserContext, Page, Route, ViewportSize
from processes import Process, fresh_home, running
from spoken import silent, spoken

pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="session")]
WAIT_MS = 10_000
VIEWPORT: ViewportSize = {"width": 360, "height": 800}
HOSTILE = (
    "<script>window.owned = 1</script> <img src=x onerror=owned=1> [go](javascript:owned=1) ![pic](data:image/png,x) "
    "[bank](https://bank.example@evil.example/x)\n\n" + "Giant" * 400 + "\n\n```html\n<script>owned = 1</script>\n"
    "```\n\n| <b>a</b> |\n|---|\n| <svg onload=owned=1> |\n\nמה בירת צרפת? פריז.\n"
)
LONG = "\n\n".join(f"Paragraph {n} says **much** of little. " + "And so on. " * 34 for n in range(500))
REPLIES: dict[str, Any] = {
    "ten": spoken("The answer is **10**."),
    "five": spoken("The answer is **5**.", first=0.05),
    "patient": spoken("The answer is **10**.", first=1.0),
    "cut": spoken("The answer is", finish="length"),
    "stuck": spoken("I begin", then=HANG),
    "silent": silent(),
    "hostile": spoken(HOSTILE, size=7),
    "long": spoken(LONG, size=2000),
}


# As four more tabs would: each stream has its place and its connection, and ends with the page.
FOUR_STREAMS = """async () => {
  const { takeSlot } = await import("/console/ask/slots.js");
  const headers = { "content-type": "application/json" };
  for (const input of ["One?", "Two?", "Three?", "Four?"]) {
    await takeSlot({ signal: new AbortController().signal, onWait() {} });
    const slow = { model: "openai:stuck", timeout_s: 500 };
    await fetch("/v1/reason", { method: "POST", headers, body: JSON.stringify({ input, slow, stream: true }) });
  }
}"""


# In a tab that another one opened what may take a while is given up soon.
HURRY_COPY = """if (opener) {
  const { timeout } = AbortSignal;
  AbortSignal.timeout = (ms) => timeout.call(AbortSignal, ms / 20);
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def upstream() -> AsyncIterator[FakeOpenAI]:
    """The models' server, which counts what it is asked."""
    async with fake_openai(**REPLIES) as fake:
        yield fake


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(upstream: FakeOpenAI, files_dsn: str) -> AsyncIterator[Process]:
    """A server whose lanes differ in their answer."""
    settings = {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": "none", "DATABASE_URL": files_dsn}
    settings |= {"FAST_MODEL": "openai:ten", "SLOW_MODEL": "openai:five", "DEADLINE_S": "600", "SHUTDOWN_GRACE_S": "0"}
    with fresh_home() as home, running(home, **settings) as process:
        yield process


@pytest_asyncio.fixture(loop_scope="session")
async def page(one_console: Console) -> AsyncIterator[Page]:
    """The console's page, where nothing is chosen."""
    async with one_console.lent("Failed to load resource", "Failed to fetch dynamically") as lent:
        await choose(lent)
        yield lent


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A fresh profile, for what more than one tab or a first load is about."""
    fresh = await browser.new_context(viewport=VIEWPORT, reduced_motion="reduce")
    fresh.set_default_timeout(WAIT_MS)
    yield fresh
    await fresh.close()


async def choose(page: Page, **options: str) -> None:
    """Choose these options, and no others."""
    await page.evaluate("document.getElementById('options').open = true")
    if await page.locator("#options-reset").is_visible():
        await page.click("#options-reset")
    for name, value in options.items():
        await page.fill(f"#option-{name}", value)


async def opened(context: BrowserContext, server: Process | Wire, **options: str) -> Page:
    """A new tab with the page, where these options were chosen before."""
    page = await context.new_page()
    await page.goto(server.url)
    await expect(page.locator("#ask")).to_be_visible(timeout=WAIT_MS)
    await choose(page, **options)
    return page


async def over(page: Page, status: str = "completed") -> None:
    """Wait for the end of the run."""
    await expect(page.locator("#done")).to_have_attribute("data-status", status, timeout=WAIT_MS)
    await expect(page.locator("body")).to_have_attribute("data-phase", "over")


async def verdict(page: Page, kind: str) -> None:
    """Wait for a verdict."""
    await expect(page.locator("#verdict")).to_have_attribute("data-change", kind, timeout=WAIT_MS)


async def begun(page: Page) -> None:
    """Wait for the preliminary answer."""
    await expect(page.locator("[data-lane=fast]")).to_have_attribute("data-role", "preliminary", timeout=WAIT_MS)


async def test_an_answer_that_was_cut_says_so(page: Page) -> None:
    """A preliminary answer that ended at its limit of tokens is completed, and says that it was cut."""
    await choose(page, fast="openai:cut")
    await ask(page, "How much is it?")
    await over(page)
    await expect(page.locator("[data-lane=fast] [data-part=note]")).to_have_text("It stopped at its limit of tokens.")
    await expect(page.locator("[data-lane=slow] [data-part=note]")).to_be_hidden()


async def test_a_revised_answer_shows_which_words_changed(page: Page) -> None:
    """The final marks the preliminary as replaced, and the words that differ are struck out and underlined."""
    await ask(page, "How much?")
    await verdict(page, "revised")
    await expect(page.locator("[data-lane=fast]")).to_have_attribute("data-role", "replaced")
    await page.click("#changes-toggle")
    await expect(page.locator("#changes-toggle")).to_have_attribute("aria-expanded", "true")
    assert await page.locator("#changes del, #changes ins").all_inner_texts() == ["10", "5"]
    await expect(page.locator("#announcer")).to_contain_text("Revised")
    await page.click("#changes-toggle")
    await expect(page.locator("#changes")).to_be_hidden()


async def test_equal_answers_are_confirmed_with_nothing_to_compare(page: Page) -> None:
    """Two answers that say the same are confirmed, and no change is offered."""
    await choose(page, slow="openai:ten")
    await ask(page, "How much, twice?")
    await verdict(page, "confirmed")
    await expect(page.locator("#changes-toggle")).to_be_hidden()


async def test_choices_are_sent_and_remembered_and_a_limit_is_drawn(page: Page) -> None:
    """A time that was chosen ends the slow lane, leaves the answer unverified, is drawn, and is kept over a reload."""
    await choose(page, slow="openai:silent", slowTimeout="0.3")
    await ask(page, "Who is late?")
    await over(page, "partial")
    await verdict(page, "unverified")
    await expect(page.locator("#race [data-mark=limit][data-of=slow]")).not_to_have_count(0)
    await expect(page.locator("#race-text")).to_contain_text("timed out after")
    await page.reload()
    await expect(page.locator("#option-slowTimeout")).to_have_value("0.3")
    await expect(page.locator("#options summary")).to_have_text("Options, 2 chosen")


async def test_asking_again_goes_past_the_cache(page: Page) -> None:
    """The button asks as it was asked, with `cache: refresh`; what was typed or chosen since stays for later."""
    await choose(page, slow="openai:ten")
    await ask(page, "Once more?")
    await over(page)
    await page.fill("#question", "And then?")
    await choose(page, fast="openai:five", deadline="30")
    async with page.expect_request("**/v1/reason") as request:
        await page.click("#fresh")
    assert (await request.value).post_data_json == {
        "input": "Once more?",
        "slow": {"model": "openai:ten"},
        "cache": "refresh",
        "stream": True,
    }
    await over(page)
    await expect(page.locator("#question")).to_have_value("And then?")


async def test_a_reload_comes_back_to_the_run(page: Page, upstream: FakeOpenAI) -> None:
    """A page that is reloaded midway shows the same run, obeys it still, and no model is asked a second time."""
    await choose(page, slow="openai:stuck", slowTimeout="500")
    before = upstream.stats.requests
    await ask(page, "Will you be there?")
    await begun(page)
    run = await page.evaluate("JSON.parse(sessionStorage['tandem.live']).runId")
    await page.reload()
    await expect(page.locator("#asked")).to_have_text("Will you be there?", timeout=WAIT_MS)
    await begun(page)
    await page.click("#accept")
    await over(page, "partial")
    await expect(page.locator("#done-run")).to_have_text(run)
    assert upstream.stats.requests - before == 2
    assert await page.evaluate("sessionStorage.length") == 0


async def test_a_copy_of_the_tab_does_not_take_the_run(page: Page, upstream: FakeOpenAI) -> None:
    """A tab that was opened as a copy is empty and asks nothing; the first one keeps its run."""
    await choose(page, slow="openai:stuck", slowTimeout="500")
    before = upstream.stats.requests
    await ask(page, "Whose is it?")
    await begun(page)
    await page.context.add_init_script(HURRY_COPY)
    async with page.expect_popup() as opening:
        await page.evaluate("window.open(location.href)")
    copy = await opening.value
    await expect(copy.locator("#empty")).to_be_visible(timeout=WAIT_MS)
    # The policy of the page forbids to wait for a function in it.
    while await copy.evaluate("sessionStorage.length"):  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(0.02)
    await expect(copy.locator("body")).to_have_attribute("data-phase", "idle")
    await copy.close()
    await page.press("#question", "Escape")
    await over(page, "cancelled")
    assert upstream.stats.requests - before == 2


async def test_a_cut_and_being_offline_are_shown_and_mended(
    context: BrowserContext, server: Process, upstream: FakeOpenAI
) -> None:
    """A lost connection counts its attempts, a lost network is named, and the same run goes on when both are back."""
    async with cutting(server.url, after=600, cuts=1) as wire:
        page = await context.new_page()
        await page.goto(wire.url)
        await page.route("**/v1/runs/*/events", lambda route: route.abort())
        before = upstream.stats.requests
        await ask(page, "Are you there?")
        await verdict(page, "lost")
        await expect(page.locator("#verdict-more")).to_contain_text("attempt", timeout=WAIT_MS)
        await context.set_offline(True)
        await expect(page.locator("#verdict-more")).to_contain_text("offline", timeout=WAIT_MS)
        await page.unroute("**/v1/runs/*/events")
        await context.set_offline(False)
        await over(page)
        await expect(page.locator("[data-lane=fast] [data-part=answer]")).to_have_text("The answer is 10.")
        assert upstream.stats.requests - before == 2
        await page.close()


async def test_stop_ends_the_search_for_a_server_that_cannot_be_told(context: BrowserContext, server: Process) -> None:
    """Stop without a network leaves the run and says so; a reload does not come back to it."""
    async with cutting(server.url, after=600, cuts=1) as wire:
        page = await opened(context, wire, slow="openai:stuck", slowTimeout="500")
        await page.route("**/v1/runs/*/events", lambda route: route.abort())
        await ask(page, "Are you there?")
        await verdict(page, "lost")
        await context.set_offline(True)
        await page.press("#question", "Escape")
        await verdict(page, "cancelled")
        await expect(page.locator("#verdict-text")).to_contain_text("could not be told")
        await context.set_offline(False)
        await page.reload()
        await expect(page.locator("#ask")).to_be_visible(timeout=WAIT_MS)
        await expect(page.locator("body")).to_have_attribute("data-phase", "idle")
        assert await page.evaluate("sessionStorage.length") == 0
        await page.close()


async def test_more_streams_than_a_browser_has_connections_are_told(context: BrowserContext, server: Process) -> None:
    """The sixth waits with a message until another ends; the seventh, sent all the same, says that nobody answers."""
    await context.clock.install()
    first, second, third = [await opened(context, server, slow="openai:stuck", slowTimeout="500") for _ in range(3)]
    await first.evaluate(FOUR_STREAMS)
    await ask(first, "Are you the fifth?")
    await begun(first)
    await ask(second, "Is there a place?")
    await verdict(second, "queued")
    await first.press("#question", "Escape")
    await over(first, "cancelled")
    await begun(second)
    for tab, question in ((first, "And now?"), (third, "And I?")):
        await ask(tab, question)
        await verdict(tab, "queued")
        await tab.click("#anyway")
        if tab is first:
            await begun(first)
    await third.clock.fast_forward(7000)
    await verdict(third, "late")
    await first.close()
    await begun(third)


async def test_a_hostile_answer_stays_text(server: Process, page: Page) -> None:
    """No script of an answer runs, no link leads but to http, nothing is loaded, and a giant word breaks."""
    await choose(page, fast="openai:hostile", slow="openai:hostile")
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url) if server.url not in request.url else None)
    await ask(page, "Be hostile.")
    await over(page)
    lane = page.locator("[data-lane=slow] [data-part=answer]")
    found: dict[str, Any] = await lane.evaluate(
        """node => ({
          owned: typeof window.owned, tags: node.querySelectorAll("script, img, svg, b, iframe").length,
          links: [...node.querySelectorAll("a")].map((a) => [a.href, a.rel]),
          width: document.documentElement.scrollWidth,
          right: getComputedStyle([...node.querySelectorAll("p:not(.tail)")].at(-1)).direction,
          said: node.textContent.includes("<svg onload=owned=1>"),
        })"""
    )
    assert found["links"] == [["https://evil.example/x", "noopener noreferrer nofollow"]]
    assert (found["owned"], found["tags"], found["said"]) == ("undefined", 0, True)
    assert found["width"] <= 360
    assert found["right"] == "rtl"
    assert loaded == []


async def test_a_long_answer_is_made_into_nodes_once(page: Page) -> None:
    """Of an answer of 200 kB every block that is finished stays the node that it was, up to the last."""
    await choose(page, slow="openai:long")
    await page.evaluate(
        """() => {
          const answer = document.querySelector("[data-lane=slow] [data-part=answer]");
          window.removed = 0;
          new MutationObserver((all) => {
            const gone = all.flatMap(({ removedNodes }) => [...removedNodes]);
            const whole = gone.filter(({ className }) => className !== "tail");
            window.removed += whole.filter(({ textContent }) => textContent.startsWith("Paragraph")).length;
          }).observe(answer, { childList: true });
        }"""
    )
    await ask(page, "Be long.")
    await over(page)
    answer = page.locator("[data-lane=slow] [data-part=answer]")
    await expect(answer.locator("p:not(.tail)")).to_have_count(500, timeout=WAIT_MS)
    await expect(answer.locator("p:not(.tail)").last).to_contain_text("Paragraph 499 says much")
    assert len(LONG) > 200_000
    assert await page.evaluate("window.removed") == 0


async def test_a_run_goes_on_while_another_page_is_open(page: Page) -> None:
    """Ask stays as it was behind other pages, which are named in the title and the navigation."""
    await choose(page, slow="openai:patient")
    await ask(page, "Will you wait for me?")
    await begun(page)
    await page.click("#nav a[href='#/runs']")
    await expect(page.locator("#page-ask")).to_be_hidden()
    await expect(page.locator("#nav a[aria-current=page]")).to_have_text("Runs")
    assert await page.title() == "Runs · Tandem"
    await expect(page.locator("body")).to_have_attribute("data-phase", "over", timeout=WAIT_MS)
    await page.click("#nav a[href='#/']")
    await over(page)
    await expect(page.locator("#asked")).to_have_text("Will you wait for me?")


async def test_a_run_that_was_asked_can_be_asked_again(server: Process, page: Page) -> None:
    """The link of a run puts its question into the box, asks nothing, and is gone from the address; so for none."""
    await ask(page, "Will you be found?")
    await over(page)
    run = await page.locator("#done-run").inner_text()
    await page.goto(f"{server.url}/#/runs/{run}")
    await page.click("#one-again")
    await expect(page.locator("#question")).to_have_value("Will you be found?", timeout=WAIT_MS)
    await expect(page.locator("#ask-note")).to_contain_text("Enter asks it")
    await expect(page.locator("body")).to_have_attribute("data-phase", "over")
    assert page.url.endswith("/#/")
    await page.evaluate("location.hash = '#/?again=01900000-0000-7000-8000-000000000000'")
    await expect(page.locator("#ask-note")).to_contain_text("no record of that run", timeout=WAIT_MS)
    await page.press("#question", "Enter")
    await expect(page.locator("#ask-note")).to_be_hidden()


async def test_a_part_that_never_arrives_is_said(context: BrowserContext, server: Process) -> None:
    """Where a module of the first page is missing, the page says so instead of nothing."""
    page = await context.new_page()
    await page.route("**/console/client/wire.js", lambda route: route.abort())
    await page.goto(server.url)
    await expect(page.locator("#unloaded")).to_be_visible(timeout=WAIT_MS)
    await page.close()


async def test_a_page_that_does_not_arrive_can_be_tried_again(page: Page, server: Process) -> None:
    """A page whose module is missing says so with a button, and an address of no page names those that there are."""
    await page.route("**/console/insight/page.js", lambda route: route.abort())
    await page.goto(f"{server.url}/#/insight")
    await expect(page.locator("#page-insight .problem h2")).to_have_text(
        "This page could not be opened", timeout=WAIT_MS
    )
    await page.unroute("**/console/insight/page.js")
    await page.click("#page-insight .problem button")
    await expect(page.locator("#page-insight h1")).to_be_visible(timeout=WAIT_MS)
    for address in ("coffee", "constructor"):
        await page.goto(f"{server.url}/#/{address}")
        await expect(page.locator("#page-nowhere .problem h2")).to_have_text("There is no such page")
        assert await page.title() == "There is no such page · Tandem"


async def test_a_page_is_opened_once_however_often_it_is_gone_to_meanwhile(
    context: BrowserContext, server: Process
) -> None:
    """Two navigations to a page whose module still loads open it once, with the later one's filters."""
    held, looks, page = asyncio.Event(), list[str](), await context.new_page()

    async def late(route: Route) -> None:
        """The module, once it is let through."""
        await held.wait()
        await route.continue_()

    page.on("request", lambda request: looks.append(request.url) if "/api/experiments?" in request.url else None)
    await page.route("**/console/runs/page.js", late)
    await page.goto(f"{server.url}/#/runs?status=failed")
    await expect(page.locator("nav a[aria-current=page]")).to_have_text("Runs", timeout=WAIT_MS)
    await page.evaluate(
        "new Promise((heard) => { addEventListener('hashchange', heard, { once: true });"
        " location.hash = '#/runs?status=timeout'; }).then(() => true)"
    )
    held.set()
    await expect(page.locator("#runs")).to_have_attribute("data-state", "none-match", timeout=WAIT_MS)
    assert ["status=timeout" in url for url in looks] == [True]


async def test_the_keyboard_is_enough(page: Page) -> None:
    """What comes first skips to the page, a dialog lists the keys, and Ctrl Enter takes the preliminary."""
    await choose(page, slow="openai:stuck", slowTimeout="500")
    await page.focus(".wordmark")
    await page.keyboard.press("Shift+Tab")
    assert await page.evaluate("document.activeElement.className") == "skip"
    await page.keyboard.press("Control+/")
    await expect(page.locator("#help")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("#help")).to_be_hidden()
    await page.keyboard.press("Alt+q")
    await page.keyboard.type("Is it enough?")
    await page.keyboard.press("Enter")
    await expect(page.locator("#asked")).to_have_text("Is it enough?")
    await begun(page)
    await page.keyboard.press("Control+Enter")
    await over(page, "partial")
    await verdict(page, "unverified")


@rows("composing", [{"isComposing": True, "keyCode": 13}, {"isComposing": False, "keyCode": 229}])
async def test_the_enter_that_ends_a_composition_asks_nothing(page: Page, composing: dict[str, Any]) -> None:
    """Who types Japanese takes a suggestion by Enter; Safari, too, is then not told to ask."""
    await page.fill("#question", "日本")
    pressed = "(box, more) => box.dispatchEvent(new KeyboardEvent('keydown', { cancelable: true, ...more }))"
    assert await page.locator("#question").evaluate(pressed, {"key": "Enter"} | composing)
    await expect(page.locator("#question")).to_have_value("日本")
