"""The manifests for Cloud Run, Kubernetes and Compose: schemas, settings, probes, times, and who may do what."""

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from deployments import DEPLOY, ROOT, SECRETS, documents, package, plain, vendored
from servers import serving

from app.http.server import CLOSE_S
from app.settings import Settings, read_settings

SERVICE = DEPLOY / "cloudrun" / "service.yaml"
JOB = DEPLOY / "cloudrun" / "migrate.yaml"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
COMPOSE = DEPLOY / "compose.yaml"
STOPPED_S = 9.0  # from SIGTERM to the end, as RUNBOOK.md says


def of_kind(path: Path, kind: str) -> dict[str, Any]:
    """The one document of a kind."""
    found: dict[str, Any] = next(document for document in documents(path) if document["kind"] == kind)
    return found


def cloud_run_container(path: Path) -> dict[str, Any]:
    """The container of the service, or of the job."""
    template = documents(path)[0]["spec"]["template"]["spec"]
    container: dict[str, Any] = template.get("template", {"spec": template})["spec"]["containers"][0]
    return container


def environments() -> dict[str, dict[str, str]]:
    """What each container of ours is given, secrets with an example's value."""
    example = DEPLOY / "compose.env.example"
    file = dict(line.split("=", 1) for line in example.read_text().splitlines() if re.match(r"[A-Z]", line))
    given = {SERVICE.name: plain(cloud_run_container(SERVICE)["env"]), JOB.name: plain(cloud_run_container(JOB)["env"])}
    manifest = DEPLOY / "kubernetes" / "tandem.yaml"
    secret = dict.fromkeys(of_kind(DEPLOY / "kubernetes" / "secret.example.yaml", "Secret")["stringData"])
    given["kubernetes"] = of_kind(manifest, "ConfigMap")["data"] | {name: SECRETS[name] for name in secret}
    text = re.sub(r"\$\{\w+:\?[^}]*\}", "secret", COMPOSE.read_text())
    for name in ("tandem", "migrate"):
        container = package("ruamel.yaml").YAML(typ="safe").load(text)["services"][name]
        given[f"compose {name}"] = file | container["environment"]
    return given


@pytest.mark.parametrize("name", ["service.yaml", "migrate.yaml", "kubernetes", "compose tandem", "compose migrate"])
def test_settings_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable that a container is given is a setting with a valid value, and together they start a server."""
    given = environments()[name]
    foreign = {"POSTGRES_PASSWORD", "GOOGLE_APPLICATION_CREDENTIALS"}  # Compose's own, and Google's library's
    assert {variable.lower() for variable in given} - {name.lower() for name in foreign} <= set(Settings.model_fields)
    for variable in Settings.model_fields:
        monkeypatch.delenv(variable.upper(), raising=False)
    for variable, value in {"HOST": "0.0.0.0", **given}.items():
        monkeypatch.setenv(variable, value)
    settings = read_settings()
    assert not settings.loopback
    assert settings.database_url is not None


def test_cloud_run_settings() -> None:
    """On Cloud Run records go straight to PostgreSQL, a job migrates, and nobody logs in by password."""
    given = plain(cloud_run_container(SERVICE)["env"])
    assert (given["AUDIT_SINK"], given["MIGRATE_AT_START"], given["DATABASE_IAM"]) == ("direct", "false", "true")
    assert ":" not in given["DATABASE_URL"].removeprefix("postgresql://")


def test_models_are_the_same() -> None:
    """Every example names the same two models."""
    named = {(env.get("FAST_MODEL"), env.get("SLOW_MODEL")) for env in environments().values()} - {(None, None)}
    terraform = (DEPLOY / "terraform" / "variables.tf").read_text()
    assert len(named) == 1
    assert all(f'"{model}"' in terraform for model in named.pop())


def probes() -> set[str]:
    """Every path that a probe asks."""
    found: set[str] = set()
    for container in (cloud_run_container(SERVICE), deployment()["containers"][0]):
        names = [name for name in container if name.endswith("Probe")]
        assert {"startupProbe", "livenessProbe"} <= set(names)
        found |= {container[name]["httpGet"]["path"] for name in names}
    terraform = "".join(path.read_text() for path in (DEPLOY / "terraform").glob("*.tf"))
    return found | set(re.findall(r'^\s*path\s*= "(.+)"', terraform, re.MULTILINE))


def deployment() -> dict[str, Any]:
    """The pod of Kubernetes."""
    pod: dict[str, Any] = of_kind(DEPLOY / "kubernetes" / "tandem.yaml", "Deployment")["spec"]["template"]["spec"]
    return pod


async def test_probes_exist() -> None:
    """Every path that a probe asks is there, and 200 on a server that is well."""
    asked = probes()
    assert asked == {"/health/ready", "/health/live"}
    async with serving() as server:
        assert [(await server.client.get(path)).status_code for path in sorted(asked)] == [200, 200]


def test_request_outlives_run() -> None:
    """Cloud Run cuts a request only well after the run's own deadline."""
    spec = documents(SERVICE)[0]["spec"]["template"]["spec"]
    given = plain(spec["containers"][0]["env"])
    assert spec["timeoutSeconds"] >= float(given["DEADLINE_S"]) + 30
    assert spec["containerConcurrency"] <= Settings.model_fields["max_live_runs"].default


