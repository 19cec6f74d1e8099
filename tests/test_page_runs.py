"""The pages Runs and Run as a person uses them: a real browser, a real server, models that play a script."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from browsers import needs_chromium
from consoles import Console, expect, hurried
from playwright.async_api import Page, Route
from processes import Process, fresh_home, running

pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="session")]
WAIT_MS = 20_000
QUICK: dict[str, dict[str, Any]] = {
    "fast": {"model": "scripted:fast?first=0&gap=0"},
    "slow": {"model": "scripted:slow?first=0.01&gap=0"},
}
HOSTILE = "<img src=x onerror=document.title='owned'> <script>document.title='owned'</script> [x](javascript:alert(1))"
# What the lanes show, whenever that changes, from before the replay is begun until it is over.
WATCH = """() => {
  const seen = [];
  const look = () => {
    const texts = [...document.querySelectorAll("[data-run-lane] [data-part=answer]")].map((node) => node.textContent);
    const now = { fast: texts[0], slow: texts[1], phase: document.getElementById("one-player").dataset.phase };
    if (JSON.stringify(now) !== JSON.stringify(seen.at(-1))) seen.push(now);
  };
  const all = { subtree: true, childList: true, characterData: true, attributes: true };
  new MutationObserver(look).observe(document.getElementById("one"), all);
  window.seen = seen;
}"""

# What other tabs with live runs leave of the browser's connections: none for one more stream.
ALL_PLACES = """async () => {
  const { takeSlot } = await import("/console/ask/slots.js");
  const parts = { signal: new AbortController().signal, onWait() {} };
  window.places = [];
  for (let i = 0; i < 5; i += 1) window.places.push(await takeSlot(parts));
}"""


@pytest.fixture(scope="module")
def server(files_dsn: str) -> Iterator[Process]:
    """A server whose models are done in a third of a second, a word every few milliseconds."""
    models = {"FAST_MODEL": "scripted:fast?first=0.03&gap=0.004", "SLOW_MODEL": "scripted:slow?first=0.1&gap=0.004"}
    with fresh_home() as home, running(home, DATABASE_URL=files_dsn, CACHE="true", **models) as process:
        yield process


@pytest_asyncio.fixture(loop_scope="session")
async def page(one_console: Console) -> AsyncIterator[Page]:
    """The console's page; what it complains about fails the test, but for answers that it did not get."""
    async with one_console.lent("Failed to load resource") as lent:
        yield lent


@pytest_asyncio.fixture(loop_scope="session")
async def api(server: Process) -> AsyncIterator[httpx.AsyncClient]:
    """The server without its pages."""
    async with httpx.AsyncClient(base_url=server.url, verify=False, timeout=30) as http:
        yield http


async def asked(api: httpx.AsyncClient, question: str, **more: Any) -> dict[str, Any]:
    """The record of a question that was just answered."""
    body = {"input": question, "stream": False, "cache": "off", **more}
    run = (await api.post("/v1/reason", json=body)).json()
    record: dict[str, Any] = (await api.get(f"/api/experiments/{run['start']['run_id']}")).json()
    return record


async def moments(api: httpx.AsyncClient, run_id: str) -> list[tuple[str, str]]:
    """What the lanes, fast and slow, had said after each event of a run."""
    said = {"fast": "", "slow": ""}
    texts = []
    for line in (await api.get(f"/v1/runs/{run_id}/events")).text.splitlines():
        if line.startswith("data: "):
            event = json.loads(line.removeprefix("data: "))
            said[event.get("lane", "fast")] += event["text"] if event.get("kind") == "answer" else ""
            texts.append((said["fast"].strip(), said["slow"].strip()))
    return texts


async def stretch(page: Page, factor: int) -> None:
    """Let the times of records seem longer than they were, so that a slow machine sees what is between them."""

    async def longer(route: Route) -> None:
        """The record with other times."""
        response = await route.fetch()
        record = await response.json()
        record["payload"]["at_ms"] = [at * factor for at in record["payload"]["at_ms"]]
        await route.fulfill(response=response, json=record)

    await page.route("**/api/experiments/*", longer)


