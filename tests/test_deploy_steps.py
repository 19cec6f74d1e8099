"""The other steps of the pipeline, run as Cloud Build runs them: build, parts, scan, push, migrate."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from fake_gcloud import IMAGE, TAG, made, ran


def job_words(*more: str) -> list[str]:
    """The command line of the migration."""
    return ["--job=tandem-migrate", "--region=europe-west1", "--image-file=image", *more]


async def test_migration_runs_first(tmp_path: Path) -> None:
    """The job gets the new image, is executed, and is waited for."""
    cloud = made(tmp_path)
    code, said = await ran(cloud, "migrate.py", *job_words())
    assert code == 0, said
    assert cloud.calls == ["run jobs list", "run jobs update", "run jobs execute"]
    assert "--wait" in cloud["calls"][-1]


async def test_failed_migration_ends_build(tmp_path: Path) -> None:
    """A migration that fails ends the build before anything is deployed."""
    cloud = made(tmp_path, fail={"run jobs execute": 1})
    code, said = await ran(cloud, "migrate.py", *job_words())
    assert (code, cloud["tags"]) == (1, {})
    assert "nothing was deployed" in said


async def test_first_migration_makes_job(tmp_path: Path) -> None:
    """Without a job one is made from migrate.yaml, filled in."""
    cloud = made(tmp_path, job=False)
    code, said = await ran(cloud, "migrate.py", *job_words("--values", "PROJECT=p", "REGION=europe-west1"))
    assert code == 0, said
    assert f"{IMAGE}@sha256:abc" in cloud["manifest"]
    assert "${" not in cloud["manifest"]


@pytest.mark.parametrize("program", ["migrate.py", "release.py"])
async def test_not_asked_for(tmp_path: Path, program: str) -> None:
    """With --go=no a step does nothing."""
    cloud = made(tmp_path)
    release = ["deploy", "--service=tandem", "--region=europe-west1", f"--tag={TAG}", "--state=state.json"]
    words = job_words() if program == "migrate.py" else release
    assert (await ran(cloud, program, *words, "--go=no"))[0] == 0
    assert cloud["calls"] == []


@pytest.mark.parametrize(
    ("found", "severities", "code"),
    [
        (["HIGH\tCVE-1", "LOW\tCVE-2"], "CRITICAL", 0),
        (["CRITICAL\tCVE-3"], "CRITICAL", 1),
        (["HIGH\tCVE-1"], "CRITICAL,HIGH", 1),
        ([], "CRITICAL", 0),
    ],
)
async def test_scan_holds_back(tmp_path: Path, found: list[str], severities: str, code: int) -> None:
    """The scan is red for a vulnerability of a severity that is not let through, and names it."""
    cloud = made(tmp_path, scan="projects/p/locations/europe/scans/1", found=found)
    ended, said = await ran(cloud, "scan.sh", f"{IMAGE}:1", "europe", severities)
    assert ended == code, said
    assert code == 0 or found[0] in said


async def test_scan_without_result_is_red(tmp_path: Path) -> None:
    """A scan that came to nothing lets nothing through."""
    assert (await ran(made(tmp_path), "scan.sh", f"{IMAGE}:1", "europe", "CRITICAL"))[0] == 1


async def test_push_names_digest(tmp_path: Path) -> None:
    """After the push the image is named by the digest it has in its own repository."""
    cloud = made(tmp_path)
    code, said = await ran(cloud, "push.sh", f"{IMAGE}:1", "out")
    assert code == 0, said
    assert (tmp_path / "out" / "image").read_text() == f"{IMAGE}@sha256:abc\n"


SBOMS: Mapping[str, int] = {"": 1, "{}": 1, '{"bomFormat": "CycloneDX", "components": [{"purl": "pkg:x/y"}]}': 0}


@pytest.mark.parametrize(("sbom", "code"), SBOMS.items())
async def test_sbom_has_parts(tmp_path: Path, sbom: str, code: int) -> None:
    """The list of parts comes out of the image, and an empty one is red; the container goes either way."""
    cloud = made(tmp_path, sbom=sbom)
    ended, said = await ran(cloud, "sbom.sh", f"{IMAGE}:1", "out")
    assert ended == code, said
    assert cloud["calls"][-1][1] == "rm"


async def test_build_labels(tmp_path: Path) -> None:
    """The image is built on the base that is named, with this version and this commit."""
    cloud = made(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    cloud.env |= {"PYTHON": "python:3.13-slim", "REVISION": "abc123", "SOURCE": ""}
    assert (await ran(cloud, "build.sh", f"{IMAGE}:1"))[0] == 0
    assert {"PYTHON=python:3.13-slim", "VERSION=1.2.3", "REVISION=abc123", "SOURCE=unknown"} <= set(cloud["calls"][0])


async def test_sbom_attached(tmp_path: Path) -> None:
    """The list of parts is filed with the image by its digest, in the bucket that is named, or not at all."""
    cloud = made(tmp_path)
    assert (await ran(cloud, "attach_sbom.sh", ".", ""))[0] == 0
    assert cloud["calls"] == []
    assert (await ran(cloud, "attach_sbom.sh", ".", "gs://b"))[0] == 0
    assert {"--destination=gs://b", f"--uri={IMAGE}@sha256:abc"} <= set(cloud["calls"][0])
