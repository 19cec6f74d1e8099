"""The page Insight as a person uses it: a real browser, a real server, a made-up past of some hundred races."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import insight_past
import pytest
import pytest_asyncio
from browsers import needs_chromium
from consoles import Console, console, expect
from playwright.async_api import Browser, Page, Request, Route
from processes import Process, fresh_home, running
from servers import eventually

pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="session")]
WAIT_MS = 20_000
REFUSED = "Failed to load resource"
STATS, CURVE = "/api/experiments/stats", "/api/experiments/deadline-curve"
LITTLE = "span=1h"  # is soon shown, where it does not matter what
READY = ".insight[data-state=ready]:not([aria-busy])"
AWAY = {"title": "The record cannot be read now", "status": 503, "detail": "later", "code": "record_unavailable"}
# How far to the right anything reaches: the whole page, and each chart.
RIGHTMOST = """() => Math.max(
  document.documentElement.scrollWidth,
  ...[...document.querySelectorAll(".chart-box svg")].map((svg) => svg.getBoundingClientRect().right),
)"""
# By how many pixels any word of a chart reaches beyond what is shown of its box.
CUT = """() => Math.max(...[...document.querySelectorAll(".chart-box")].flatMap((box) => {
  const [shown, margin] = [box.getBoundingClientRect(), parseFloat(getComputedStyle(box).overflowClipMargin) || 0];
  const words = [...box.querySelectorAll("text")].map((text) => text.getBoundingClientRect());
  return words.map(({ left, right }) => Math.max(shown.left - left, right - shown.right) - margin);
}))"""
FORMATTED = "([name, value]) => import('/console/words.js').then((words) => words[name](value))"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def empty_server(files_dsn: str) -> AsyncIterator[Process]:
    """A server that was never asked anything, unless another test of this file has asked for its past already."""
    with fresh_home() as home, running(home, DATABASE_URL=files_dsn, CACHE="true") as process:
        yield process


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(empty_server: Process, files_dsn: str) -> Process:
    """The same server with a past."""
    await insight_past.fill(files_dsn, insight_past.races(datetime.now(UTC)))
    return empty_server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def one_console(browser: Browser, empty_server: Process) -> AsyncIterator[Console]:
    """The console, loaded once."""
    async with console(browser, empty_server.url) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def page(one_console: Console) -> AsyncIterator[Page]:
    """The console's page; what it complains about fails the test, but for answers that it did not get."""
    async with one_console.lent(REFUSED) as lent:
        yield lent


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shown(browser: Browser, server: Process) -> AsyncIterator[Page]:
    """Everything there is, shown once to all tests that only look at it."""
    async with console(browser, server.url) as opened, opened.lent(REFUSED) as page:
        await visit(page, server)
        yield page


async def visit(page: Page, server: Process, query: str = "span=all") -> None:
    """Open the page with these filters and wait until every card has been filled."""
    await page.goto(f"{server.url}/#/insight?{query}")
    await expect(page.locator(READY)).to_be_visible()


async def get(server: Process, path: str, **params: Any) -> Any:
    """What the server says."""
    async with httpx.AsyncClient(base_url=server.url, verify=False, timeout=30) as http:
        answer = await http.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def written(page: Page, name: str, value: Any) -> str:
    """A number as the console writes it."""
    words: str = await page.evaluate(FORMATTED, [name, value])
    return words


async def rows(page: Page, card: str) -> list[list[str]]:
    """The rows of the table behind a card's chart, once it is opened."""
    numbers = page.locator(f"[data-card={card}] details.numbers")
    await numbers.locator("summary").click()
    await expect(numbers.locator("tbody tr").first).to_be_visible()  # the table is made when it is opened, not before
    cells = "(rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent))"
    found: list[list[str]] = await numbers.locator("tbody tr").evaluate_all(cells)
    return found


