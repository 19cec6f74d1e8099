"""What the Ask page does in a frame while texts stream: little, and what it shows is as if it did all."""

from collections.abc import AsyncIterator, Iterator
from itertools import pairwise, product

import pytest
import pytest_asyncio
from browsers import needs_chromium
from cells import Faults
from consoles import Console, ask, expect
from playwright.async_api import Page
from processes import Process, fresh_home, running

pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="session")]
WAIT_MS = 20_000
LONG = "scripted:fast?first=0.05&gap=0.004&tokens=300"
PARAGRAPH = "The quick brown fox (who never sleeps) jumps over it, and then — nobody knew why — it sat down. "
TEXTS = {
    "words": PARAGRAPH * 5,
    "lines of its own": f"one\ntwo {PARAGRAPH * 3}\nthree",
    "no spaces": "这是一个很长的中文段落、用来测试换行的位置是否正确。" * 8,
    "a giant word": "x" * 300 + " end",
    "right to left": "שלום עולם, זה מבחן של טקסט ארוך מימין לשמאל. " * 6,
    "pairs": "👨‍👩‍👧🇩🇪😀" * 25,
}
WIDTHS = {"as wide": (520, 520), "narrowed": (520, 380)}
# Show texts bit by bit, all at once, each in a box that then changes its width: where its lines end, and where those of
# the whole text.
GROW = """async (rows) => {
  const { createAnswer } = await import("/console/ask/markdown.js");
  const frames = async (n) => { while (n--) await new Promise((done) => requestAnimationFrame(done)); };
  const box = (width) => {
    const node = document.body.appendChild(document.createElement("div"));
    node.className = "answer probe";
    node.dir = "auto";
    node.dataset.placeholder = "";
    node.style.width = `${width}px`;
    return node;
  };
  const edges = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    const { left, top } = node.getBoundingClientRect();
    const rects = [...range.getClientRects()].filter(({ width }) => width > 0);
    const right = new Map();
    for (const rect of rects) right.set(Math.round(rect.bottom - top), Math.round(rect.right - left));
    return [...right].sort(([a], [b]) => a - b);
  };
  const grow = async ([text, widths]) => {
    const grown = box(widths[0]);
    const answer = createAnswer(grown);
    for (let n = 0; n < text.length; n += 9) {
      answer.show(text.slice(0, n));
      await frames(1);
    }
    answer.show(text);
    grown.style.width = `${widths[1]}px`;
    await frames(4);
    const whole = box(widths[1]);
    const tail = whole.appendChild(document.createElement("p"));
    tail.dir = "auto";
    tail.textContent = text;
    return [edges(grown), edges(whole), grown.textContent];
  };
  const seen = await Promise.all(rows.map(grow));
  for (const node of document.querySelectorAll(".probe")) node.remove();
  return seen;
}"""
# Notes the times of the frames in which an answer became longer, and the heights that the lanes' answers were given.
WATCH = """() => {
  window.seen = { frames: new Set(), heights: new Set() };
  for (const answer of document.querySelectorAll("[data-part=answer]")) {
    let length = 0;
    const add = () => {
      if (answer.textContent.length > length) window.seen.frames.add(document.timeline.currentTime);
      length = answer.textContent.length;
    };
    new MutationObserver(add).observe(answer, { childList: true, characterData: true, subtree: true });
    const room = answer.parentNode;
    new MutationObserver(() => window.seen.heights.add(room.style.height)).observe(room, { attributes: true });
  }
}"""
SEEN = """() => {
  const rooms = [...document.querySelectorAll("[data-part=answer]")].map(({ parentNode }) => parentNode);
  return [[...window.seen.frames], [...window.seen.heights], rooms.map((room) => room.style.height)];
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    """A server whose lanes both say much, quickly."""
    with fresh_home() as home, running(home, FAST_MODEL=LONG, SLOW_MODEL=LONG, CACHE="false") as process:
        yield process


@pytest_asyncio.fixture(loop_scope="session")
async def page(one_console: Console) -> AsyncIterator[Page]:
    """The page of the server; a word of complaint in its console fails the test."""
    async with one_console.lent() as lent:
        yield lent


async def test_a_text_that_grew_has_the_lines_of_one_that_did_not(page: Page) -> None:
    """However a text came and the box was changed meanwhile, its lines end where those of the whole text end."""
    table = list(product(TEXTS, WIDTHS))
    seen = await page.evaluate(GROW, [[TEXTS[kind], WIDTHS[change]] for kind, change in table])
    faults = Faults()
    for (kind, change), (grown, whole, text) in zip(table, seen, strict=True):
        with faults.of({"kind": kind, "change": change}):
            assert len(whole) > 3
            assert [line for line, _ in grown] == [line for line, _ in whole]
            assert [right for _, right in grown] == pytest.approx([right for _, right in whole], abs=3)
            assert text == TEXTS[kind]
    faults.raise_all()


async def test_texts_are_added_to_in_every_second_frame_and_their_boxes_grow_in_steps(page: Page) -> None:
    """Between frames that add to an answer 25 ms pass; the box of an answer grows by steps and fits it at the end."""
    await page.evaluate(WATCH)
    await ask(page, "Say much.")
    await expect(page.locator("#done")).to_be_visible(timeout=WAIT_MS)
    frames, heights, last = await page.evaluate(SEEN)
    assert len(frames) > 10
    assert min(later - earlier for earlier, later in pairwise(frames)) >= 25
    assert {int(height.removesuffix("px") or 0) % 144 for height in heights} == {0}
    assert len(heights) > 2
    assert last == ["", ""]