async def look(page: Page) -> None:
    """What a page does when it is seen again: it looks at once."""
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


async def calls(api: httpx.AsyncClient) -> int:
    """How many questions the server has accepted so far."""
    return sum((await api.get("/metrics")).json()["windows"]["24h"]["questions"].values())


async def test_an_empty_list_teaches_what_fills_it(server: Process, page: Page, api: httpx.AsyncClient) -> None:
    """A list without runs says what to do; a run that is asked meanwhile comes by itself and opens by Enter."""
    async with hurried(page):
        await page.goto(f"{server.url}/#/runs")
        await expect(page.locator("#runs")).to_have_attribute("data-state", "nothing", timeout=WAIT_MS)
        await expect(page.locator("#runs .empty a")).to_have_attribute("href", "#/")
        record = await asked(api, "Will you come by yourself?", experiment="tail")
        row = page.locator(f"#runs-rows tr[data-run='{record['run_id']}']")
        await expect(row.locator("[data-part=question]")).to_have_text("Will you come by yourself?", timeout=WAIT_MS)
    await row.locator("a.run-link").press("Enter")
    await expect(page.locator("#one-question")).to_have_text("Will you come by yourself?", timeout=WAIT_MS)
    await page.go_back()
    await expect(row.locator("a.run-link")).to_be_focused(timeout=WAIT_MS)


async def test_filters_are_the_apis_and_travel_in_the_address(
    server: Process, page: Page, api: httpx.AsyncClient
) -> None:
    """A filter that is chosen stands in the address, shows what the API finds under it, and is cleared again."""
    labels = {"experiment": "filters", "variant": "b", "prompt_class": "fact", "tags": ["green"]}
    wanted = await asked(api, "Which of both?", **labels, **QUICK)
    await asked(api, "Which of both?", experiment="filters", variant="a", **QUICK)
    await page.goto(f"{server.url}/#/runs?experiment=filters")
    rows = page.locator("#runs-rows tr")
    await expect(rows).to_have_count(2, timeout=WAIT_MS)
    for name, value in (("variant", "b"), ("prompt_class", "fact"), ("tag", "green"), ("min_latency_ms", "0.001")):
        await page.fill(f"#filter-{name}", value)
        await page.press(f"#filter-{name}", "Enter")
    await page.select_option("#filter-status", "completed")
    await page.select_option("#filter-outcome", "completed")
    await expect(rows).to_have_count(1, timeout=WAIT_MS)
    await expect(rows).to_have_attribute("data-run", wanted["run_id"])
    assert all(f"{name}=" in page.url for name in ("variant", "prompt_class", "tag", "status", "outcome"))
    found = await page.locator("a[data-export=jsonl]").get_attribute("href")
    exported = (await api.get(str(found))).text.splitlines()
    assert [json.loads(line)["run_id"] for line in exported] == [wanted["run_id"]]
    await page.reload()
    await expect(rows).to_have_count(1, timeout=WAIT_MS)
    await page.select_option("#filter-agreement", "disagree")
    await expect(page.locator("#runs")).to_have_attribute("data-state", "none-match", timeout=WAIT_MS)
    await page.click("#runs-clear")
    await expect(page.locator("#runs")).to_have_attribute("data-state", "rows", timeout=WAIT_MS)
    assert page.url.endswith("#/runs")