async def test_an_empty_server_teaches_what_fills_the_page(empty_server: Process, page: Page) -> None:
    """Where nothing was ever asked the page says what to do, leads to Ask, and asks the server nothing further."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/" in request.url else None)
    await page.goto(f"{empty_server.url}/#/insight")
    await expect(page.locator("#insight-empty")).to_contain_text("tandem race")
    assert len(asked) == 2
    await page.click("#insight-empty a")
    await expect(page.locator("body")).to_have_attribute("data-page", "ask")


async def test_a_span_without_runs_leads_to_those_that_are_there(server: Process, page: Page) -> None:
    """Filters that nothing passes are not an empty server: one button shows everything."""
    await page.goto(f"{server.url}/#/insight?span=1h&prompt_class=nonsense")
    await expect(page.locator("#insight-none")).to_be_visible()
    await expect(page.locator("[name=prompt_class]")).to_have_value("nonsense")
    await page.click("#insight-none button")
    await expect(page.locator(READY)).to_be_visible()
    assert page.url.endswith("#/insight?span=all")


async def test_the_tiles_are_those_of_the_record(server: Process, shown: Page) -> None:
    """Runs, medians and agreement are the server's; a cost that is not wholly known is the least it can be."""
    total = (await get(server, STATS))["total"]
    tiles = await shown.locator("#insight-tiles dd:not(.tile-note)").all_inner_texts()
    medians = [await written(shown, "duration", total["lanes"][lane]["total"]["p50_ms"]) for lane in ("fast", "slow")]
    agreed = await written(shown, "percent", total["agreement"]["agree"] / sum(total["agreement"].values()))
    spent = await written(shown, "cost", sum(total["lanes"][lane]["cost"]["sum_usd"] for lane in ("fast", "slow")))
    assert total["cost"]["n"] < total["n"]
    assert tiles == [str(total["n"]), *medians, agreed, f"at least {spent}"]


async def test_the_curves_and_the_advice_are_those_of_the_record(server: Process, page: Page) -> None:
    """Both lanes' curves, their timeouts as set and as advised, and the reason in the server's own words."""
    await visit(page, server, "span=all&time=first_token")
    curves = {lane: await get(server, CURVE, lane=lane, metric="first_token") for lane in ("fast", "slow")}
    card = page.locator("[data-card=times]")
    for answer in curves.values():
        await expect(card.locator(".sentences")).to_contain_text(answer["advised_timeout"]["reason"])
    shown = await rows(page, "times")
    assert len(shown) == sum(len(answer["curve"]) for answer in curves.values())
    last = curves["fast"]["curve"][-1]
    assert [await written(page, "duration", last["at"]), "Fast", await written(page, "percent", last["share"])] in [
        row[:3] for row in shown
    ]
    marks = await card.locator(".mark-label").all_text_contents()
    assert [words for words in marks if "timeout" in words] == ["Fast timeout 4 s", "Slow timeout 30 s"]
    assert len(marks) == 4


async def test_the_verdicts_are_those_of_the_record(server: Process, shown: Page) -> None:
    """Agreement by class with its interval, how often the answer was changed, and regret equal the server's."""
    answer = await get(server, "/api/experiments/agreement")
    classes = {row[0]: row[1:] for row in await rows(shown, "verdicts")}
    for one in answer["classes"]:
        of_class = classes[one["class"] or "no class"]
        assert of_class[:2] == [str(one["n"]), await written(shown, "percent", one["agree"]["share"])]
        assert of_class[2].startswith(await written(shown, "percent", one["agree"]["low"]))
    facts = await shown.locator("[data-card=verdicts] .facts").inner_text()
    for name in ("disagree", "regret", "reverse_regret", "correct_when_agreed"):
        share = answer["total"][name]
        assert f"{await written(shown, 'percent', share['share'])} (" in facts
    assert await written(shown, "duration", answer["total"]["usable_head_start_ms"]["mean"]) in facts


async def test_times_and_costs_over_time_are_those_of_the_record(server: Process, shown: Page) -> None:
    """Each day's percentiles and costs, and the cost of each pair of models, are the server's; unknown is not 0."""
    days = (await get(server, STATS, by="day"))["groups"]
    newest = days[-1]
    times, costs = await rows(shown, "trend"), await rows(shown, "money")
    assert (len(times), len(costs)) == (2 * len(days), len(days))
    of_fast = newest["lanes"]["fast"]["total"]
    assert times[-2][:3] == [newest["key"]["day"][:10], "Fast", str(of_fast["n"])]
    assert times[-2][4] == await written(shown, "duration", of_fast["p50_ms"])
    assert costs[-1][3] == await written(shown, "cost", newest["lanes"]["slow"]["cost"]["sum_usd"])
    pair = shown.locator("[data-card=money] .card-body > .scroll tbody tr", has_text="local:smollm2")
    assert (await pair.locator("td").all_inner_texts())[1] == "unknown"


async def test_the_cache_is_told_from_races(server: Process, shown: Page) -> None:
    """The share of answers from the cache is the server's, and what was saved is said to be of this server alone."""
    total = (await get(server, STATS))["total"]
    facts = shown.locator("[data-card=cache] .facts")
    await expect(facts).to_contain_text(f"{await written(shown, 'percent', total['cache']['share'])} (")
    await expect(facts).to_contain_text("of this server alone")


