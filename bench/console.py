"""`python -m bench.console`: the page in a real browser: first paint, bytes, frames while both lanes stream, memory.

load     a fresh browser opens `/`: first contentful paint, the largest one, total blocking time (of long tasks, what is
         beyond 50 ms), requests and bytes over the network until the page is still
frames   one run in a page at rest, whose lanes stream 200 tokens a second each: the intervals of requestAnimationFrame
         from the question to the end; a frame is late when it comes more than one and a half of 1/60 s after the one
         before. Also the processor time of the page's main thread a frame, all of it, in scripts, and in style and
         layout: what the page itself costs, whoever else uses the machine and however pixels are made. On Linux also
         milliseconds of processor time a second: to make pixels (raster), to bring layers together (compositor), to
         show them (draw), and of the bench itself, which shares the page's cores
memory   a thousand runs asked in one page: JavaScript heap and DOM nodes after a collection, at the run by which the
         browser has compiled what runs often, and at the last. Asked by a script: of what is typed, the browser keeps
         a thousand steps to undo, with their nodes

Ends with 1 when the first paint takes more than 100 kB, more than one frame in a hundred is late, the main thread takes
more than half of a frame's time, or the heap grows by more than a tenth or by any node. It needs Chromium. On a machine
without a display everything is painted by the processor, beside the server that streams: --pin gives that half of the
cores, and on a busy machine (`load`, of the last minute) frames are late that would not be.
"""

import asyncio
import contextlib
import json
import os
import shutil
import statistics
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from playwright.async_api import Browser, CDPSession, Page, Response, async_playwright

from bench.painters import painted_ms
from bench.processes import Child, Cores
from bench.servers import folder, free_port, get

CHROMIUM: Final = ("chromium", "google-chrome", "chromium-browser")
ARGUMENTS: Final = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FRAME_MS: Final = 1000 / 60
LATE_MS: Final = 1.5 * FRAME_MS
BUSY_MS: Final = FRAME_MS / 2
FIRST_PAINT_BYTES: Final = 100_000
WARM_RUNS: Final = 300
QUICK: Final = "scripted:fast?first=0.002&gap=0&tokens=20"
STREAMING: Final = "scripted:fast?first=0.1&gap=0.005&tokens={tokens}"
WAIT_MS: Final = 120_000
STILL_MS: Final = 1500  # after a run the page reads the recent ones, now and perhaps once more
LOOK_MS: Final = 200  # how often the page is asked whether a measured run is over: by itself it would be in each frame

_WATCH_TASKS: Final = """
  window.blocked = 0;
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) window.blocked += Math.max(0, task.duration - 50);
  }).observe({ type: "longtask", buffered: true });
  window.largest = 0;
  new PerformanceObserver((list) => {
    for (const paint of list.getEntries()) window.largest = paint.startTime;
  }).observe({ type: "largest-contentful-paint", buffered: true });
"""
_WATCH_FRAMES: Final = """() => {
  window.frames_ = [];
  const look = (at) => { window.frames_.push(at); window.looking = requestAnimationFrame(look); };
  window.looking = requestAnimationFrame(look);
}"""
_ASK: Final = """question => {
  document.getElementById("question").value = question;
  document.getElementById("ask").requestSubmit();
}"""
_SEEN_FRAMES: Final = "() => { cancelAnimationFrame(window.looking); return window.frames_; }"


def bench(
    runs: Annotated[int, typer.Option(min=2 * WARM_RUNS, max=100_000, help="For the memory.")] = 1000,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="For the frames.")] = 10.0,
    pin: Annotated[bool, typer.Option(help="The server on cores of its own (Linux).")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON there.")] = None,
) -> None:
    """Print what the page takes, and end with 1 when it is too much."""
    told = asyncio.run(_measured(runs, seconds, Cores(pin=pin)))
    for part, values in told.items():
        print(part.ljust(8), "  ".join(f"{name} {value:,.4g}" for name, value in values.items()))
    if out is not None:
        out.write_text(json.dumps(told, indent=1))
    broken = list(_broken(told))
    for words in broken:
        print(f"too much: {words}")
    raise typer.Exit(1 if broken else 0)


def _broken(told: dict[str, dict[str, float]]) -> Iterator[str]:
    """The goals that were missed."""
    if told["load"]["bytes"] > FIRST_PAINT_BYTES:
        yield f"the first paint takes more than {FIRST_PAINT_BYTES:,} bytes"
    if told["frames"]["late share"] > 0.01:
        yield "more than one frame in a hundred is late"
    if told["frames"]["main ms"] > BUSY_MS:
        yield f"the main thread takes more than {BUSY_MS:.1f} ms a frame"
    if told["memory"]["heap growth"] > 0.1 or told["memory"]["node growth"] > 0:
        yield "memory grows with the runs"


async def _measured(runs: int, seconds: float, cores: Cores) -> dict[str, dict[str, float]]:
    async with opened_browser() as browser:
        with _server(cores) as url:
            return {
                "load": await _load(browser, url),
                "frames": await _frames(browser, url, seconds),
                "memory": await _memory(browser, url, runs),
            }


