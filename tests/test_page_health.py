"""The page Health, and what each role sees of the console, in a real browser against a real server with keys."""

import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
from browsers import needs_chromium
from consoles import Console, ask, console, expect, key_of
from playwright.async_api import Browser, Page
from processes import Process, fresh_home, running

pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="session")]
WAIT_MS = 20_000
FAST = "scripted:fast?first=0.01&gap=0"
Visit = Callable[[str, str], Awaitable[Page]]
Opened = Callable[[str], Awaitable[Console]]


class Guarded(NamedTuple):
    """A server that wants keys, and one key of each kind."""

    process: Process
    keys: dict[str, str]

    def api(self, kind: str) -> httpx.Client:
        """The server without its pages, as who holds that key."""
        headers = {"authorization": f"Bearer {self.keys[kind]}"}
        return httpx.Client(base_url=self.process.url, headers=headers, verify=False, timeout=30)


@pytest.fixture(scope="module")
def server(files_dsn: str) -> Iterator[Guarded]:
    """A server as its operator starts it, a key of every role, and one run."""
    settings = {"DATABASE_URL": files_dsn, "AUTH": "keys", "KEY_PEPPER": secrets.token_hex(32)}
    models = {"FAST_MODEL": FAST, "SLOW_MODEL": "scripted:slow?first=0.02&gap=0"}
    kinds = {
        "admin": ("--roles", "ask,read,admin", "--set", "requests_per_hour=100000"),
        "read": ("--roles", "read"),
        "ask": ("--roles", "ask"),
        "silent": ("--roles", "ask,read", "--set", "content=hash_only"),
    }
    with fresh_home() as home, running(home, **models, **settings) as process:
        keys = {kind: key_of(process, settings, kind, *options) for kind, options in kinds.items()}
        guarded = Guarded(process, keys)
        asked(guarded, "admin", "How are you?")
        yield guarded


def asked(server: Guarded, kind: str, question: str) -> str:
    """A question of who holds that key, by its run."""
    with server.api(kind) as http:
        run = http.post("/v1/reason", json={"input": question, "stream": False}).json()
    found: str = run["start"]["run_id"]
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def consoles(browser: Browser, server: Guarded) -> AsyncIterator[Opened]:
    """The console as who holds a key, loaded once for each kind of key."""
    async with contextlib.AsyncExitStack() as stack:
        known: dict[str, Console] = {}

        async def opened(kind: str) -> Console:
            """The console of that kind, signed in."""
            if kind not in known:
                known[kind] = await stack.enter_async_context(console(browser, server.process.url))
                headers = {"authorization": f"Bearer {server.keys[kind]}"}
                await known[kind].page.request.post(f"{server.process.url}/v1/session", headers=headers)
            return known[kind]

        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def visit(consoles: Opened, server: Guarded) -> AsyncIterator[Visit]:
    """Opens a page as who holds a key; what it complains about fails the test, a 403 too, but no 404 and no 503."""
    async with contextlib.AsyncExitStack() as stack:

        async def opened(kind: str, address: str) -> Page:
            """The page of that address, signed in."""
            lending = (await consoles(kind)).lent("status of 404", "status of 503")
            page = await stack.enter_async_context(lending)
            await page.goto(f"{server.process.url}/{address}")
            return page

        yield opened


def panel(page: Page, name: str) -> Any:
    """One of the page's panels."""
    return page.locator(f"[data-panel={name}]")


async def test_the_numbers_are_the_servers(server: Guarded, visit: Visit) -> None:
    """Parts, ledger, breakers, spool and percentiles are those that the server tells to its API."""
    page = await visit("admin", "#/health")
    await expect(page.locator("#health")).to_have_attribute("data-state", "shown", timeout=WAIT_MS)
    with server.api("admin") as http:
        health = http.get("/health/detailed").json()
        breakers = http.get("/api/breakers").json()["breakers"]
        times = http.get("/metrics").json()["windows"]["24h"]["runs"]["latency_ms"]["live"]
    shown = await page.locator("#part-rows tbody tr").evaluate_all("rows => rows.map((row) => row.dataset.part)")
    assert set(health["parts"]) <= set(shown)
    for name in ("accepted", "stored", "duplicate", "dead_lettered", "spooled", "in_flight"):
        await expect(page.locator(f"[data-ledger={name}] b")).to_have_text(str(health["record"][name]))
    await expect(page.locator("#ledger-balance")).to_have_attribute("data-tone", "good")
    await expect(page.locator("[data-value=spool] dd")).to_contain_text("0 B of 1 GiB")
    found = await page.locator("#breaker-rows tr").evaluate_all(
        "rows => Object.fromEntries(rows.map((row) => [row.dataset.breaker, row.dataset.state]))"
    )
    assert found == {name: row["state"] for name, row in breakers.items()}
    await page.click("#health-span button[value='24h']")
    row = page.locator("#time-rows tbody tr").first
    await expect(row.locator("td").first).to_have_text(str(times["n"]))
    await expect(row.locator("[data-p=p50]")).to_have_text(f"{times['p50']:.0f} ms")
    await expect(panel(page, "limits").locator("[data-limit='requests per hour']").first).to_contain_text("100,000")