async def test_a_filter_is_kept_in_the_address(server: Process, page: Page) -> None:
    """A chosen class, span or time narrows every number, survives a reload, and goes with one button."""
    await visit(page, server)
    await page.select_option("[name=prompt_class]", "maths")
    few = (await get(server, STATS, prompt_class="maths"))["total"]["n"]
    await expect(page.locator("[data-tile=runs] dd").first).to_have_text(str(few))
    await page.locator("[data-card=trend] [data-value=first_token]").click()
    await expect(page.locator("[data-card=times] [data-value=first_token]")).to_have_attribute("aria-pressed", "true")
    assert page.url.endswith("#/insight?span=all&time=first_token&prompt_class=maths")
    await page.reload()
    await expect(page.locator("[data-tile=runs] dd").first).to_have_text(str(few))
    await page.click("#insight-clear")
    every = (await get(server, STATS))["total"]["n"]
    await expect(page.locator("[data-tile=runs] dd").first).to_have_text(str(every))
    await expect(page.locator("#insight-clear")).to_be_hidden()


async def test_at_most_two_requests_at_a_time(server: Process, page: Page) -> None:
    """Of the six connections that all tabs share the page takes two, however many cards it fills."""
    under_way, seen = set[Request](), list[int]()

    def begin(request: Request) -> None:
        """Count one more."""
        if "/api/" in request.url:
            under_way.add(request)
            seen.append(len(under_way))

    def end(request: Request) -> None:
        """Count one less."""
        under_way.discard(request)

    page.on("request", begin)
    page.on("requestfinished", end)
    await visit(page, server, LITTLE)
    assert (max(seen), len(seen) > 6) == (2, True)


async def test_a_changed_filter_breaks_off_what_was_asked_before(server: Process, page: Page) -> None:
    """Requests whose answer nobody waits for any more are aborted, and the last filter is the one that is shown."""
    await visit(page, server, LITTLE)
    held: list[Route] = []

    def hold(route: Route) -> None:
        """Keep the request waiting for ever."""
        held.append(route)

    await page.route("**/api/**", hold)
    await page.click("[data-value='7d']")
    await eventually(lambda: len(held) == 1, 10)
    async with page.expect_event("requestfailed") as broken:
        await page.click("[data-value='30d']")
    assert "by=day" in (await broken.value).url
    await eventually(lambda: len(held) == 2, 10)
    await page.unroute_all(behavior="ignoreErrors")
    await page.click("[data-value='24h']")
    await expect(page.locator(READY)).to_be_visible()
    assert page.url.endswith("#/insight")


async def test_a_card_that_fails_says_why_and_tries_again(server: Process, page: Page) -> None:
    """A refusal of one answer is the problem of one card, with its code; the others stand, and again it works."""

    async def refuse(route: Route) -> None:
        """Answer as a server without its database."""
        await route.fulfill(status=503, content_type="application/problem+json", body=json.dumps(AWAY))

    await page.route("**/deadline-curve**", refuse)
    await visit(page, server, LITTLE)
    card = page.locator("[data-card=times]")
    await expect(card).to_have_attribute("data-state", "problem")
    await expect(card.locator("code")).to_have_text("record_unavailable")
    await expect(page.locator("[data-card=verdicts]")).to_have_attribute("data-state", "ready")
    await page.unroute("**/deadline-curve**", refuse)
    await card.get_by_role("button", name="Try again").click()
    await expect(card).to_have_attribute("data-state", "ready")


async def test_a_limit_of_the_server_becomes_a_way_out(server: Process, page: Page) -> None:
    """A 422 about the span is said in plain words, with the button that keeps to it."""
    real = await get_problem(server, STATS, by="hour")

    async def refuse(route: Route) -> None:
        """Answer one question as the server answers a span that is too long."""
        await route.fulfill(status=422, content_type="application/problem+json", body=json.dumps(real))

    await page.route("**/stats?by=model", refuse)
    await visit(page, server)
    card = page.locator("[data-card=money]")
    await expect(card.locator(".problem")).to_contain_text("at most three days")
    await card.get_by_role("button", name="Show 24 hours").click()
    await expect(card).to_have_attribute("data-state", "ready")
    assert page.url.endswith("#/insight")


async def get_problem(server: Process, path: str, **params: Any) -> Any:
    """What the server says when it refuses."""
    async with httpx.AsyncClient(base_url=server.url, verify=False) as http:
        answer = await http.get(path, params=params)
    assert answer.status_code == 422
    return answer.json()


async def test_a_server_that_is_away_is_told_once(server: Process, page: Page) -> None:
    """Without any answer the page has one problem, not six, and comes back by its button."""
    await page.route("**/api/**", lambda route: route.abort())
    await page.goto(f"{server.url}/#/insight?{LITTLE}")
    await expect(page.locator("#insight-problem code")).to_have_text("unreachable")
    assert await page.locator(".problem:visible").count() == 1
    await page.unroute("**/api/**")
    await page.locator("#insight-problem button").click()
    await expect(page.locator(READY)).to_be_visible()