async def test_what_is_typed_while_a_filter_is_on_its_way_stays(server: Process, page: Page) -> None:
    """A field keeps what was typed before the address had the filter of another one; to clear them clears it too."""
    await page.goto(f"{server.url}/#/runs")
    await expect(page.locator("#runs-filters")).to_be_visible(timeout=WAIT_MS)
    await page.evaluate("""() => {
      const [first, second] = ["variant", "prompt_class"].map((name) => document.getElementById(`filter-${name}`));
      first.value = "b";
      first.form.requestSubmit();
      second.value = "fact";
    }""")
    await expect(page.locator("#runs-clear")).to_be_visible(timeout=WAIT_MS)
    await expect(page.locator("#filter-prompt_class")).to_have_value("fact")
    assert page.url.endswith("#/runs?variant=b")
    await page.click("#runs-clear")
    await expect(page.locator("#runs-clear")).to_be_hidden(timeout=WAIT_MS)
    for name in ("variant", "prompt_class"):
        await expect(page.locator(f"#filter-{name}")).to_have_value("")


async def test_a_filter_that_the_server_refuses_is_explained(server: Process, page: Page) -> None:
    """An address with a filter that makes no sense shows the server's reason and a way out."""
    await page.goto(f"{server.url}/#/runs?status=sleeping")
    await expect(page.locator("#runs .problem")).to_contain_text("'completed', 'partial'", timeout=WAIT_MS)
    await expect(page.locator("#runs .problem code")).to_have_text("invalid_request")
    await page.locator(".runs-state a").click()
    await expect(page.locator("#runs")).not_to_have_attribute("data-state", "refused", timeout=WAIT_MS)


async def test_older_runs_are_read_page_by_page(server: Process, page: Page, api: httpx.AsyncClient) -> None:
    """A short page is followed by the older ones in the API's order, each run once, until there are no more."""
    await asyncio.gather(*(asked(api, f"Question {number}", experiment="pages", **QUICK) for number in range(5)))
    await page.goto(f"{server.url}/#/runs?experiment=pages&limit=2")
    rows = page.locator("#runs-rows tr")
    for shown in (2, 4):
        await expect(rows).to_have_count(shown, timeout=WAIT_MS)
        await page.click("#runs-older")
    await expect(page.locator("#runs-end")).to_be_visible(timeout=WAIT_MS)
    listed = (await api.get("/api/experiments", params={"experiment": "pages"})).json()["experiments"]
    shown_ids = await rows.evaluate_all("rows => rows.map((row) => row.dataset.run)")
    assert shown_ids == [record["run_id"] for record in listed]


async def test_the_tail_moves_nothing_that_is_read(server: Process, page: Page, api: httpx.AsyncClient) -> None:
    """A new run comes on top while the row that has the focus stays where it is; a paused tail shows none."""
    await asyncio.gather(*(asked(api, f"Line {number}", experiment="still", **QUICK) for number in range(12)))
    await page.set_viewport_size({"width": 1100, "height": 500})
    await page.goto(f"{server.url}/#/runs?experiment=still")
    rows = page.locator("#runs-rows tr")
    await expect(rows).to_have_count(12, timeout=WAIT_MS)
    await rows.nth(8).locator("a").focus()
    place = "() => Math.round(document.activeElement.getBoundingClientRect().top)"
    before = await page.evaluate(place)
    await asked(api, "One more line", experiment="still", **QUICK)
    await look(page)
    await expect(rows).to_have_count(13, timeout=WAIT_MS)
    assert abs(await page.evaluate(place) - before) <= 1
    await page.click("#runs-pause")
    await asked(api, "Not seen", experiment="still", **QUICK)
    await look(page)
    await expect(page.locator("#runs-tail")).to_have_attribute("data-phase", "paused")
    await page.click("#runs-pause")
    await expect(rows).to_have_count(14, timeout=WAIT_MS)