async def test_a_breaker_is_held_only_when_it_is_really_meant(server: Guarded, visit: Visit) -> None:
    """A press asks once more; no means no; yes holds the breaker open and can be taken back."""

    def held() -> tuple[str, str]:
        """What the server says of the fast model's breaker."""
        with server.api("admin") as http:
            row = http.get("/api/breakers").json()["breakers"][FAST]
        return row["state"], row["held"]

    page = await visit("admin", "#/health")
    row = page.locator(f"#breaker-rows tr[data-breaker='{FAST}']")
    await row.locator("button[value=open]").click()
    await expect(page.locator("#breaker-dialog code")).to_have_text(FAST)
    await page.click("#breaker-cancel")
    await expect(page.locator("#breaker-dialog")).to_be_hidden()
    assert held() == ("closed", "auto")
    await row.locator("button[value=open]").click()
    await page.click("#breaker-confirm")
    await expect(row).to_have_attribute("data-state", "open", timeout=WAIT_MS)
    await expect(row.locator("button[value=open]")).to_have_attribute("aria-pressed", "true")
    assert held() == ("open", "open")
    await row.locator("button[value=auto]").click()
    await page.click("#breaker-confirm")
    await expect(row).to_have_attribute("data-state", "closed", timeout=WAIT_MS)
    assert held() == ("closed", "auto")


async def test_a_reader_sees_what_readers_may(server: Guarded, visit: Visit) -> None:
    """A key that may only read sees checks and ledger, and of the rest which role it needs; nothing is refused."""
    page = await visit("read", "#/health")
    await expect(page.locator("#health")).to_have_attribute("data-state", "shown", timeout=WAIT_MS)
    for name, state in (("parts", "shown"), ("ledger", "shown"), ("limits", "shown"), ("breakers", "lacking")):
        await expect(panel(page, name)).to_have_attribute("data-state", state)
    await expect(panel(page, "numbers")).to_contain_text("needs the role “admin”")
    await page.goto(f"{server.process.url}/#/runs")
    await expect(page.locator("#runs")).to_have_attribute("data-state", "nothing", timeout=WAIT_MS)


async def test_who_may_only_ask_sees_its_own_runs_by_address(server: Guarded, visit: Visit) -> None:
    """A key that may only ask is told what the list and the ledger need, and opens its own run, judging included."""
    run_id = asked(server, "ask", "Mine?")
    page = await visit("ask", "#/runs")
    await expect(page.locator("#runs")).to_have_attribute("data-state", "forbidden", timeout=WAIT_MS)
    await page.goto(f"{server.process.url}/#/health")
    await expect(panel(page, "ledger")).to_have_attribute("data-state", "lacking", timeout=WAIT_MS)
    await page.goto(f"{server.process.url}/#/runs/{run_id}")
    await expect(page.locator("#one-question")).to_have_text("Mine?", timeout=WAIT_MS)
    await page.click("[data-feedback=fast_correct] button[value=true]")
    await expect(page.locator("#one-said")).to_have_text("Saved.", timeout=WAIT_MS)


async def test_who_may_not_read_the_record_is_not_refused_it(server: Guarded, visit: Visit) -> None:
    """A key that may only ask is told so where the recent runs would be, and the page asks the server for none."""
    page = await visit("ask", "#/")
    asked_for: list[str] = []
    page.on("request", lambda request: asked_for.append(request.url))
    await ask(page, "May I?")
    await expect(page.locator("#done")).to_have_attribute("data-status", "completed", timeout=WAIT_MS)
    await expect(page.locator("#recent-empty")).to_contain_text("may not read the record")
    assert [url for url in asked_for if "/api/experiments" in url] == []


async def test_texts_that_were_not_kept_are_not_shown(server: Guarded, visit: Visit) -> None:
    """A run under `hash_only` shows its figures and says that its texts were not kept, in the list too."""
    run_id = asked(server, "silent", "A secret?")
    page = await visit("silent", "#/runs")
    await expect(page.locator("#runs-rows [data-part=question]")).to_have_text("text not kept", timeout=WAIT_MS)
    await page.goto(f"{server.process.url}/#/runs/{run_id}")
    await expect(page.locator("#one-note")).to_contain_text("hash_only", timeout=WAIT_MS)
    await expect(page.locator("[data-run-lane=slow] [data-part=figures]")).to_contain_text("tokens out")
    assert "sha256" not in await page.locator("#one").inner_text()
    await page.click("#one-again")
    await expect(page.locator("#ask-note")).to_contain_text("were not kept", timeout=WAIT_MS)
    await expect(page.locator("#question")).to_have_value("")


async def test_somebody_elses_run_is_not_there(server: Guarded, visit: Visit) -> None:
    """The address of another caller's run shows no more than that of a run that never was."""
    run_id = asked(server, "admin", "Yours?")
    page = await visit("ask", f"#/runs/{run_id}")
    await expect(page.locator("#one")).to_have_attribute("data-state", "missing", timeout=WAIT_MS)


async def test_a_part_that_cannot_be_read_leaves_the_others(server: Guarded, visit: Visit) -> None:
    """One answer that fails is said in its own panel; a server that is gone leaves what was seen and says it is old."""
    page = await visit("admin", "#/health")
    await expect(page.locator("#health")).to_have_attribute("data-state", "shown", timeout=WAIT_MS)
    body = json.dumps({"title": "No", "status": 503, "code": "no", "detail": "the numbers are away"})
    fulfil = {"status": 503, "body": body, "content_type": "application/problem+json"}
    await page.route("**/metrics", lambda route: route.fulfill(**fulfil))
    await page.click("#health-pause")
    await page.click("#health-pause")
    await expect(panel(page, "numbers")).to_contain_text("the numbers are away", timeout=WAIT_MS)
    await expect(panel(page, "ledger")).to_have_attribute("data-state", "shown")
