"""The console's modules without a browser: node's own test runner over tests/console."""

import re
from pathlib import Path

from npm import failures_of, needs_node

SUITES = sorted((Path(__file__).parent / "console").glob("*.test.mjs"))
CONSOLE = Path(__file__).parents[1] / "app" / "console"


@needs_node
def test_every_module_of_the_console_keeps_its_rules() -> None:
    """Each module of the console passes its own suite in plain node."""
    assert len(SUITES) > 5
    assert failures_of(*SUITES) == ""


def modules() -> list[Path]:
    """Every module of the console; the client, which is one of its own, is there by a link."""
    return [path for path in CONSOLE.rglob("*.js") if "client" not in path.relative_to(CONSOLE).parts]


def test_the_page_inserts_text_only_as_text() -> None:
    """No module of the console hands data to an HTML parser or to an interpreter, or sets a style as text."""
    words = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "srcdoc",
        "cssText",
        "setHTML",
        "DOMParser",
        "createContextualFragment",
        'setAttribute("style"',
    )
    assert {path.parent.name for path in modules()} >= {"console", "ask", "runs", "insight", "health", "draw"}
    found = {path.name: word for path in modules() for word in words if word in path.read_text(encoding="utf-8")}
    assert found == {}


def test_the_page_needs_nothing_inline_and_nobody_else() -> None:
    """The page has no inline script or style and refers to no other host, as its content security policy demands."""
    page = (CONSOLE / "index.html").read_text(encoding="utf-8")
    assert not [word for word in ("<style", "style=", "onclick", "://", "<script>") if word in page]
    references = re.findall(r'(?:href|src)="/console/([^"]+)"', page)
    assert len(references) > 5
    assert [name for name in references if not (CONSOLE / name).is_file()] == []


def test_what_the_ask_page_says_stands_in_one_place() -> None:
    """No module of the Ask page but its words has a sentence in it."""
    sentence = re.compile(r"""["'`][A-Z][a-z]+ [a-z ,]+[^"'`]*["'`]""")
    shown = [path for path in (CONSOLE / "ask").glob("*.js") if path.name != "words.js"]
    assert {path.name: found for path in shown if (found := sentence.findall(code_of(path)))} == {}


def code_of(path: Path) -> str:
    """A module without its comments."""
    return re.sub(r"^\s*(//|/?\*).*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