async def test_a_server_that_is_gone_is_told_and_found_again(
    server: Process, page: Page, api: httpx.AsyncClient
) -> None:
    """Without a connection the tail says that it will look again; the rows stay, and it goes on by itself."""
    await asked(api, "Something to list", **QUICK)
    await page.goto(f"{server.url}/#/runs")
    await expect(page.locator("#runs")).to_have_attribute("data-state", "rows", timeout=WAIT_MS)
    await page.route("**/api/experiments?*", lambda route: route.abort())
    await page.click("#runs-pause")
    await page.click("#runs-pause")
    await expect(page.locator("#runs-tail")).to_have_attribute("data-phase", "failing", timeout=WAIT_MS)
    await expect(page.locator("#runs-tail-text")).to_contain_text("looks again in")
    assert await page.locator("#runs-rows tr").count() > 0
    await page.unroute("**/api/experiments?*")
    await page.click("#runs-pause")
    await page.click("#runs-pause")
    await expect(page.locator("#runs-tail")).to_have_attribute("data-phase", "waiting", timeout=WAIT_MS)


async def test_the_page_of_a_run_is_its_record(server: Process, page: Page, api: httpx.AsyncClient) -> None:
    """Question, answers, outcome, figures, labels and every event on the axis are those of the record."""
    record = await asked(api, "What does a record say?", experiment="one", tags=["blue"])
    await page.goto(f"{server.url}/#/runs/{record['run_id']}")
    await expect(page.locator("#one-question")).to_have_text("What does a record say?", timeout=WAIT_MS)
    await expect(page.locator("#one-outcome")).to_have_attribute("data-change", record["change"])
    for lane in ("fast", "slow"):
        shown = page.locator(f"[data-run-lane={lane}]")
        await expect(shown.locator("[data-part=answer]")).to_have_text(record["payload"]["texts"][lane])
        await expect(shown).to_have_attribute("data-state", record["lanes"][lane]["outcome"])
        output = record["lanes"][lane]["usage"]["output_tokens"]
        await expect(shown.locator("[data-part=figures]")).to_contain_text(f"{output} tokens out · cost unknown")
    for field, value in (("run", record["run_id"]), ("fingerprint", record["fingerprint"]), ("audit", "stored")):
        await expect(page.locator(f"[data-field={field}] dd")).to_have_text(value)
    await expect(page.locator("[data-field=labels] a")).to_have_text(["one", "blue"])
    slider = page.locator("#one-axis")
    count = len(record["payload"]["at_ms"])
    await expect(slider).to_have_attribute("aria-valuemax", str(count))
    await slider.press("Home")
    await slider.press("ArrowRight")
    await expect(page.locator("#one-readout")).to_contain_text(f"2 of {count}")
    await expect(page.locator("[data-run-lane=fast] [data-part=answer]")).to_have_text("You")
    await slider.press("End")
    await expect(page.locator("#one-readout")).to_contain_text("Done: Completed")


async def test_an_answer_that_was_cut_says_so(server: Process, page: Page, api: httpx.AsyncClient) -> None:
    """A lane that ended at its limit of tokens says so on the page of its run, and the other one does not."""
    record = await asked(api, "Say it in two words?", **QUICK | {"slow": {**QUICK["slow"], "max_output_tokens": 2}})
    await page.goto(f"{server.url}/#/runs/{record['run_id']}")
    note = page.locator("[data-run-lane=slow] [data-part=note]")
    await expect(note).to_have_text("It stopped at its limit of tokens.", timeout=WAIT_MS)
    await expect(page.locator("[data-run-lane=fast] [data-part=note]")).to_be_hidden()


async def test_a_replay_plays_what_happened_and_asks_nobody(
    server: Process, page: Page, api: httpx.AsyncClient
) -> None:
    """A replay shows texts as they stood after one event or another, ever later, to the end; nobody is asked."""
    record = await asked(api, "Play it again?")
    stood = await moments(api, record["run_id"])
    before = await calls(api)
    await page.emulate_media(reduced_motion="no-preference")
    await stretch(page, 6)
    await page.goto(f"{server.url}/#/runs/{record['run_id']}")
    await expect(page.locator("#one-player")).to_have_attribute("data-phase", "idle", timeout=WAIT_MS)
    await page.evaluate(WATCH)
    await page.click("#one-replay")
    await expect(page.locator("#one-player")).to_have_attribute("data-phase", "over", timeout=WAIT_MS)
    seen: list[dict[str, str]] = await page.evaluate("window.seen")
    shown = [(step["fast"].strip(), step["slow"].strip()) for step in seen]
    playing = [texts for texts, step in zip(shown, seen, strict=True) if step["phase"] == "playing"]
    order = [stood.index(texts) for texts in playing]
    assert order == sorted(order)
    assert all(len(set(said)) > 2 for said in zip(*playing, strict=True))
    assert shown[-1] == stood[-1] == tuple(record["payload"]["texts"][lane] for lane in ("fast", "slow"))
    assert await calls(api) == before