@contextlib.asynccontextmanager
async def opened_browser() -> AsyncIterator[Browser]:
    """The browser that is installed here, without a window."""
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if executable is None:
        raise typer.BadParameter("no Chromium or Chrome is installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        await browser.close()


@contextlib.contextmanager
def _server(cores: Cores) -> Iterator[str]:
    """A Tandem of its own with an embedded PostgreSQL, by its address."""
    port = free_port()
    with folder() as home:
        own = {"PORT": str(port), "TANDEM_HOME": str(home / "home"), "LOG_LEVEL": "WARNING"}
        models = {"FAST_MODEL": QUICK, "SLOW_MODEL": QUICK, "CACHE": "false"}
        with Child(["app.cli", "serve"], home / "tandem.log", own | models) as child:
            cores.give_server(child.pid)
            child.await_ready(lambda: get(port, "/health/ready")[0] == 200)
            yield f"http://127.0.0.1:{port}/"


async def _load(browser: Browser, url: str) -> dict[str, float]:
    """A first visit, with nothing cached."""
    context = await browser.new_context()
    page = await context.new_page()
    arrived: list[Response] = []
    page.on("response", lambda response: arrived.append(response))  # noqa: PLW0108  # playwright marks its handlers
    await page.add_init_script(_WATCH_TASKS)
    await page.goto(url, wait_until="networkidle")
    first = await page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    sizes = [await response.request.sizes() for response in arrived]
    told = {
        "first paint ms": first,
        "largest paint ms": await page.evaluate("largest"),
        "blocked ms": await page.evaluate("blocked"),
        "requests": float(len(arrived)),
        "bytes": float(sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes)),
    }
    await context.close()
    return told


async def _asked(page: Page, question: str, look_ms: float | Literal["raf"] = "raf") -> None:
    """One question, to the end of its run."""
    await page.wait_for_selector("#question")
    await page.evaluate(_ASK, question)
    await page.wait_for_function(
        "question => document.body.dataset.phase === 'over'"
        " && document.getElementById('asked').textContent.includes(question)",
        arg=question,
        timeout=WAIT_MS,
        polling=look_ms,
    )


async def _frames(browser: Browser, url: str, seconds: float) -> dict[str, float]:
    """How regularly the page is painted while both lanes stream; its models are put into the question on its way."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    await page.goto(url, wait_until="networkidle")
    await page.wait_for_selector("#question")  # what playwright puts into a page for this takes more than a frame,
    await page.wait_for_function("() => true")  # and for that
    model = STREAMING.format(tokens=int(seconds * 200))
    tools = await context.new_cdp_session(page)
    await tools.send("Performance.enable", {"timeDomain": "threadTicks"})
    await page.evaluate(_WATCH_FRAMES)
    await page.route("**/v1/reason", _with_models(model))
    before, painted = await _spent_ms(tools), painted_ms()
    await _asked(page, "Two hundred tokens a second, from both of you, please.", LOOK_MS)
    at = await page.evaluate(_SEEN_FRAMES)
    spent = {name: total - before[name] for name, total in (await _spent_ms(tools)).items()}
    painted = {part: total - painted[part] for part, total in painted_ms().items()}
    gaps = sorted(later - earlier for earlier, later in pairwise(at))
    await context.close()
    return {
        "frames": float(len(gaps)),
        "per second": 1000 * len(gaps) / (at[-1] - at[0]),
        "p50 ms": statistics.median(gaps),
        "p99 ms": gaps[int(0.99 * (len(gaps) - 1))],
        "longest ms": gaps[-1],
        "late share": sum(gap > LATE_MS for gap in gaps) / len(gaps),
        "main busy share": spent["main ms"] / (at[-1] - at[0]),
        **{name: total / len(gaps) for name, total in spent.items()},
        **{f"{part} ms/s": 1000 * total / (at[-1] - at[0]) for part, total in painted.items()},
        "load": os.getloadavg()[0],
    }


async def _spent_ms(tools: CDPSession) -> dict[str, float]:
    """Processor time of the page's main thread since its beginning: all, scripts, and style and layout."""
    told = (await tools.send("Performance.getMetrics"))["metrics"]
    seconds = {metric["name"]: metric["value"] for metric in told}
    return {
        "main ms": 1000 * seconds["TaskDuration"],
        "script ms": 1000 * seconds["ScriptDuration"],
        "layout ms": 1000 * (seconds["LayoutDuration"] + seconds["RecalcStyleDuration"]),
    }


def _with_models(model: str) -> Any:  # noqa: ANN401  # playwright's handler
    """Sends questions on with these models, whatever the page asked for."""

    async def handle(route: Any) -> None:  # noqa: ANN401  # playwright's route
        body = json.loads(route.request.post_data) | {
            "fast": {"model": model, "timeout_s": 60, "max_output_tokens": None},
            "slow": {"model": model, "timeout_s": 60, "max_output_tokens": None},
        }
        await route.continue_(post_data=json.dumps(body))

    return handle


async def _memory(browser: Browser, url: str, runs: int) -> dict[str, float]:
    """What is left in the page after the first runs, and after all of them."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    await page.goto(url)
    warm = (0.0, 0.0)
    for number in range(1, runs + 1):
        await _asked(page, f"Question number {number:06d}?")
        if number == WARM_RUNS:
            warm = await _held(page)
    last = await _held(page)
    await context.close()
    return {
        "runs": float(runs),
        "heap MB": last[0] / 1e6,
        "heap growth": last[0] / warm[0] - 1,
        "nodes": last[1],
        "node growth": max(0.0, last[1] - warm[1] - 50),  # what a hint or a scroll bar may add
    }


async def _held(page: Page) -> tuple[float, float]:
    """Bytes of JavaScript and nodes that survive a collection."""
    await page.wait_for_timeout(STILL_MS)
    tools = await page.context.new_cdp_session(page)
    for _ in range(3):
        await tools.send("HeapProfiler.collectGarbage")
    heap = await tools.send("Runtime.getHeapUsage")
    counts = await tools.send("Memory.getDOMCounters")
    await tools.detach()
    return float(heap["usedSize"]), float(counts["nodes"])


if __name__ == "__main__":
    typer.run(bench)
