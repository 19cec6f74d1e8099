"""The page as a person uses it, in a real browser against a real server; and what pages of others cannot do."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from browsers import REBOUND, needs_chromium, page_elsewhere
from consoles import Console, ask, expect
from playwright.async_api import BrowserContext, Page, Route
from processes import Process, fresh_home, running
from servers import eventually

pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="session")]
WAIT_MS = 10_000


@pytest.fixture(scope="module")
def server(files_dsn: str) -> Iterator[Process]:
    """A server whose fast lane is done in a quarter of a second and whose slow lane soon after."""
    models = {"FAST_MODEL": "scripted:fast?first=0.1&gap=0.01", "SLOW_MODEL": "scripted:slow?first=0.2&gap=0.003"}
    with fresh_home() as home, running(home, DATABASE_URL=files_dsn, CACHE="true", **models) as process:
        yield process


@pytest_asyncio.fixture(loop_scope="session")
async def page(one_console: Console) -> AsyncIterator[Page]:
    """The page of the server; a word of complaint in its console, as of a violated policy, fails the test."""
    async with one_console.lent("422 (Unprocessable") as lent:
        yield lent


@pytest.fixture
def context(one_console: Console) -> BrowserContext:
    """The profile of the page."""
    return one_console.page.context


async def ask_slowly(page: Page, question: str, slow: str = "scripted:hang") -> None:
    """Ask where the slow lane leaves time to look, or to press a button."""

    async def with_model(route: Route) -> None:
        """The question with another slow model."""
        body = json.loads(route.request.post_data or "") | {"slow": {"model": slow}}
        await route.continue_(post_data=json.dumps(body))

    await page.route("**/v1/reason", with_model)
    await ask(page, question)


async def run_id_of(page: Page) -> str:
    """The run that the done line names."""
    await expect(page.locator("#done-run")).to_be_visible(timeout=WAIT_MS)
    return await page.locator("#done-run").inner_text()


async def record_of(server: Process, run_id: str) -> dict[str, Any]:
    """The record of a run."""
    async with httpx.AsyncClient(base_url=server.url, verify=False) as http:
        found: dict[str, Any] = (await http.get(f"/v1/runs/{run_id}")).json()
    return found


async def runs_of(server: Process) -> set[str]:
    """The runs that the server knows."""
    async with httpx.AsyncClient(base_url=server.url, verify=False) as http:
        page = (await http.get("/api/experiments", params={"limit": 200})).json()
    return {record["run_id"] for record in page["experiments"]}


async def test_a_question_fills_both_lanes_and_ends_with_its_run(server: Process, page: Page, tmp_path: Path) -> None:
    """Both lanes fill, the final is marked by its change, the done line names the run, and the recent list shows it."""
    await ask_slowly(page, "What is the capital of France?", "scripted:slow?first=1&gap=0.003")
    fast, slow = page.locator("[data-lane=fast]"), page.locator("[data-lane=slow]")
    await expect(fast).to_have_attribute("data-role", "preliminary", timeout=WAIT_MS)
    await expect(slow).to_have_attribute("data-role", "final", timeout=WAIT_MS)
    run_id = await run_id_of(page)
    record = await record_of(server, run_id)
    for lane, shown in (("fast", fast), ("slow", slow)):
        await expect(shown).to_have_attribute("data-state", "completed")
        await expect(shown.locator("[data-part=answer]")).to_have_text(record["payload"]["texts"][lane])
    await expect(page.locator("#verdict")).to_have_attribute("data-change", record["change"])
    await expect(page.locator("#done")).to_have_attribute("data-status", "completed")
    await expect(page.locator(f"#recent-rows tr[data-run='{run_id}']")).to_be_visible()
    await expect(page.locator("body")).to_have_attribute("data-phase", "over")
    picture = tmp_path / "page.png"
    await page.screenshot(path=picture)
    assert picture.stat().st_size > 10_000


async def test_a_replay_says_that_it_is_from_the_cache(page: Page) -> None:
    """The same question asked again says that its answer was there already, and a first answer does not."""
    await ask(page, "Will you be asked again?")
    await run_id_of(page)
    assert "cache" not in await page.locator("#verdict-text").inner_text()
    await ask(page, "Will you be asked again?")
    await expect(page.locator("#verdict-text")).to_contain_text("From the cache", timeout=WAIT_MS)


async def test_a_joined_run_is_left_and_not_stopped(server: Process, page: Page) -> None:
    """A page whose question is being answered already says that it joined; its Stop leaves, and the run goes on."""
    question: dict[str, Any] = {"input": "Will you be joined?", "slow": {"model": "scripted:hang"}}
    await page.route("**/v1/reason", lambda route: route.continue_(post_data=json.dumps(question)))
    async with (
        httpx.AsyncClient(base_url=server.url, verify=False) as http,
        http.stream("POST", "/v1/reason", json=question) as run,
    ):
        await ask(page, question["input"])
        await expect(page.locator("#verdict-text")).to_contain_text("You joined a run", timeout=WAIT_MS)
        await expect(page.locator("[data-lane=fast]")).to_have_attribute("data-role", "preliminary", timeout=WAIT_MS)
        await expect(page.locator("#accept")).to_be_hidden()
        await page.click("#stop")
        await expect(page.locator("#verdict-word")).to_have_text("Left")
        run_id = run.headers["x-run-id"]
        while (left := await http.post(f"/v1/runs/{run_id}/cancel")).status_code == 409:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)
        assert left.json() == {"run_id": run_id, "ended": False}


async def test_stop_cancels_the_run(server: Process, page: Page) -> None:
    """Stop ends the run on the server, and the page says so."""
    await ask_slowly(page, "Will you be stopped?")
    await expect(page.locator("[data-lane=fast]")).to_have_attribute("data-state", "answering", timeout=WAIT_MS)
    await page.click("#stop")
    run_id = await run_id_of(page)
    await expect(page.locator("#done")).to_have_attribute("data-status", "cancelled")
    await expect(page.locator("#stop")).to_be_hidden()
    assert (await record_of(server, run_id))["status"] == "cancelled"


async def test_the_preliminary_answer_can_be_taken(server: Process, page: Page) -> None:
    """Taking the fast answer makes it the unverified final and stops the slow lane."""
    await ask_slowly(page, "Is quick good enough?")
    await page.click("#accept")
    run_id = await run_id_of(page)
    await expect(page.locator("#verdict")).to_have_attribute("data-change", "unverified")
    await expect(page.locator("[data-lane=fast]")).to_have_attribute("data-role", "final")
    await expect(page.locator("[data-lane=slow]")).to_have_attribute("data-state", "cancelled")
    await expect(page.locator("#accept")).to_be_hidden()
    record = await record_of(server, run_id)
    assert (record["status"], record["reason"], record["final_lane"]) == ("partial", "accepted", "fast")


async def test_a_refusal_is_shown_and_nothing_typed_is_lost(server: Process, page: Page) -> None:
    """A question that the server refuses shows the problem with its code, keeps the text, and is sent once a press."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.url.endswith("/v1/reason") else None)
    await page.route("**/v1/reason", lambda route: route.continue_(post_data='{"input": "?", "policy": "toss a coin"}'))
    await ask(page, "Heads or tails?")
    await expect(page.locator("#problem-code")).to_have_text("422 unknown_policy", timeout=WAIT_MS)
    await expect(page.locator("#problem-detail")).to_contain_text("race")
    await expect(page.locator("#question")).to_have_value("Heads or tails?")
    for _ in range(2):  # the second is the first one held down
        await page.keyboard.down("Enter")
        await expect(page.locator("#send")).to_be_enabled(timeout=WAIT_MS)
    await page.keyboard.up("Enter")
    await eventually(lambda: len(sent) > 1, WAIT_MS / 1000)
    await expect(page.locator("#send")).to_be_enabled(timeout=WAIT_MS)
    assert len(sent) == 2
    await page.unroute("**/v1/reason")
    await page.press("#question", "Enter")
    await run_id_of(page)
    await expect(page.locator("#problem")).to_be_hidden()