async def test_a_replay_can_be_paused_and_hurried(server: Process, page: Page, api: httpx.AsyncClient) -> None:
    """A slow replay stands still while it is paused, goes on, and is over at once when it is made instant."""
    record = await asked(api, "Wait for me?")
    await page.emulate_media(reduced_motion="no-preference")
    await stretch(page, 500)
    await page.goto(f"{server.url}/#/runs/{record['run_id']}")
    await page.click("#one-replay")
    await page.click("#one-replay")
    player = page.locator("#one-player")
    await expect(player).to_have_attribute("data-phase", "paused")
    await expect(page.locator("[data-run-lane=slow]")).to_have_attribute("data-state", "waiting")
    await page.click("#one-replay")
    await expect(player).to_have_attribute("data-phase", "playing")
    await page.click("#one-speed [data-speed=instant]")
    await expect(player).to_have_attribute("data-phase", "over")
    await expect(page.locator("[data-run-lane=slow]")).to_have_attribute("data-role", "final")


async def test_who_wants_nothing_to_move_gets_the_end_at_once(
    server: Process, page: Page, api: httpx.AsyncClient
) -> None:
    """With reduced motion a replay is instant unless another speed is chosen; the slider still steps."""
    record = await asked(api, "Calmly?")
    await page.goto(f"{server.url}/#/runs/{record['run_id']}")
    await expect(page.locator("[data-speed=instant]")).to_have_attribute("aria-pressed", "true", timeout=WAIT_MS)
    await page.click("#one-replay")
    await expect(page.locator("#one-player")).to_have_attribute("data-phase", "over")


async def test_feedback_is_stored_and_taken_back(server: Process, page: Page, api: httpx.AsyncClient) -> None:
    """Right or wrong is stored with the run, is there when the page is opened again, and goes when pressed again."""
    record = await asked(api, "Were you right?")
    path, button = f"/api/experiments/{record['run_id']}", "[data-feedback=slow_correct] button[value=false]"
    await page.goto(f"{server.url}/#/runs/{record['run_id']}")
    await page.click(button)
    await expect(page.locator("#one-said")).to_have_text("Saved.", timeout=WAIT_MS)
    assert (await api.get(path)).json()["feedback"]["slow_correct"]["value"] is False
    await page.reload()
    await expect(page.locator(button)).to_have_attribute("aria-pressed", "true", timeout=WAIT_MS)
    await page.click(button)
    await expect(page.locator("#one-said")).to_have_text("Taken back.", timeout=WAIT_MS)
    assert (await api.get(path)).json()["feedback"] == {}


async def test_a_run_that_goes_on_is_followed_to_its_end(server: Process, page: Page, api: httpx.AsyncClient) -> None:
    """A live run waits for a place among the streams, grows, can be stopped, and is its record then."""
    body = {"input": "Still there?", "cache": "off", "slow": {"model": "scripted:slow?first=0.2&gap=0.5"}}
    async with api.stream("POST", "/v1/reason", json=body) as run:
        run_id = run.headers["x-run-id"]
        await page.evaluate(ALL_PLACES)
        await page.goto(f"{server.url}/#/runs/{run_id}")
        await expect(page.locator("#one[data-live]")).to_be_visible(timeout=WAIT_MS)
        await expect(page.locator("#one-note")).to_contain_text("Other tabs", timeout=WAIT_MS)
        await page.evaluate("window.places.forEach((leave) => leave())")
        await expect(page.locator("[data-run-lane=slow]")).to_have_attribute("data-state", "answering", timeout=WAIT_MS)
        await page.click("#one-stop")
        await expect(page.locator("#one-outcome")).to_contain_text("Unverified", timeout=WAIT_MS)
    await expect(page.locator("#one-player")).to_be_visible(timeout=WAIT_MS)
    assert (await api.get(f"/v1/runs/{run_id}")).json()["status"] == "cancelled"