def test_stop_is_long_enough() -> None:
    """A pod and a container of Compose get the pause before SIGTERM, and the nine seconds after it."""
    pod = deployment()
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= pause + STOPPED_S + CLOSE_S
    assert int(compose()["services"]["tandem"]["stop_grace_period"].rstrip("s")) >= STOPPED_S


def test_cloud_run_annotations() -> None:
    """Gen2, instance-based billing, CPU boost, session affinity and an egress of its own; instances are bounded."""
    service = documents(SERVICE)[0]
    notes = service["spec"]["template"]["metadata"]["annotations"]
    wanted = {
        "execution-environment": "gen2",
        "cpu-throttling": "false",
        "startup-cpu-boost": "true",
        "sessionAffinity": "true",
        "vpc-access-egress": "private-ranges-only",
    }
    assert {name: notes[f"run.googleapis.com/{name}"] for name in wanted} == wanted
    assert json.loads(notes["run.googleapis.com/network-interfaces"])[0]["network"] == "tandem"
    assert int(service["metadata"]["annotations"]["run.googleapis.com/maxScale"]) == 10


def fleets() -> dict[str, tuple[int, int]]:
    """The most instances there may be, and the pool of each."""
    notes = documents(SERVICE)[0]["metadata"]["annotations"]
    manifest = DEPLOY / "kubernetes" / "tandem.yaml"
    return {
        "cloudrun": (
            int(notes["run.googleapis.com/maxScale"]),
            int(plain(cloud_run_container(SERVICE)["env"])["DATABASE_POOL_SIZE"]),
        ),
        "kubernetes": (
            of_kind(manifest, "HorizontalPodAutoscaler")["spec"]["maxReplicas"],
            int(of_kind(manifest, "ConfigMap")["data"]["DATABASE_POOL_SIZE"]),
        ),
    }


def test_connections_suffice() -> None:
    """Two whole fleets, the jobs and the reserve stay under the max_connections that Terraform asks for."""
    variables = (DEPLOY / "terraform" / "variables.tf").read_text()
    allowed = int(re.findall(r'"sql_max_connections".*?default\s*= (\d+)', variables, re.DOTALL)[0])
    for instances, pool in fleets().values():
        assert 2 * instances * (pool + 7) + 4 + 13 <= allowed


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_kubernetes_schema(path: Path) -> None:
    """Every object is one that Kubernetes knows, without a field it does not."""
    for document in documents(path):
        package("kubernetes_validate").validate(document, "1.36", strict=True)


@pytest.mark.parametrize(("file", "kind"), [("tandem.yaml", "Deployment"), ("migrate.yaml", "Job")])
def test_pods_are_restricted(file: str, kind: str) -> None:
    """A pod of ours runs as nobody in particular, cannot write to its root, and holds no capability."""
    pod = of_kind(DEPLOY / "kubernetes" / file, kind)["spec"]["template"]["spec"]
    context, container = pod["securityContext"], pod["containers"][0]
    assert (context["runAsNonRoot"], context["runAsUser"], context["seccompProfile"]["type"]) == (
        True,
        10001,
        "RuntimeDefault",
    )
    own = container["securityContext"]
    assert (own["readOnlyRootFilesystem"], own["allowPrivilegeEscalation"], own["capabilities"]) == (
        True,
        False,
        {"drop": ["ALL"]},
    )
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/var/lib/tandem", "/tmp"}
    assert not pod["automountServiceAccountToken"]


def test_example_secret_is_empty() -> None:
    """The example of a secret has names and no values."""
    values = of_kind(DEPLOY / "kubernetes" / "secret.example.yaml", "Secret")["stringData"].values()
    assert set(values) == {""}


@functools.cache
def compose() -> dict[str, Any]:
    """Compose's file as it is written, without what a person fills in."""
    read: dict[str, Any] = package("ruamel.yaml").YAML(typ="safe").load(COMPOSE.read_text())
    return read


def test_compose_schema() -> None:
    """The file is one of the Compose specification."""
    vendored("compose-spec").validate(compose())


def test_compose_is_closed() -> None:
    """Only Tandem is published, on loopback; every service has a read-only root, and a health check if it stays."""
    services = compose()["services"]
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {
        "tandem": ["127.0.0.1:8080:8080"]
    }
    assert all(service["read_only"] for service in services.values())
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"migrate"}
    assert compose()["networks"]["inside"] == {"internal": True}


def test_image_paths_exist() -> None:
    """What Compose and the pipeline take out of the image is what the Dockerfile puts there."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    check = compose()["services"]["tandem"]["healthcheck"]["test"]
    assert f"CMD {json.dumps(check[1:])}" in dockerfile
    assert "/usr/share/tandem/sbom.cdx.json" in dockerfile
    assert 'ENTRYPOINT ["/opt/tandem/bin/tandem"]' in dockerfile
