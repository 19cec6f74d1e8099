"""The models that are open: which a question may name, and which make room for others."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final

import pytest
from cells import rows
from keyring import QUICK, bearer, guarded, issued
from races import question
from tails import QUESTION, SHORT, lanes

from app.breaker import Limits, Windowed
from app.errors import ModelNotAllowed
from app.llm import catalogue as opened
from app.llm import tripping
from app.llm.allowed import Allowed, parse_patterns
from app.llm.catalogue import Catalogue
from app.llm.deliberate import wrap
from app.llm.model import Finish, Item, Pieces, Prompt
from app.llm.options import ProviderOptions
from app.llm.tripping import Guards, Patience, Rules
from app.postgres.pool import Pool
from app.question import LaneName, Message
from app.settings import Settings

MOST: Final = 4
WORD: Final = Pieces("answer", ["Because "])
PROMPT: Final = Prompt((Message("user", "Why?"),))


class Model:
    """Says one word, and knows whether it was closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False

    async def ask(self, prompt: Prompt) -> AsyncGenerator[Item, None]:  # noqa: ARG002  # as LanguageModel has it
        """A word, and after a while the end."""
        yield WORD
        await asyncio.sleep(0.005)
        yield Finish("stop")

    async def close(self) -> None:
        """Be closed."""
        self.closed = True


class Provider:
    """Opens such models, and remembers them by name, the last one of each."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}

    def __call__(self, name: str, options: ProviderOptions) -> Model:  # noqa: ARG002  # as Open has it
        """One more."""
        self.models[name] = Model(name)
        return self.models[name]

    @property
    def open(self) -> set[str]:
        """Those that were not closed."""
        return {name for name, model in self.models.items() if not model.closed}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    """A provider before a catalogue that has room for few."""
    monkeypatch.setattr(opened, "MOST_OPEN", MOST)
    return Provider()


def catalogue(provider: Provider, *chosen: str) -> Catalogue:
    """The catalogue of that provider's models; an operator chose those."""
    options: dict[LaneName, ProviderOptions] = {"fast": ProviderOptions(), "slow": ProviderOptions()}
    wrappers: dict[str, Callable[[], Callable[..., object]]] = {"deliberate": lambda: wrap}
    return Catalogue({"x": lambda: provider}, wrappers, options, Allowed(frozenset(chosen)))  # type: ignore[arg-type]


async def test_invented_names_keep_nobody_out(provider: Provider) -> None:
    """However many names somebody invents, another model can still be asked, and few stay open."""
    models = catalogue(provider)
    for number in range(3 * MOST):
        models.get("fast", f"x:{number}")
    heard = [item async for item in models.get("slow", "x:honest").ask(PROMPT)]
    assert heard == [WORD, Finish("stop")]
    await models.close()
    assert provider.open == set()


async def test_who_was_wanted_longest_ago_makes_room(provider: Provider) -> None:
    """The idle model that was wanted longest ago is closed, and no other."""
    models = catalogue(provider)
    for name in ("a", "b", "c", "d", "a", "e"):
        models.get("fast", f"x:{name}")
    await asyncio.sleep(0)
    assert provider.open == {"a", "c", "d", "e"}
    await models.close()


async def test_what_is_heard_or_chosen_stays_open(provider: Provider) -> None:
    """Neither a model that somebody hears, also through a wrapper, nor one that an operator chose makes room."""
    models = catalogue(provider, "x:chosen")
    models.get("fast", "x:chosen")
    streams = [models.get("slow", name).ask(PROMPT) for name in ("x:heard", "deliberate:2@x:inside")]
    for stream in streams:
        await anext(stream)
    for number in range(3 * MOST):
        models.get("fast", f"x:{number}")
    await asyncio.sleep(0)
    assert {"chosen", "heard", "inside"} <= provider.open
    for stream in streams:
        await stream.aclose()
    for number in range(2 * MOST):
        models.get("fast", f"x:more{number}")
    await models.close()
    assert provider.open == set()


