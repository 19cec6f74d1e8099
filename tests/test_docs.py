"""The documents say what the code does: settings, codes, reasons, events, endings, alerts, files and links."""

import ast
import re
from pathlib import Path
from typing import get_args

from app.errors import Refusal, StartupError, TandemError
from app.events import FOLLOWS, Status
from app.postgres.experiments import EXPORTS_MAX
from app.reasoning.verdict import STOPPED
from app.settings import Settings
from app.wiring import answers, identity
from bench.fronts import LOCAL_NAME, NEEDED

ROOT = Path(__file__).parents[1]
RUNBOOK = (ROOT / "RUNBOOK.md").read_text()
DESIGN = (ROOT / "DESIGN.md").read_text()
README = (ROOT / "README.md").read_text()
RULES = {"OPENAI_BASE_URL", "TANDEM_HOME"}  # whose defaults are told in words
FOUR = ("Meaning", "Impact", "Diagnosis", "Mitigation")
FOLDERS = "|".join(sorted(path.name for path in (ROOT / "app").iterdir() if path.is_dir()))
SOURCES = "\n".join(path.read_text() for path in sorted((ROOT / "app").rglob("*.py")))
TERRAFORM = "\n".join(path.read_text() for path in sorted((ROOT / "deploy" / "terraform").glob("*.tf")))


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


def rows(text: str, heading: str) -> dict[str, list[str]]:
    """The rows of the first table below a heading: by the first cell, which is in backquotes, the others."""
    section = text.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"^\| `([^`]+)` \|(.+)\|$", section, re.MULTILINE)
    return {name: [cell.strip() for cell in re.split(r"(?<!\\)\|", cells)] for name, cells in found}


def heads(text: str, heading: str) -> list[str]:
    """The column heads of the table whose first rows are found by `rows`."""
    section = text.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    table_head = section[: section.index("\n|---")].splitlines()[-1]
    return [cell.strip() for cell in table_head.strip("|").split("|")]


