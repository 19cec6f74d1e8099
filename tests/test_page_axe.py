"""What axe finds on every page of the console, light and dark, on a phone and on a desk: nothing."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import insight_past
import pytest
import pytest_asyncio
from browsers import needs_chromium
from consoles import expect, key_of
from fake_openai import fake_openai
from msgspec import structs
from playwright.async_api import Browser, Page
from processes import Process, fresh_home, running
from spoken import spoken

from app.postgres.pool import Pool
from app.postgres.runs import RunStore
from app.record.codec import digest, encode
from app.record.store import Filed

pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="session")]
WAIT_MS = 20_000
CALLER = "alice"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
CODE = "The answer is **5**.\n\n```python\nprint(5)\n```\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\n- [a link](https://example.org/)\n"
LOOKS = [("light", 1280), ("dark", 360)]  # both colours, both widths
ALL = {"type": "tag", "values": RULES}
# What may differ in another look; everything else is of the document.
OF_LOOKS = {
    "type": "rule",
    "values": ["color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size"],
}
SET_THEME = "(theme) => { document.documentElement.dataset.theme = theme; }"
FIND = """(rules) => axe.run(document, { runOnly: rules, resultTypes: ["violations"] }).then(({ violations }) =>
  violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target.join(" ")}: ${failureSummary}`)))"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def keyed(files_dsn: str) -> AsyncIterator[tuple[Process, str]]:
    """A server that was never asked anything, whose models differ, and a key to it that may do everything."""
    async with fake_openai(
        ten=spoken("The answer is **10**."), five=spoken("The answer is **5**."), rich=spoken(CODE)
    ) as upstream:
        settings = {
            "AUTH": "keys",
            "KEY_PEPPER": "5" * 64,
            "DATABASE_URL": files_dsn,
            "OPENAI_BASE_URL": upstream.base_url,
            "MODELS_ALLOWED": "openai:*",
            "UNPRICED_MODELS": "allow",
        }
        settings |= {"OPENAI_API_KEY": "none", "FAST_MODEL": "openai:ten", "SLOW_MODEL": "openai:five"}
        with fresh_home() as home, running(home, **settings) as process:
            yield process, await asyncio.to_thread(key_of, process, settings, CALLER, "--roles", "ask,read,admin")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def entrance(browser: Browser, keyed: tuple[Process, str], node_clients: Path) -> AsyncIterator[Page]:
    """The page of a profile that has no key yet, with axe in it."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    await context.add_init_script(path=node_clients / "node_modules" / "axe-core" / "axe.min.js")
    page = await context.new_page()
    page.set_default_timeout(WAIT_MS)
    await page.goto(keyed[0].url)
    await expect(page.locator("#key")).to_be_visible()
    yield page
    await context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def empty(entrance: Page, keyed: tuple[Process, str]) -> Page:
    """The page, signed in, with nothing asked yet."""
    await entrance.fill("#key", keyed[1])
    await entrance.click("#enter")
    await expect(entrance.locator("#ask")).to_be_visible(timeout=WAIT_MS)
    return entrance


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page(empty: Page, files_dsn: str) -> Page:
    """The page of somebody who has a past."""
    races = insight_past.races(datetime.now(UTC), 80)
    ours = [structs.replace(one, opening=structs.replace(one.opening, caller=CALLER)) for one in races]
    async with Pool(files_dsn) as pool:
        await RunStore(pool).write([Filed(one, digest(encode(one))) for one in ours])
    return empty


async def go(page: Page, address: str, ready: str) -> None:
    """Open another page of the console without loading anything anew, and wait for what it shows last."""
    await page.evaluate("(hash) => { location.hash = hash; }", address)
    await expect(page.locator(ready).first).to_be_visible()


async def ask(page: Page, question: str, **options: str) -> None:
    """Ask with these options, and return at the end of the run or at its refusal."""
    await go(page, "#/", "#ask")
    await page.evaluate("document.getElementById('options').open = true")
    for name in ("slow", "cache"):
        field = page.locator(f"#option-{name}")
        await (field.fill(options.get(name, "")) if name == "slow" else field.select_option(options.get(name, "")))
    await page.fill("#question", question)
    await page.press("#question", "Enter")
    await expect(page.locator("#asked")).to_have_text(question)
    await expect(page.locator("body[data-phase=over]")).to_be_visible()


async def faults(page: Page) -> list[str]:
    """What axe complains of, and what reaches beyond the right edge, in any look."""
    found: list[str] = []
    for theme, width in LOOKS:
        await page.set_viewport_size({"width": width, "height": 900})
        await page.evaluate(SET_THEME, theme)
        told: list[Any] = await page.evaluate(FIND, ALL if (theme, width) == LOOKS[0] else OF_LOOKS)
        beyond = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        found += [f"{theme} {width}: {words}" for words in [*told, *([f"{beyond} px too wide"] if beyond > 0 else [])]]
    return found


async def test_the_sign_in_has_no_fault(entrance: Page) -> None:
    """Who has no key yet finds a form that axe has nothing against."""
    await expect(entrance.locator("#enter")).to_be_visible()
    assert await faults(entrance) == []


async def test_insight_without_runs_has_no_fault(empty: Page) -> None:
    """The lesson that stands where no run is yet passes axe."""
    await go(empty, "#/insight", "#insight-empty")
    assert await faults(empty) == []


async def test_an_idle_ask_page_has_no_fault(page: Page) -> None:
    """The box with its options open, the examples and the recent runs pass axe."""
    await page.reload()
    await go(page, "#/", "#recent-rows tr")
    await page.evaluate("document.getElementById('options').open = true")
    assert await faults(page) == []


async def test_a_revised_run_has_no_fault(page: Page) -> None:
    """Two lanes with Markdown, what changed, the race and the actions pass axe."""
    await ask(page, "How much?")
    await expect(page.locator("#verdict[data-change=revised]")).to_be_visible()
    await page.click("#changes-toggle")
    await expect(page.locator("#changes ins").first).to_be_visible()
    assert await faults(page) == []


async def test_a_refusal_has_no_fault(page: Page) -> None:
    """A question that was refused, with what to do about it, passes axe."""
    await ask(page, "Who are you?", slow="nobody:here")
    await expect(page.locator("#problem")).to_be_visible()
    assert await faults(page) == []


async def test_the_runs_have_no_fault(page: Page) -> None:
    """The list with all its filters passes axe."""
    await go(page, "#/runs?limit=12", "#runs tbody tr")
    await page.locator("#runs-filters summary").first.click()
    assert await faults(page) == []


async def test_one_run_has_no_fault(page: Page) -> None:
    """A run with its lanes, its moments as a table, its judgement and its record passes axe."""
    await ask(page, "How much, again?", slow="openai:rich")
    await expect(page.locator("#done")).to_be_visible()
    await go(page, await page.locator("#done-run").get_attribute("href") or "", "#one-axis svg")
    await page.locator("#one-player summary").click()
    assert await faults(page) == []


async def test_insight_has_no_fault(page: Page) -> None:
    """Every card with its chart and its numbers passes axe."""
    await go(page, "#/insight?span=all", ".insight[data-state=ready]:not([aria-busy])")
    for card in ("times", "verdicts"):
        await page.locator(f"[data-card={card}] details summary").first.click()
    assert await faults(page) == []


async def test_health_has_no_fault(page: Page) -> None:
    """Parts, breakers with their hands, the ledger and the limits pass axe."""
    await go(page, "#/health", "#limit-rows tr")
    await expect(page.locator("#breaker-rows button, #part-rows tr").first).to_be_visible()
    assert await faults(page) == []


async def test_the_help_has_no_fault(page: Page) -> None:
    """The dialog of the keys passes axe."""
    await go(page, "#/", "#ask")
    await page.click("#help-open")
    await expect(page.locator("#help")).to_be_visible()
    assert await faults(page) == []
    await page.keyboard.press("Escape")
