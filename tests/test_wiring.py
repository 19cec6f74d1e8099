"""The choices that the composition root makes."""

import pytest
from cells import rows
from pydantic import SecretStr

from app.errors import StartupError, UnknownModel
from app.llm.local_child import LocalServers
from app.llm.vertex_regions import Regions
from app.settings import Settings
from app.wiring import models

SCRIPTED = {"fast_model": "scripted:fast", "slow_model": "scripted:slow"}


@rows(
    ("own", "key"),
    [
        ({}, "shared"),
        ({"fast_openai_api_key": SecretStr("mine")}, "mine"),
        ({"fast_openai_base_url": "http://other.example/v1"}, None),
        ({"fast_openai_base_url": "http://other.example/v1", "fast_openai_api_key": SecretStr("mine")}, "mine"),
    ],
)
def test_the_shared_key_goes_to_the_shared_host_alone(own: dict[str, object], key: str | None) -> None:
    """A lane with a base URL of its own gets its own key or none, never the one meant for another host."""
    settings = Settings(**{**SCRIPTED, "openai_api_key": SecretStr("shared"), **own})  # type: ignore[arg-type]
    assert models.options(settings, "fast", models.Shared(LocalServers(), Regions())).api_key == key


def test_an_unknown_model_stops_the_start() -> None:
    """A configured model that does not exist is told with its setting before anything is opened."""
    with pytest.raises(StartupError, match=r"FAST_MODEL=nobody:x: .*openai"):
        models.open_catalogue(Settings(fast_model="nobody:x", slow_model="scripted:slow"))


def test_a_request_may_not_name_a_file() -> None:
    """A local model is served only where a setting names it."""
    catalogue = models.open_catalogue(Settings(**SCRIPTED))  # type: ignore[arg-type]
    with pytest.raises(UnknownModel, match="FAST_MODEL"):
        catalogue.get("fast", "local:/etc/passwd")


def test_lanes_share_what_they_can() -> None:
    """The same model under the same access is one instance for both lanes; another access is another."""
    alike = models.open_catalogue(Settings(**SCRIPTED))  # type: ignore[arg-type]
    assert alike.get("fast", "scripted:fast") is alike.get("slow", "scripted:fast")
    apart = models.open_catalogue(Settings(**{**SCRIPTED, "slow_openai_base_url": "http://other.example/v1"}))  # type: ignore[arg-type]
    assert apart.get("fast", "scripted:fast") is not apart.get("slow", "scripted:fast")
