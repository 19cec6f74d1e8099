"""The documents say what the code does: settings, codes, reasons, events, files and commands."""

import ast
import re
from pathlib import Path

import pytest

from app.errors import Refusal, StartupError, TandemError
from app.events import FOLLOWS
from app.reasoning.verdict import STOPPED
from app.settings import Settings

ROOT = Path(__file__).parents[1]
RUNBOOK = (ROOT / "RUNBOOK.md").read_text()
DESIGN = (ROOT / "DESIGN.md").read_text()
README = (ROOT / "README.md").read_text()


def codes(kind: type[TandemError]) -> set[str]:
    """The codes of an error and all that derive from it."""
    return {kind.code}.union(*(codes(leaf) for leaf in kind.__subclasses__()))


def reasons() -> set[str]:
    """Every reason that the code gives to a lane's end: first words of ModelError and second of a lane's `end`."""
    found = set(STOPPED) | {"superseded", "internal", "interrupted"}
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                place = {"ModelError": 0, "refused": 0, "end": 1}.get(name)
                constant = node.args[place] if place is not None and len(node.args) > place else None
                if isinstance(constant, ast.Constant):
                    found.add(str(constant.value))
    return {reason for reason in found if re.fullmatch(r"[a-z]+(_[a-z]+)*", reason)}


def table(text: str, heading: str) -> set[str]:
    """The first cells, in backquotes, of the table below a heading."""
    section = text.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"^\| `([^`]+)`", section, re.MULTILINE))


def test_settings_documented() -> None:
    """RUNBOOK.md lists exactly the settings there are."""
    assert table(RUNBOOK, "## Settings") == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize(
    "name", ["port", "fast_timeout_s", "slow_timeout_s", "disconnect_grace_s", "max_body_bytes", "kept_runs"]
)
def test_setting_defaults_documented(name: str) -> None:
    """RUNBOOK.md tells the default a setting really has."""
    default = Settings.model_fields[name].default
    assert f"| `{name.upper()}` | {default:g} |" in RUNBOOK or f"| `{name.upper()}` | {default} |" in RUNBOOK


def test_error_codes_documented() -> None:
    """RUNBOOK.md lists every code that a client can be refused with."""
    assert table(RUNBOOK, "## Refusals") == codes(Refusal) | {StartupError.code}


def test_reasons_documented() -> None:
    """RUNBOOK.md lists every reason that a lane or a run can end with."""
    assert reasons() <= table(RUNBOOK, "## Reasons")


def test_events_documented() -> None:
    """DESIGN.md has the events' table as the code has it."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", DESIGN.split("## Events and what", 1)[1], re.MULTILINE))
    for event, following in FOLLOWS.items():
        if event is not None:
            assert set(re.findall(r"`(\w+)`", rows[event])) == following


def test_files_documented() -> None:
    """Every file that the documents name exists."""
    named = set(re.findall(r"`((?:app|tests|bench|deploy|clients)/[\w./]*)`", DESIGN + RUNBOOK + README))
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]


def test_make_targets_documented() -> None:
    """Every make target that the documents use is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    used = set(
        re.findall(r"\bmake (run|test|check|bench|psql|lock|clean|[a-z]+)\b(?= |`|$)", README + RUNBOOK, re.MULTILINE)
    )
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert {"run", "test", "psql"} <= used & targets