async def test_markup_in_a_question_stays_text(page: Page) -> None:
    """What looks like HTML in a question or an answer is shown as it was typed and runs nowhere."""
    await ask(page, "<img src=x onerror=document.title='owned'> & <b>bold</b>")
    await run_id_of(page)
    await expect(page.locator("[data-lane=slow] [data-part=answer]")).to_contain_text("& <b>bold</b>")
    assert (await page.title(), await page.locator("#lanes img, #lanes b, #asked img").count()) == ("Tandem", 0)


# What a hostile page can send without asking first, and how it went from where it stands.
ATTACK = """async (url) => {
  const tried = [
    () => fetch(`${url}/v1/reason?input=pwned`, { mode: "no-cors" }),
    () => fetch(`${url}/v1/reason`, { mode: "no-cors", method: "POST", body: '{"input": "pwned"}' }),
    () => fetch(`${url}/v1/reason`, { method: "POST", body: '{"input": "pwned"}',
                                      headers: { "content-type": "application/json" } }),
    () => new Promise((resolve, reject) => {
      const source = new EventSource(`${url}/v1/reason?input=pwned`);
      source.onopen = resolve;
      source.onerror = () => { source.close(); reject(new Error("closed")); };
    }),
    () => new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = resolve;
      image.onerror = () => reject(new Error("no image"));
      image.src = `${url}/v1/reason?input=pwned`;
    }),
  ];
  const results = await Promise.allSettled(tried.map((attempt) => attempt()));
  return results.map(({ value }) => value?.type ?? null);
}"""


SANDBOX = """() => new Promise((resolve) => {
  const frame = Object.assign(document.createElement("iframe"), { sandbox: "allow-scripts", srcdoc: "hi" });
  frame.onload = resolve;
  document.body.append(frame);
})"""


@pytest.mark.parametrize("origin", ["another name", "no origin"])
async def test_a_page_of_another_site_starts_no_race(server: Process, context: BrowserContext, origin: str) -> None:
    """Whatever a page of another site sends is refused with 403, and no run is opened."""
    before = await runs_of(server)
    statuses: list[int] = []
    foreign = await context.new_page()
    foreign.on("response", lambda response: statuses.append(response.status) if "/v1/" in response.url else None)
    async with page_elsewhere() as port:
        await foreign.goto(f"http://localhost:{port}/")
        if origin == "no origin":
            await foreign.evaluate(SANDBOX)
        assert await foreign.frames[-1].evaluate("self.origin === 'null'") == (origin == "no origin")
        outcomes = await foreign.frames[-1].evaluate(ATTACK, server.url)
    assert outcomes == ["opaque", "opaque", None, None, None]
    assert statuses == [403, 403]
    assert await runs_of(server) == before


async def test_a_rebound_name_reaches_nothing(server: Process, context: BrowserContext) -> None:
    """A page whose name was made to lead here, so that it seems to be of our own origin, gets 403 for everything."""
    before = await runs_of(server)
    rebound = await context.new_page()
    port = server.url.rpartition(":")[2]
    response = await rebound.goto(f"http://{REBOUND}:{port}/")
    status = await rebound.evaluate("async () => (await fetch('/v1/reason?input=pwned')).status")
    assert (response.status if response else None, status) == (403, 403)
    assert await runs_of(server) == before
