"""What a text that grows costs a frame: little. What it is to who looks at it, selects and copies it: all."""

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
GROW_ALL = """async (rows) => {
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
SENTENCE = "The quick brown fox (who never sleeps) jumps over it, and then it sat down. "
TEXT = f"one\n\ntwo {SENTENCE * 5}\nthree {SENTENCE * 5}."
# Let a text of a class of the page grow bit by bit up to a length, in a box of 400 pixels; `grown` lets it go on.
GROW = """async ([kind, text, length, step = 20]) => {
  const { createAnswer } = await import("/console/ask/markdown.js");
  const { createGrowing } = await import("/console/ask/growing.js");
  const node = document.body.appendChild(document.createElement("div"));
  node.className = `${kind} probe`;
  node.dataset.placeholder = "";
  node.style.width = "400px";
  const show = kind === "answer" ? createAnswer(node).show : createGrowing(node);
  let shown = 0;
  window.grown = async (length) => {
    while (shown < length) {
      show(text.slice(0, (shown = Math.min(length, shown + step))));
      await new Promise((done) => requestAnimationFrame(done));
    }
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  };
  await window.grown(length);
}"""
COPIED = "() => { getSelection().selectAllChildren(document.querySelector('.probe')); return `${getSelection()}`; }"
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
        await lent.evaluate("document.querySelector('.probe')?.remove()")


async def test_a_text_that_grew_has_the_lines_of_one_that_did_not(page: Page) -> None:
    """However a text came and the box was changed meanwhile, its lines end where those of the whole text end."""
    table = list(product(TEXTS, WIDTHS))
    seen = await page.evaluate(GROW_ALL, [[TEXTS[kind], WIDTHS[change]] for kind, change in table])
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


@pytest.mark.parametrize("kind", ["answer", "thinking-text"])
async def test_a_copy_has_the_line_ends_that_were_written(page: Page, kind: str) -> None:
    """Who copies thoughts, or a paragraph that still grows, gets no newline where a line ends only on the screen."""
    text = TEXT if kind == "thinking-text" else SENTENCE * 5
    await page.evaluate(GROW, [kind, text, len(text)])
    assert await page.locator(".probe .line").count() > 4
    assert await page.evaluate(COPIED) == text


async def test_a_line_of_code_that_is_cut_is_one_line(page: Page) -> None:
    """A line of code longer than a block may be is one line on the screen, while it comes and when it is whole."""
    text = f"```\nfirst\n{'z' * 4500}\nlast\n```\nBehind.\n"
    rows = """() => {
      const code = document.querySelector(".probe code");
      return Math.round(code.getBoundingClientRect().height / parseFloat(getComputedStyle(code).lineHeight));
    }"""
    await page.evaluate(GROW, ["answer", text, 4400, 200])
    assert await page.evaluate(rows) == 2
    await page.evaluate("window.grown", len(text))
    assert await page.evaluate(rows) == 3
    assert await page.locator(".probe code").text_content() == text[4:-12]


@pytest.mark.parametrize("kind", ["answer", "thinking-text"])
async def test_what_is_selected_stays_selected(page: Page, kind: str) -> None:
    """A selection in a text outlives that the text goes on and that its box becomes narrower."""
    await page.evaluate(GROW, [kind, SENTENCE * 8, 200])
    selected = await page.evaluate(
        """() => {
          const lines = document.querySelectorAll(".probe .line");
          const last = [...lines].at(-1).firstChild;
          getSelection().setBaseAndExtent(lines[0].firstChild, 4, last, last.length - 2);
          return `${getSelection()}`;
        }"""
    )
    assert selected == (SENTENCE * 8)[4:198]
    await page.evaluate("window.grown", 500)
    assert await page.evaluate("`${getSelection()}`") == selected
    await page.evaluate("document.querySelector('.probe').style.width = '300px'")
    await page.evaluate("window.grown", 600)
    assert await page.locator(".probe .line").count() > 1
    assert await page.evaluate("`${getSelection()}`") == selected