async def test_a_chart_is_read_with_the_keyboard(server: Process, shown: Page) -> None:
    """The arrow keys go from value to value, End to the last, Escape leaves; what is there is read aloud."""
    curve = (await get(server, CURVE, lane="fast"))["curve"]
    chart = shown.locator("[data-chart=times]")
    readout = chart.locator(".readout")
    await chart.locator(".chart-box").focus()
    await shown.keyboard.press("ArrowRight")
    await expect(readout).to_contain_text(f"By {await written(shown, 'duration', curve[0]['at'])}")
    await expect(readout).to_contain_text(f"Fast: {await written(shown, 'percent', curve[0]['share'])}")
    await expect(readout).to_have_attribute("aria-live", "polite")
    await shown.keyboard.press("End")
    await expect(readout).to_contain_text("Fast: 100 %")
    await shown.keyboard.press("Escape")
    await expect(readout).to_contain_text("arrow keys")
    picture = chart.get_by_role("img")
    assert await picture.locator("desc").text_content() != ""
    await expect(picture).to_have_accessible_name("Share of answers that are complete by a time, by lane")


async def test_a_chart_is_read_with_the_pointer(server: Process, shown: Page) -> None:
    """Where one points the value nearest to it is told, and not aloud."""
    box = shown.locator("[data-chart=trend] .chart-box")
    await box.scroll_into_view_if_needed()
    await box.hover()
    readout = shown.locator("[data-chart=trend] .readout")
    await expect(readout).to_contain_text("Fast: p50")
    await expect(readout).to_have_attribute("aria-live", "off")


async def test_the_focus_stays_where_it_was(server: Process, page: Page) -> None:
    """Whoever changes a filter by the keyboard finds the focus on the same field afterwards."""
    await visit(page, server, LITTLE)
    for selector in ("#insight-filters [data-value='30d']", "[data-card=trend] [data-value=first_token]"):
        await page.locator(selector).focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(selector)).to_have_attribute("aria-pressed", "true")
        await expect(page.locator(READY)).to_be_visible()
        await expect(page.locator(selector)).to_be_focused()


async def test_two_variants_are_compared_in_words(server: Process, page: Page) -> None:
    """The faster variant is named with its interval, and a difference that is none is not called one."""
    await visit(page, server)
    card = page.locator("[data-card=contest]")
    asked = {"experiment": "prompts", "a": "a", "b": "b"}
    found = (await get(server, "/api/experiments/compare", **asked, metric="latency"))["difference"]
    gap = await written(page, "duration", -found["value"])
    await expect(card.locator(".sentences")).to_contain_text(f"b is {gap} faster than a")
    await card.locator("[name=metric]").focus()
    await card.locator("[name=metric]").select_option("correct")
    answer = await get(server, "/api/experiments/compare", **asked, metric="correct")
    await expect(card.locator(".sentences")).to_contain_text("McNemar")
    sentence = await page.evaluate(
        "(it) => import('/console/insight/sentences.js').then((words) => words.contestSentence(it))", answer
    )
    await expect(card.locator(".sentences")).to_contain_text(sentence)
    await expect(card.locator("[name=metric]")).to_be_focused()


async def test_few_runs_are_called_few(server: Process, page: Page) -> None:
    """A class of few runs says that they are too few, and no share is put beside it."""
    await visit(page, server, LITTLE)
    runs = int(await page.locator("[data-tile=runs] dd").first.inner_text())
    assert 0 < runs < 20
    await expect(page.locator("[data-card=verdicts] .card-notes")).to_contain_text("too few to say")
    assert "too few" in (await page.locator("[data-chart=verdicts] .said").all_text_contents())[0]


async def test_a_phone_shows_everything_without_scrolling_sideways(server: Process, page: Page) -> None:
    """At 360 pixels nothing is wider than the screen or cut, and the charts follow when the screen is turned."""
    await page.set_viewport_size({"width": 360, "height": 740})
    await visit(page, server)
    assert await page.evaluate(RIGHTMOST) <= 360
    before = await page.locator("[data-chart=times] svg[role=img]").get_attribute("width")
    await page.set_viewport_size({"width": 740, "height": 360})
    await expect(page.locator("[data-chart=times] svg[role=img]")).not_to_have_attribute("width", str(before))
    assert await page.evaluate(RIGHTMOST) <= 740
    await page.set_viewport_size({"width": 360, "height": 740})
    await expect(page.locator("[data-chart=times] svg[role=img]")).to_have_attribute("width", str(before))
    assert await page.evaluate(RIGHTMOST) <= 360
    assert await page.evaluate(CUT) <= 0
