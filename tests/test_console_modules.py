"""The console's modules without a browser: node's own test runner over tests/console."""

import shutil
import subprocess
from pathlib import Path

import pytest

SUITES = sorted((Path(__file__).parent / "console").glob("*.test.mjs"))
CONSOLE = Path(__file__).parents[1] / "app" / "console"
NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="node is not installed; the console's modules are tested with its test runner")
@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.name)
def test_a_module_of_the_console_keeps_its_rules(suite: Path) -> None:
    """A module of the console passes its own suite in plain node."""
    ran = subprocess.run([str(NODE), "--test", str(suite)], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_page_inserts_text_only_as_text() -> None:
    """No module of the console hands data to an HTML parser."""
    for module in CONSOLE.glob("*.js"):
        source = module.read_text(encoding="utf-8")
        assert not [
            word for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write") if word in source
        ]


def test_the_page_needs_nothing_inline_and_nobody_else() -> None:
    """The page has no inline script or style and refers to no other host, as its content security policy demands."""
    page = (CONSOLE / "index.html").read_text(encoding="utf-8")
    assert not [word for word in ("<style", "style=", "onclick", "://", "<script>") if word in page]
    for reference in ("/console/tandem.css", "/console/main.js", "/console/mark.svg"):
        assert reference in page
        assert (CONSOLE / Path(reference).name).is_file()
