"""What is deployed beside the server to watch it: rules, a dashboard, and that both speak of what there is."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cells import rows
from prometheus_client.parser import text_string_to_metric_families
from servers import serving

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "monitoring"
RUNBOOK = (ROOT / "RUNBOOK.md").read_text()
FOUR = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
NOT_OURS = {"up", "ALERTS"}  # Prometheus makes them itself
_SUFFIX = re.compile(r"_(bucket|sum|count)$")
_WORDS = {"sum", "rate", "increase", "max", "min", "by", "on", "and", "histogram_quantile", "le", "label_values"}

Rule = dict[str, Any]


def rules() -> list[Rule]:
    """Every alert."""
    groups = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    found: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    return found


def panels() -> list[dict[str, Any]]:
    """The panels with something in them."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    """Everything that the rules and the dashboard ask Prometheus."""
    board = dashboard()
    variables = [v["query"]["query"] for v in board["templating"]["list"] if isinstance(v["query"], dict)]
    marks = [mark["expr"] for mark in board["annotations"]["list"]]
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [*(rule["expr"] for rule in rules()), *variables, *marks, *shown]


def names(query: str) -> set[str]:
    """The metrics in a query: words that are no function, no label and no text."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(by|on)\s*\([^)]*\)|, instance\)', " ", query)
    return {word for word in re.findall(r"[a-zA-Z_]\w*", bare) if word not in _WORDS}


def promtool(*arguments: str, given: str = "") -> str:
    """What promtool says; a program that is missing skips the test, but never in CI."""
    if shutil.which("promtool") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is missing: apt-get install prometheus")
        pytest.skip("promtool is missing: apt-get install prometheus")
    command = ["promtool", *arguments]
    done = subprocess.run(command, cwd=FOLDER, input=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


async def scraped(dsn: str) -> str:
    """What a real server says after a question."""
    async with serving(dsn) as server:
        await server.client.post("/v1/reason", json={"input": "Why?", "stream": False})
        return (await server.client.get("/prometheus")).text


def test_rules_are_valid() -> None:
    """Prometheus takes the rules, and the example of a configuration."""
    assert "SUCCESS" in promtool("check", "rules", "rules.yml")
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", "prometheus.yml")


def test_every_alert_fires_and_rests() -> None:
    """Each alert fires on numbers that are bad, and not on numbers that are well."""
    tests = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    alerts = {rule["alert"] for rule in rules()}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == alerts
    promtool("test", "rules", "rules_test.yml")


def test_every_alert_says_how_bad_for_how_long_and_where_to_read() -> None:
    """A rule has a severity, a patience unless it looks back itself, a sentence, and the address of its section."""
    for rule in rules():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert "for" in rule or "increase(" in rule["expr"], rule["alert"]
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == f"RUNBOOK.md#alert-{rule['alert'].lower()}"


@rows("alert", [rule["alert"] for rule in rules()])
def test_every_alert_has_its_section(alert: str) -> None:
    """RUNBOOK.md has a section for each alert, with the four words, in order."""
    _, heading, rest = RUNBOOK.partition(f"\n### Alert: {alert}\n")
    assert heading
    assert re.findall(r"^\*\*(\w+)\.\*\*", re.split(r"\n##+ ", rest)[0], re.MULTILINE) == FOUR


async def test_everything_that_is_asked_for_is_there(dsn: str) -> None:
    """Every metric that a rule or a panel names is in a scrape of a real server."""
    text = await scraped(dsn)
    there = {family.name for family in text_string_to_metric_families(text)}
    there |= {f"{name}_total" for name in there}
    asked = {name for query in queries() for name in names(query)} - NOT_OURS
    assert len(asked) > 40
    assert {name for name in asked if name not in there and _SUFFIX.sub("", name) not in there} == set()


async def test_every_metric_is_explained(dsn: str) -> None:
    """RUNBOOK.md has a row for each metric of a real scrape, and for no other: its labels, its unit, what it means."""
    table = RUNBOOK.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|$", table, re.MULTILINE)
    told = {
        name: (set(re.findall(r"`(\w+)`", labels)), unit.strip(), meaning.strip())
        for name, labels, unit, meaning in rows
    }
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in text_string_to_metric_families(await scraped(dsn))
    }
    assert told.keys() == families.keys()
    for name, family in families.items():
        labels, unit, meaning = told[name]
        assert unit, name
        assert meaning, name
        assert not family.samples or labels == {label for s in family.samples for label in s.labels} - {"le"}, name


async def test_prometheus_reads_the_scrape_without_complaint(dsn: str) -> None:
    """promtool finds nothing to say against a scrape: no name, type or help is unusual."""
    assert not promtool("check", "metrics", given=await scraped(dsn))


def test_dashboard_is_whole() -> None:
    """Every panel has a title, a unit, a query and a place of its own; every instance may be chosen."""
    places = [tuple(panel["gridPos"].values()) for panel in dashboard()["panels"]]
    assert len(set(places)) == len(places)
    for panel in panels():
        assert panel["title"]
        assert panel["targets"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all("$instance" in target["expr"] for target in panel["targets"]), panel["title"]
    rows = {panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"}
    assert {"Traffic", "Errors", "Time", "Cache", "Cost", "Protection", "Audit", "Saturation"} <= rows