def sections(level: str, text: str) -> dict[str, str]:
    """The text below each heading of a level, up to the next heading of that level or above."""
    parts = re.split(rf"^{level} (.+)$", text, flags=re.MULTILINE)
    return {
        name: re.split(r"^## ", body, flags=re.MULTILINE)[0]
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def spoken(body: str) -> dict[str, str]:
    """What a section says of each of the four words."""
    parts = re.split(rf"\*\*({'|'.join(FOUR)})\.\*\*", body)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


def anchor(heading: str) -> str:
    """What a heading is called in a link, by the rule that code hosts use."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_settings_documented() -> None:
    """RUNBOOK.md lists exactly the settings there are."""
    assert table(RUNBOOK, "## Settings") == {name.upper() for name in Settings.model_fields}


def test_setting_defaults_documented() -> None:
    """RUNBOOK.md tells the default that a setting really has, wherever that is a value and not a rule."""
    told = {name: cells[0] for name, cells in rows(RUNBOOK, "## Settings").items()}
    real = {name.upper(): field.default for name, field in Settings.model_fields.items() if not field.is_required()}
    values = {name: plain(real[name]) for name in real.keys() - RULES if real[name] is not None}
    assert {name: told[name] for name in values} == values


def plain(default: object) -> str:
    """A default as the table has it."""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:.15g}" if isinstance(default, float) else str(default) or "unset"


def statuses(kind: type[Refusal]) -> dict[str, str]:
    """The HTTP status of a refusal and of all that derive from it, by code."""
    return {kind.code: str(kind.status)} | {
        code: status for leaf in kind.__subclasses__() for code, status in statuses(leaf).items()
    }


def test_error_codes_documented() -> None:
    """RUNBOOK.md lists every code that a client can be refused with, its status and the four words."""
    told = rows(RUNBOOK, "## Refusals")
    assert told.keys() == codes(Refusal) | {StartupError.code}
    assert heads(RUNBOOK, "## Refusals") == ["code", "status", *FOUR]
    assert {code: told[code][0] for code in statuses(Refusal)} == statuses(Refusal)
    assert {len(list(filter(None, cells))) for cells in told.values()} == {5}


def test_reasons_documented() -> None:
    """RUNBOOK.md lists every reason that a lane or a run can end with, with the four words, and no other."""
    told = rows(RUNBOOK, "## Reasons")
    assert reasons() <= told.keys()
    assert [reason for reason in told if f'"{reason}"' not in SOURCES] == []
    assert heads(RUNBOOK, "## Reasons") == ["reason", *FOUR]
    assert {len(list(filter(None, cells))) for cells in told.values()} == {4}


def policies() -> set[str]:
    """The names of the alert policies: each its own resource, or a key of the map that one resource goes over."""
    own = re.findall(
        r'^resource "google_monitoring_alert_policy" "\w+" \{(.*?)^\}', TERRAFORM, re.MULTILINE | re.DOTALL
    )
    named = {name for policy in own for name in re.findall(r'^  display_name += "(.+)"', policy, re.MULTILINE)}
    return named | set(re.findall(r"^    (tandem-[\w-]+) = \{", TERRAFORM, re.MULTILINE))


def test_alerts_documented() -> None:
    """Every alert policy, and every rule of Prometheus, has its section in RUNBOOK.md, and every such section one."""
    headings = {name.removeprefix("Alert: ") for name in sections("###", RUNBOOK) if name.startswith("Alert: ")}
    rules = set(re.findall(r"- alert: (\w+)", (ROOT / "deploy/monitoring/rules.yml").read_text()))
    assert policies() | rules == headings
    assert len(headings) > 5


def test_alerts_say_where_to_look_and_what_to_do() -> None:
    """The section of an alert has the four words, and names commands or places for diagnosis and mitigation."""
    found = {name: spoken(body) for name, body in sections("###", RUNBOOK).items() if name.startswith("Alert: ")}
    assert {tuple(said) for said in found.values()} == {FOUR}
    assert not [name for name, said in found.items() if "`" not in said["Diagnosis"]]
    assert not [name for name, said in found.items() if not re.search(r"`|\]\(#", said["Mitigation"])]


def test_symptoms_have_the_four_words() -> None:
    """Every section of what can be wrong has the four words in this order, and says something of each."""
    found = sections("###", RUNBOOK.split("\n## When something is wrong\n", 1)[1].split("\n## ", 1)[0])
    assert len(found) > 10
    assert {
        name: tuple(word for word, said in spoken(body).items() if said) for name, body in found.items()
    } == dict.fromkeys(found, FOUR)


def test_log_lines_documented() -> None:
    """What RUNBOOK.md says that the log says is said by the code."""
    quoted = set(re.findall(r'log says\s+"([^"]+)"|message:"([^"]+)"', RUNBOOK))
    assert len(quoted) > 5
    assert not ["".join(words) for words in quoted if "".join(words) not in SOURCES]


def test_connections_documented() -> None:
    """RUNBOOK.md counts the connections that there are, and its table is right, with keys and without."""
    plain = 1 + answers.POOL_SIZE + EXPORTS_MAX
    keyed = plain + 1 + identity.POOL_SIZE
    assert f"max_connections >= instances x (DATABASE_POOL_SIZE + {plain}) + 4 + 13" in RUNBOOK
    assert f"under AUTH=keys + {keyed} instead of + {plain}" in RUNBOOK
    assert set(re.findall(r"database_pool_size \+ (\d+)", TERRAFORM)) == {str(keyed)}
    lines = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", RUNBOOK, re.MULTILINE)
    assert len(lines) == 3
    for most, pool, one, two, two_keyed in (map(int, line) for line in lines):
        assert one == most * (pool + plain) + 17
        assert two == 2 * most * (pool + plain) + 17
        assert two_keyed == 2 * most * (pool + keyed) + 17


def test_needs_of_proxies_documented() -> None:
    """RUNBOOK.md names every line that a proxy's least configuration has for our sake."""
    lines = [line.strip() for text in (*NEEDED.values(), *LOCAL_NAME.values()) for line in text.splitlines()]
    assert len(lines) > 3
    assert not [line for line in lines if f"`{line}`" not in RUNBOOK]


def test_substitutions_documented() -> None:
    """RUNBOOK.md lists exactly the substitutions of the pipeline, with the defaults they have."""
    block = (ROOT / "cloudbuild.yaml").read_text().split("\nsubstitutions:\n", 1)[1].split("\n\n", 1)[0]
    given = {
        name: value.strip('"')
        for name, value in re.findall(r'^  (_\w+): ("[^"]*"|[^#\n]*?) *(?:#.*)?$', block, re.MULTILINE)
    }
    told = {name: cells[0].strip("`") for name, cells in rows(RUNBOOK, "## Substitutions").items()}
    assert told == {name: value or "unset" for name, value in given.items()}
    assert len(told) == block.count("\n") + 1


def test_links_lead_somewhere() -> None:
    """Every link within the documents leads to a heading or a file that is there."""
    documents = {"README.md": README, "RUNBOOK.md": RUNBOOK, "DESIGN.md": DESIGN}
    anchors = {
        name: {anchor(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
        for name, text in documents.items()
    }
    for name, text in documents.items():
        inside = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
        for file, _, place in (link.partition("#") for link in inside):
            assert (ROOT / (file or name)).exists(), file
            assert not place or place in anchors[file or name], place


def test_endings_documented() -> None:
    """DESIGN.md tells an ending for every status that a run can end with, and no other status."""
    table_text = DESIGN.split("## Endings", 1)[1].split("\n## ", 1)[0]
    told = set(re.findall(r"\| `(\w+)`[^|]*\|$", table_text, re.MULTILINE))
    assert told - {"done"} == set(get_args(Status))


def test_map_documented() -> None:
    """Every file that DESIGN.md's map names beside a folder is in it, and every folder of app/ is on the map."""
    table_text = DESIGN.split("## Map", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"^\| (`app/.+?) \| (.+) \|$", table_text, re.MULTILINE)
    named = [(re.findall(r"`(app/[\w/.]+)`", floor), re.findall(r"`(\w+\.(?:py|sql))`", what)) for floor, what in found]
    assert not [
        file for floors, files in named for file in files if not any((ROOT / floor / file).exists() for floor in floors)
    ]
    on_the_map = {floor.rstrip("/") for floors, _ in named for floor in floors}
    there = {f"app/{path.name}" for path in (ROOT / "app").iterdir() if not path.name.startswith("__")}
    assert there <= on_the_map


def test_events_documented() -> None:
    """DESIGN.md has the events' table as the code has it."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", DESIGN.split("## Events and what", 1)[1], re.MULTILINE))
    for event, following in FOLLOWS.items():
        if event is not None:
            assert set(re.findall(r"`(\w+)`", rows[event])) == following


def test_files_documented() -> None:
    """Every file that the documents name exists."""
    text = DESIGN + RUNBOOK + README
    named = set(re.findall(r"`((?:app|tests|bench|deploy|clients)/[\w./-]*|[Dd]ockerfile|cloudbuild\.yaml)`", text))
    inside = set(re.findall(r"`((?:" + FOLDERS + r")/\w+\.(?:py|sql))`", DESIGN))
    assert named
    assert inside
    assert not [name for name in named if not (ROOT / name).exists()]
    assert not [name for name in inside if not (ROOT / "app" / name).exists()]


def test_make_targets_documented() -> None:
    """Every make target that the documents use is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    used = set(
        re.findall(r"\bmake (run|test|check|bench|psql|lock|clean|[a-z]+)\b(?= |`|$)", README + RUNBOOK, re.MULTILINE)
    )
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert {"run", "test", "psql"} <= used & targets
