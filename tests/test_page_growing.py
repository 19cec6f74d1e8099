"""What a text that still grows is to who selects and copies it, and to who looks at it: what was written."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from browsers import needs_chromium
from consoles import Console
from playwright.async_api import Page
from processes import Process, fresh_home, running

pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="session")]
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


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    """A server that has the page."""
    with fresh_home() as home, running(home) as process:
        yield process


@pytest_asyncio.fixture(loop_scope="session")
async def page(one_console: Console) -> AsyncIterator[Page]:
    """The page of the server; a word of complaint in its console fails the test."""
    async with one_console.lent() as lent:
        yield lent
        await lent.evaluate("document.querySelector('.probe')?.remove()")


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