async def test_a_question_can_be_read_at_every_width(server: Process, page: Page, api: httpx.AsyncClient) -> None:
    """On a phone, a tablet and a desk each row shows its question, and nothing is wider than the screen."""
    await asked(api, "How wide is a question?")
    await page.goto(f"{server.url}/#/runs")
    question = page.locator("#runs-rows [data-part=question]").first
    await expect(question).to_contain_text("How wide", timeout=WAIT_MS)
    for width in (320, 736, 744, 820, 960, 961, 1024, 1152, 1153, 1280):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert await question.evaluate("node => node.getBoundingClientRect().width") > 120


async def test_hostile_texts_stay_text(server: Process, page: Page, api: httpx.AsyncClient) -> None:
    """Markup in questions, answers and labels is shown as it was typed, in the list and on the page of the run."""
    record = await asked(api, HOSTILE, experiment="<b>bold</b>", tags=["<script>x</script>"])
    await page.goto(f"{server.url}/#/runs")
    row = page.locator(f"#runs-rows tr[data-run='{record['run_id']}']")
    await expect(row.locator("[data-part=question]")).to_contain_text("<script>", timeout=WAIT_MS)
    await row.locator("[data-part=outcome]").click()
    await expect(page.locator("#one-question")).to_have_text(HOSTILE, timeout=WAIT_MS)
    await expect(page.locator("[data-field=labels] a")).to_have_text(["<b>bold</b>", "<script>x</script>"])
    assert await page.locator("#page-runs :is(img, script, b, [href^='javascript:'])").count() == 0
    assert "owned" not in await page.title()


async def test_an_answer_of_the_past_looks_as_it_did_when_it_came(
    server: Process, page: Page, api: httpx.AsyncClient
) -> None:
    """On the page of a run, as on the one before, where a link leads stands in brackets behind its words."""
    record = await asked(api, "[bank](https://evil.example/)")
    await page.goto(f"{server.url}/#/runs/{record['run_id']}")
    target = page.locator("[data-run-lane=slow] .target")
    await expect(target).to_have_text("evil.example", timeout=WAIT_MS)
    assert await target.evaluate("node => getComputedStyle(node, '::before').content") == '"("'


async def test_what_changed_is_told_by_more_than_its_colour(
    server: Process, page: Page, api: httpx.AsyncClient
) -> None:
    """On the page of a run what went is struck out and what came is underlined."""
    run_id = (await asked(api, "What changed?"))["run_id"]
    record = (await api.get(f"/api/experiments/{run_id}")).json() | {"change": "revised"}

    async def revised(route: Route) -> None:
        """The record as if the slow answer were another one."""
        await route.fulfill(json=record)

    await page.route(f"**/api/experiments/{run_id}", revised)
    await page.goto(f"{server.url}/#/runs/{run_id}")
    for tag, line in {"del": "line-through", "ins": "underline"}.items():
        changed = page.locator(f"#one-diff {tag}").first
        assert await changed.evaluate("node => getComputedStyle(node).textDecorationLine") == line


