"""What the files under deploy/ say, read as whoever applies them would."""

import functools
import importlib
import importlib.util
import json
import os
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
VALUES = {"PROJECT": "my-project", "REGION": "europe-west1", "TAG": "r-1", "IMAGE": "r.example.com/tandem@sha256:0"}
# What comes from a secret, as its example or its comment has it.
SECRETS = {
    "DATABASE_URL": "postgresql://tandem-run%40my-project.iam@/tandem",
    "REDIS_URL": "redis://:key@10.0.0.3:6379/0",
}


def missing(what: str) -> None:
    """Skip the test for want of a thing that a laptop may lack; on CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed")
    pytest.skip(f"{what} is not installed")


def package(name: str) -> ModuleType:
    """A module of the development dependencies."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(name)
        raise


def vendored(name: str) -> Any:
    """A validator of a schema that check-jsonschema brings along: `cloudbuild`, `compose-spec`."""
    spec = importlib.util.find_spec("check_jsonschema")  # its folder alone; to import it takes a second
    if spec is None or spec.submodule_search_locations is None:
        missing("check-jsonschema")
        raise AssertionError
    file = Path(spec.submodule_search_locations[0]) / "builtin_schemas" / "vendor" / f"{name}.json"
    schema = json.loads(file.read_text())
    return package("jsonschema").validators.validator_for(schema)(schema)


def program(name: str) -> str:
    """The path of a command."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        missing(name)
    return str(found)


@functools.cache
def documents(path: Path) -> list[Any]:
    """The documents of a YAML file whose ${NAMES} are filled in."""
    text = re.sub(r"\$\{([A-Z]+)\}", lambda place: VALUES[place[1]], path.read_text())
    return list(package("ruamel.yaml").YAML(typ="safe").load_all(text))


def plain(env: list[dict[str, Any]]) -> dict[str, str]:
    """Name and value of a container's variables; what comes from a secret has the value of an example."""
    return {entry["name"]: entry.get("value") or SECRETS[entry["name"]] for entry in env}