async def test_a_model_that_made_room_before_it_was_asked_is_asked_all_the_same(provider: Provider) -> None:
    """Between the moment a model is found and the moment it is asked others may take its place."""
    models = catalogue(provider)
    found = models.get("fast", "x:found")
    for number in range(2 * MOST):
        models.get("fast", f"x:{number}")
    assert [item async for item in found.ask(PROMPT)] == [WORD, Finish("stop")]
    await models.close()
    assert provider.open == set()


async def test_a_breaker_goes_with_its_model(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breakers of names that nobody wants any more are given up, but for those of settings and those held by hand."""
    monkeypatch.setattr(tripping, "MOST", MOST)
    made: dict[str, Windowed] = {}
    rules = Rules(
        Limits(),
        Patience({"fast": question().fast, "slow": question().slow}, 1.0),
        lambda _, name: name,
        made.__setitem__,
        gone=made.pop,  # type: ignore[arg-type]
    )
    guards = Guards(catalogue(provider), rules, lambda: 0.0)
    guards.know("fast", "x:chosen")
    guards.get("fast", "x:held")
    made["x:held"].hold("open")
    for number in range(3 * MOST):
        guards.get("fast", f"x:{number}")
    assert made.keys() == {"x:chosen", "x:held", *(f"x:{number}" for number in range(2 * MOST + 1, 3 * MOST))}
    await asyncio.sleep(0)


@rows(
    ("patterns", "name", "may"),
    [
        ("*", "openai:any/thing", True),
        ("vertex:gemini-*", "vertex:gemini-3-pro", True),
        ("vertex:gemini-*", "deliberate:9@vertex:gemini-3-pro", False),
        ("vertex:gemini-*", "openai:vertex:gemini-3-pro", False),
        ("vertex:gemini-*, openai:gpt-?", "openai:gpt-5", True),
        ("off", "openai:gpt-5", False),
        ("off", "openai:chosen", True),
    ],
)
def test_patterns(patterns: str, name: str, *, may: bool) -> None:
    """A name counts that a setting chose, or that a pattern takes as a whole, its wrapper included."""
    allowed = Allowed(frozenset({"openai:chosen"}), parse_patterns(patterns))
    if may:
        allowed.check(name)
        return
    with pytest.raises(ModelNotAllowed, match="openai:chosen") as refused:
        allowed.check(name)
    assert refused.value.details["allowed"] == sorted({"openai:chosen", *parse_patterns(patterns)})


@rows(
    ("settings", "told"),
    [
        ({}, "*"),
        ({"models_allowed": "openai:*"}, "openai:*"),
        ({"models_allowed": "off"}, "off"),
        ({"auth": "keys", "key_pepper": "p" * 32}, "off"),
        ({"host": "0.0.0.0", "allow_anonymous": True}, "off"),
        ({"auth": "keys", "key_pepper": "p" * 32, "models_allowed": "*"}, "*"),
    ],
)
def test_who_may_name_what_by_default(settings: dict[str, object], told: str) -> None:
    """On one's own machine every model may be named, and where others come only those that settings name."""
    assert Settings(**settings).callers_models == told  # type: ignore[arg-type]


@pytest.mark.parametrize("patterns", ["gemini", "openai:x, nothing", "off, openai:x"])
def test_what_is_no_pattern(patterns: str) -> None:
    """A pattern without a provider is refused at the start: it would never count."""
    with pytest.raises(ValueError, match="provider:model"):
        Settings(models_allowed=patterns)


async def test_over_http(dsn: str, pool: Pool) -> None:
    """With keys a question may name what settings name; any other is a 403 that lists what may be."""
    key = bearer(await issued(pool, "alice"))
    async with guarded(dsn, models_allowed="off") as server:
        for model, status in ((QUICK["slow_model"], 200), (SHORT, 403)):
            body = QUESTION | lanes(model, model) | {"stream": False, "cache": "off"}
            answer = await server.client.post("/v1/reason", json=body, headers=key)
            assert answer.status_code == status
    assert answer.json()["code"] == "model_not_allowed"
    assert answer.json()["allowed"] == sorted([QUICK["fast_model"], QUICK["slow_model"]])