async def test_a_run_that_is_not_there_is_said_so(server: Process, page: Page) -> None:
    """The address of an unknown run says that there is none and leads back to the list."""
    await page.goto(f"{server.url}/#/runs/01900000-0000-7000-8000-000000000000")
    await expect(page.locator("#one")).to_have_attribute("data-state", "missing", timeout=WAIT_MS)
    await page.click(".one-back a")
    await expect(page.locator("#runs")).to_have_attribute("data-state", re.compile("rows|nothing"), timeout=WAIT_MS)


async def test_a_stream_that_is_read_along_and_ends_early_is_said_so(server: Process, page: Page) -> None:
    """Of somebody else's run a refusal is told as what it is, and so is a stream that is lost after it began."""
    run_id = "01900000-0000-7000-8000-00000000000a"
    start = f"event: start\nid: {run_id}:0\ndata: {json.dumps({'run_id': run_id, 'lanes': {}})}\n\n"
    refusal = {
        "status": 403,
        "body": '{"title": "No", "code": "forbidden"}',
        "content_type": "application/problem+json",
    }
    gone = {**refusal, "status": 410}
    answers: list[dict[str, Any]] = [refusal, {"status": 200, "body": start, "content_type": "text/event-stream"}, gone]

    async def next_answer(route: Route) -> None:
        """What comes next."""
        await route.fulfill(**answers.pop(0))

    await page.route(f"**/v1/runs/{run_id}/events", next_answer)
    await page.goto(f"{server.url}/#/runs/{run_id}")
    await expect(page.locator("#one")).to_have_attribute("data-state", "refused", timeout=WAIT_MS)
    await page.click("#one .problem button")
    await expect(page.locator("#one-note")).to_contain_text("did not come back", timeout=WAIT_MS)
    await expect(page.locator("#one")).to_have_attribute("data-state", "guest")
    await expect(page.locator("#one-note button")).to_have_text("Try again")


async def test_events_that_are_no_longer_kept_leave_the_record(
    server: Process, page: Page, api: httpx.AsyncClient
) -> None:
    """A run whose events have expired (410) shows its record and says why it cannot be replayed."""
    record = await asked(api, "Kept for ever?")
    gone = json.dumps({"title": "gone", "status": 410, "code": "run_expired", "detail": "not kept"})
    await page.route(
        "**/v1/runs/*/events",
        lambda route: route.fulfill(status=410, body=gone, content_type="application/problem+json"),
    )
    await page.goto(f"{server.url}/#/runs/{record['run_id']}")
    await expect(page.locator("#one-note")).to_contain_text("no longer kept", timeout=WAIT_MS)
    text = record["payload"]["texts"]["slow"]
    await expect(page.locator("[data-run-lane=slow] [data-part=answer]")).to_have_text(text)
    await expect(page.locator("#one-player")).to_have_count(0)


async def test_a_record_on_its_way_is_waited_for(server: Process, page: Page, api: httpx.AsyncClient) -> None:
    """A run whose record is not stored yet (409) says so, and the page looks again by itself."""
    record = await asked(api, "Are you there yet?")
    early = json.dumps({"title": "early", "status": 409, "code": "run_not_live", "detail": "on its way"})
    await page.route(
        f"**/api/experiments/{record['run_id']}",
        lambda route: route.fulfill(status=409, body=early, headers={"retry-after": "0.05"}),
        times=1,
    )
    await page.goto(f"{server.url}/#/runs/{record['run_id']}")
    await expect(page.locator("#one")).to_have_attribute("data-state", "record", timeout=WAIT_MS)
    await expect(page.locator("#one-question")).to_have_text("Are you there yet?")


async def test_a_replay_from_the_cache_names_its_origin(server: Process, page: Page, api: httpx.AsyncClient) -> None:
    """A run that was answered from the cache leads to the run that it came from."""
    first = await asked(api, "Twice?", cache="use")
    second = await asked(api, "Twice?", cache="use")
    await page.goto(f"{server.url}/#/runs/{second['run_id']}")
    await page.click("[data-field=source] a")
    await expect(page.locator("[data-field=run] dd")).to_have_text(first["run_id"], timeout=WAIT_MS)
