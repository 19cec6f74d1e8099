"""`python -m bench.screenshots`: the README's pictures, taken of a real console.

A server of its own, before a fake upstream whose two models say what is written below, with a made-up past of some
hundred runs (`screenshots_past.py`). Chromium takes deploy/screenshots/{ask,runs,insight}.png: light, 1280 pixels
wide. Ends with 1 when a picture is above 200 kB.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import typer
from aiohttp import web
from playwright.async_api import Browser, Page

from app.postgres.embedded import EmbeddedPostgres
from app.postgres.migrate import migrate
from bench.console import opened_browser
from bench.processes import ROOT, Child
from bench.screenshots_past import FAST_MODEL, SLOW_MODEL, fill
from bench.servers import folder, free_port, get

FOLDER: Final = ROOT / "deploy" / "screenshots"
WIDTH: Final = 1280
HEIGHTS: Final = {"ask": 1190, "runs": 900, "insight": 900}
MOST_BYTES: Final = 200_000
WAIT_MS: Final = 30_000
QUESTION: Final = (
    "A patch of lily pads doubles in size every day and covers a lake in 48 days. "
    "After how many days is half of the lake covered?"
)
# What each model says, after how many seconds, and with which pause between two words.
_FAST_WORDS: Final = (
    "The patch doubles every day. Half of 48 days is 24 days.\n\nThe lake is half covered after **24** days."
)
_SLOW_WORDS: Final = (
    "The patch doubles every day. A day before it covers the lake, it covers half of it.\n\n"
    "The lake is half covered after **47** days."
)
SPOKEN: Final = {FAST_MODEL: (_FAST_WORDS, 0.28, 0.02), SLOW_MODEL: (_SLOW_WORDS, 1.1, 0.06)}
PRICES: Final = {
    FAST_MODEL: {"input_usd_per_million": 0.3, "output_usd_per_million": 2.5},
    SLOW_MODEL: {"input_usd_per_million": 2.0, "output_usd_per_million": 12.0},
}
_TALLY: Final = {"prompt_tokens": 31, "total_tokens": 60}


async def _complete(request: web.Request) -> web.StreamResponse:
    """One chat completion of a model that says its words, one after another."""
    model = f"openai:{(await request.json())['model']}"
    text, first, gap = SPOKEN[model]
    answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await answer.prepare(request)

    async def send(choices: list[object], **fields: object) -> None:
        chunk = {"object": "chat.completion.chunk", "model": model, "choices": choices, **fields}
        await answer.write(f"data: {json.dumps(chunk)}\n\n".encode())

    await asyncio.sleep(first)
    words = text.split(" ")
    for number, word in enumerate(words):
        said = word if number == 0 else f" {word}"
        await send([{"index": 0, "delta": {"content": said}, "finish_reason": None}])
        await asyncio.sleep(gap)
    await send([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    await send([], usage={**_TALLY, "completion_tokens": round(1.3 * len(words))})
    await answer.write(b"data: [DONE]\n\n")
    return answer


@contextlib.asynccontextmanager
async def _upstream() -> AsyncIterator[str]:
    """The models' server, by its base URL."""
    site = web.Application()
    site.router.add_post("/v1/chat/completions", _complete)
    runner, port = web.AppRunner(site), free_port()
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _server() -> AsyncIterator[str]:
    """A Tandem with a past, by its address."""
    with folder() as home:
        prices, port = home / "prices.json", free_port()
        prices.write_text(json.dumps(PRICES))
        async with EmbeddedPostgres(home / "postgres") as postgres, _upstream() as base_url:
            await migrate(postgres.dsn)
            await fill(postgres.dsn, datetime.now(UTC))
            own = {"PORT": str(port), "TANDEM_HOME": str(home / "home"), "DATABASE_URL": postgres.dsn}
            models = {"FAST_MODEL": FAST_MODEL, "SLOW_MODEL": SLOW_MODEL, "PRICES_FILE": str(prices)}
            reached = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "none", "LOG_LEVEL": "WARNING"}
            with Child(["app.cli", "serve"], home / "tandem.log", own | models | reached) as child:
                await asyncio.to_thread(child.await_ready, lambda: get(port, "/health/ready")[0] == 200)
                yield f"http://127.0.0.1:{port}/"


async def _asked(page: Page) -> None:
    """The Ask page with a run whose answer was revised."""
    await page.fill("#question", QUESTION)
    await page.press("#question", "Enter")
    await page.locator("#verdict[data-change=revised]").wait_for()
    await page.locator("body[data-phase=over]").wait_for()
    await page.click("#changes-toggle")
    await page.locator("#changes ins").first.wait_for()
    await page.locator("#recent-rows tr [data-change=revised]").first.wait_for()


async def _take(page: Page, name: str) -> Path:
    """The upper part of what the page shows, without a focus ring or a pointer."""
    await page.set_viewport_size({"width": WIDTH, "height": HEIGHTS[name]})
    await page.evaluate("() => { document.activeElement?.blur(); scrollTo(0, 0); }")
    await page.mouse.move(0, 0)
    path = FOLDER / f"{name}.png"
    await page.screenshot(path=path, animations="disabled", caret="hide")
    return path


async def _pictures(browser: Browser, url: str) -> list[Path]:
    context = await browser.new_context(
        color_scheme="light", reduced_motion="reduce", viewport={"width": WIDTH, "height": 900}
    )
    page = await context.new_page()
    page.set_default_timeout(WAIT_MS)
    await page.goto(url)
    await _asked(page)
    taken = [await _take(page, "ask")]
    await page.goto(f"{url}#/runs")
    await page.locator("#runs tbody tr").nth(9).wait_for()
    taken.append(await _take(page, "runs"))
    await page.goto(f"{url}#/insight?span=7d")
    await page.locator(".insight[data-state=ready]:not([aria-busy])").wait_for()
    taken.append(await _take(page, "insight"))
    await context.close()
    return taken


async def _all() -> list[Path]:
    async with opened_browser() as browser, _server() as url:
        return await _pictures(browser, url)


def bench() -> None:
    """Take the pictures, print how large they are, and end with 1 when one is too large."""
    FOLDER.mkdir(exist_ok=True)
    sizes = []
    for path in asyncio.run(_all()):
        sizes.append(path.stat().st_size)
        print(f"{sizes[-1] / 1000:8.1f} kB  {path.relative_to(ROOT)}")
    raise typer.Exit(1 if max(sizes) > MOST_BYTES else 0)


if __name__ == "__main__":
    typer.run(bench)
