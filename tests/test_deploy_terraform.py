"""deploy/terraform: planned and applied by the real Terraform against a Google that is made up."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deployments import DEPLOY, ROOT, documents, plain
from terraform_provider import provider

from app.settings import Settings, read_settings

FOLDER = DEPLOY / "terraform"
SOURCE = "".join(path.read_text() for path in sorted(FOLDER.glob("*.tf")))
ALERTS = {
    "tandem-error-rate", "tandem-unavailable", "tandem-restarts", "tandem-audit-fallback", "tandem-audit-held",
    "tandem-latency", "tandem-sql-connections", "tandem-sql-disk", "tandem-sql-cpu", "tandem-redis-memory",
    "tandem-instances",
}  # fmt: skip

Found = Callable[[str], list[dict[str, Any]]]

pytestmark = [
    pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is in no package index"),
    pytest.mark.long,
]


def terraform(folder: Path, env: dict[str, str], *words: str) -> str:
    """What a command printed; it must end well."""
    ended = subprocess.run(
        ["terraform", *words], cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What is there, by type, after tandem.tftest.hcl has applied everything; its runs have all passed."""
    folder = tmp_path_factory.mktemp("terraform") / "here"
    shutil.copytree(FOLDER, folder)
    with provider() as env:
        terraform(folder, env, "init", "-backend=false", "-input=false")
        said = [json.loads(line) for line in terraform(folder, env, "test", "-verbose", "-json").splitlines()]
    state = next(line["test_state"] for line in said if line["type"] == "test_state")
    resources = state["root_module"]["resources"]
    return lambda kind: [resource["values"] for resource in resources if resource["type"] == kind]


def one(values: list[dict[str, Any]]) -> dict[str, Any]:
    """The only one."""
    (value,) = values
    return value


def env_of(container: dict[str, Any]) -> list[dict[str, Any]]:
    """A container's variables, as they stand in service.yaml."""
    return [{"name": entry["name"], "value": entry["value"]} for entry in container["env"]]


def test_formatted() -> None:
    """`terraform fmt` changes nothing."""
    assert terraform(FOLDER, {}, "fmt", "-check", "-diff") == ""


def test_service_like_the_manifest(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service has the variables of service.yaml with the same values, and they are settings that start a server."""
    service = one(found("google_cloud_run_v2_service"))
    given = plain(env_of(service["template"][0]["containers"][0]))
    assert given == plain(
        documents(DEPLOY / "cloudrun" / "service.yaml")[0]["spec"]["template"]["spec"]["containers"][0]["env"]
    )
    for variable in Settings.model_fields:
        monkeypatch.delenv(variable.upper(), raising=False)
    for variable, value in {"HOST": "0.0.0.0", **given}.items():
        monkeypatch.setenv(variable, value)
    assert read_settings().run_deadline_s < float(service["template"][0]["timeout"].rstrip("s")) - 30


def test_job_like_the_manifest(found: Found) -> None:
    """The job that migrates has the variables of migrate.yaml."""
    container = one(found("google_cloud_run_v2_job"))["template"][0]["template"][0]["containers"][0]
    job = documents(DEPLOY / "cloudrun" / "migrate.yaml")[0]["spec"]["template"]["spec"]["template"]["spec"]
    assert plain(env_of(container)) == plain(job["containers"][0]["env"])
    assert container["args"] == job["containers"][0]["args"] == ["migrate"]


def test_database_address(found: Found) -> None:
    """The secret has the address of the service's own account, without a password, as the example has it."""
    secrets = {value["secret_data"] for value in found("google_secret_manager_secret_version")}
    assert "postgresql://tandem-run%40my-project.iam@/tandem" in secrets


def test_database_is_private_and_restorable(found: Found) -> None:
    """The database has no public address, wants a connector, logs in by account, and can be put back in time."""
    settings = one(found("google_sql_database_instance"))["settings"][0]
    address, backup = settings["ip_configuration"][0], settings["backup_configuration"][0]
    assert (address["ipv4_enabled"], address["ssl_mode"]) == (False, "ENCRYPTED_ONLY")
    assert (backup["enabled"], backup["point_in_time_recovery_enabled"]) == (True, True)
    flags = {flag["name"]: flag["value"] for flag in settings["database_flags"]}
    assert (flags["cloudsql.iam_authentication"], flags["max_connections"]) == ("on", "320")


def test_alerts(found: Found) -> None:
    """There is an alert of every name, and each links to the heading of RUNBOOK.md with that name."""
    policies = found("google_monitoring_alert_policy")
    assert {policy["display_name"] for policy in policies} == ALERTS
    for policy in policies:
        assert policy["documentation"][0]["links"][0]["url"] == f"RUNBOOK.md#alert-{policy['display_name']}"
        assert policy["notification_channels"]


def test_alerts_in_runbook() -> None:
    """RUNBOOK.md has a heading for every alert, and for none of such a name that there is not."""
    assert set(re.findall(r"^### Alert: (tandem-\S+)$", (ROOT / "RUNBOOK.md").read_text(), re.MULTILINE)) == ALERTS


def test_metrics_use_our_words() -> None:
    """Every message and logger that a metric looks for is one that the server writes."""
    code = "".join(path.read_text() for path in (ROOT / "app").rglob("*.py"))
    metrics = (FOLDER / "metrics.tf").read_text().replace("\\", "")
    sought = re.findall(r'jsonPayload\.(?:message:|logger=)"([^"]+)"', metrics)
    sought += re.findall(r'"([^"]+)"', re.findall(r"jsonPayload\.message:\((.+?)\)", metrics)[0])
    assert len(sought) >= 6
    assert [words for words in sought if words not in code] == []
    assert '"tandem_audit": FORMAT' in code


def test_least_privilege(found: Found) -> None:
    """Nobody is owner, editor or admin of anything; secrets are given one by one; only named members may call."""
    roles = {value["role"] for value in found("google_project_iam_member")}
    assert not {role for role in roles if re.search(r"owner|editor$|[aA]dmin", role)} - {
        "roles/containeranalysis.notes.editor", "roles/containeranalysis.occurrences.editor",
        "roles/ondemandscanning.admin",
    }  # fmt: skip
    assert not {"roles/secretmanager.secretAccessor", "roles/monitoring.metricWriter"} & roles  # no metric is written
    invokers = {value["member"] for value in found("google_cloud_run_v2_service_iam_member")}
    assert len(invokers) == 3
    assert not invokers & {"allUsers", "allAuthenticatedUsers"}


def test_variables_are_described() -> None:
    """Every variable and output says what it is, and every variable of the example exists."""
    blocks = re.findall(r'^(?:variable|output) "(\w+)" \{(.*?)^\}', SOURCE, re.DOTALL | re.MULTILINE)
    assert [name for name, block in blocks if not re.search(r'description = ".+\."', re.sub(" +", " ", block))] == []
    example = (FOLDER / "terraform.tfvars.example").read_text()
    assert set(re.findall(r"^(?:# )?(\w+) += ", example, re.MULTILINE)) <= {name for name, _ in blocks}
