"""The language models of a server: which there are, how each is reached, what its tokens cost."""

import asyncio
import importlib
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr
from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from app.errors import Refusal, StartupError
from app.http.body import Defaults
from app.llm.allowed import Allowed, parse_patterns
from app.llm.catalogue import Catalogue
from app.llm.local_child import LocalServers
from app.llm.model import Warming
from app.llm.options import ProviderOptions
from app.llm.vertex_access import VertexAccess
from app.llm.vertex_regions import Regions
from app.question import LANES, Caller, Key, LaneAsk, LaneName, Question, scope_of
from app.record.prices import PriceBook, Tariff, read_overrides
from app.settings import Settings
from app.wiring.readiness import Readiness

log = logging.getLogger(__name__)

# Loaded when first named: their libraries are heavy, or not installed everywhere.
PROVIDERS = {
    "vertex": "app.llm.vertex",
    "openai": "app.llm.openai",
    "local": "app.llm.local",
    "scripted": "app.llm.scripted",
}
WRAPPERS = {"deliberate": "app.llm.deliberate"}
PRICES = "app.record.list_prices"
VERTEX_SDK = "app.llm.vertex_sdk"


class Shared(NamedTuple):
    """What the lanes' models have together."""

    servers: LocalServers
    regions: Regions


def open_catalogue(settings: Settings) -> Catalogue:
    """Models by name. Raises StartupError when a configured one is not known."""
    shared = Shared(LocalServers(), Regions(partial(importlib.import_module, VERTEX_SDK)))
    access: dict[LaneName, ProviderOptions] = {lane: options(settings, lane, shared) for lane in LANES}
    catalogue = Catalogue(
        {name: _loader(module, "open_model") for name, module in PROVIDERS.items()},
        {name: _loader(module, "wrap") for name, module in WRAPPERS.items()},
        access,
        Allowed(chosen(settings), parse_patterns(settings.callers_models)),
    )
    for lane, name in configured(settings).items():
        try:
            catalogue.get(lane, name)
        except Refusal as error:
            raise StartupError(f"{lane.upper()}_MODEL={name}: {error.message}") from error
    return catalogue


def _loader(module: str, attribute: str) -> Callable[[], Any]:
    return lambda: getattr(importlib.import_module(module), attribute)


def options(settings: Settings, lane: LaneName, shared: Shared) -> ProviderOptions:
    """A lane's access to its provider: its own base URL and key, else those of both lanes.

    A lane with a base URL of its own never gets the shared key, which was meant for another host.
    """
    own_url: str | None = getattr(settings, f"{lane}_openai_base_url")
    key: SecretStr | None = getattr(settings, f"{lane}_openai_api_key")
    if key is None and own_url is None:
        key = settings.openai_api_key
    return ProviderOptions(
        base_url=_base_url(settings, lane),
        api_key=None if key is None else key.get_secret_value(),
        connect_timeout_s=settings.connect_timeout_s,
        max_connections=settings.max_connections,
        home=settings.tandem_home,
        local_servers=shared.servers,
        vertex=vertex_access(settings),
        regions=shared.regions,
    )


def vertex_access(settings: Settings) -> VertexAccess:
    """The lanes' access to Vertex AI."""
    return VertexAccess(
        project=settings.vertex_project,
        location=settings.vertex_location,
        endpoint=settings.vertex_endpoint,
        fast_thinking=settings.fast_vertex_thinking,
        slow_thinking=settings.slow_vertex_thinking,
        slow_thoughts=settings.slow_vertex_thoughts,
        safety=settings.vertex_safety,
    )


def open_prices(settings: Settings) -> PriceBook:
    """What tokens cost: the public list, and PRICES_FILE before it."""
    overrides = read_overrides(settings.prices_file) if settings.prices_file else {}
    return PriceBook(overrides, _loader(PRICES, "lookup"), {lane: _base_url(settings, lane) for lane in LANES})


def tariffs(settings: Settings, prices: PriceBook) -> Callable[[LaneName, str], Tariff | None]:
    """The price of a lane's model as far as it is known by now; asking never takes long."""
    addresses = base_urls(settings)
    return lambda lane, model: prices.known(model, addresses[lane])


def base_urls(settings: Settings) -> dict[LaneName, str]:
    """Where each lane's models are asked, which is part of what they cost."""
    return {lane: _base_url(settings, lane) for lane in LANES}


def _base_url(settings: Settings, lane: LaneName) -> str:
    own: str | None = getattr(settings, f"{lane}_openai_base_url")
    return own or settings.openai_base_url


def versions(settings: Settings) -> Callable[[LaneName, str], str]:
    """What a lane's model is besides its name: the address it is asked at, the weights on this disk. Never a secret.

    Raises StartupError when the address or the weights cannot be read.
    """
    names = map(innermost, configured(settings).values())
    try:
        addresses = {lane: _public(_base_url(settings, lane)) for lane in LANES}
        vertex = {lane: vertex_access(settings).version(urgent=lane == "fast") for lane in LANES}
        weights = {name: _local_version(name) for name in names if name.startswith("local:")}
    except (ValueError, OSError) as error:
        what = "the address in an OPENAI_BASE_URL, or the file of a local model,"  # which may hold a password
        raise StartupError(f"{what} cannot be read: {type(error).__name__}") from None

    remotes = {"openai": addresses, "vertex": vertex}

    def version(lane: LaneName, model: str) -> str:
        name = innermost(model)
        remote = remotes.get(name.partition(":")[0])
        return weights.get(name, "") if remote is None else remote[lane]

    return version


def keyer(settings: Settings) -> Callable[[Question, Caller], Key]:
    """Under which key a caller's answer to a question is found, within their scope."""
    version, scope = versions(settings), scoper(settings)

    def key(question: Question, caller: Caller) -> Key:
        known = {lane: version(lane, question.lane(lane).model) for lane in LANES}
        return question.key(scope(caller), known)

    return key


def scoper(settings: Settings) -> Callable[[Caller], str]:
    """The scope in which an answer to a caller is shared: what they were granted, else CACHE_SCOPE."""
    return lambda caller: scope_of(caller, caller.grant.cache_scope or settings.cache_scope)


def innermost(name: str) -> str:
    """The name of the model that a wrapper goes around, or the name itself."""
    wrapping, at, wrapped = name.partition("@")
    return wrapped if at and wrapping.partition(":")[0] in WRAPPERS else name


def _local_version(name: str) -> str:
    found: str = _loader(PROVIDERS["local"], "version")()(name.removeprefix("local:"))
    return found


def _public(url: str) -> str:
    """An address without user, password, query and fragment, where keys may stand."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")


async def warm(settings: Settings, catalogue: Catalogue, prices: PriceBook, readiness: Readiness) -> None:
    """Load what takes time, again and again until it is there; meanwhile /health/ready tells what is wrong."""

    def note(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        log.warning("a model could not be loaded: %s", error)
        readiness.models = f"not loaded: {type(error).__name__}"

    for lane, name in configured(settings).items():
        await asyncio.to_thread(prices.resolve, name, _base_url(settings, lane))
        model = catalogue.get(lane, name)
        if isinstance(model, Warming):
            await AsyncRetrying(wait=wait_random_exponential(0.5, 10.0), before_sleep=note)(model.warm)
    readiness.models = "ok"


def configured(settings: Settings) -> dict[LaneName, str]:
    """The models that an operator chose."""
    return {"fast": settings.fast_model, "slow": settings.slow_model}


def chosen(settings: Settings) -> frozenset[str]:
    """The same, and what is inside their wrappers."""
    names = frozenset(configured(settings).values())
    return names | frozenset(map(innermost, names))


def defaults(settings: Settings) -> Defaults:
    """What a question leaves open."""
    fast = LaneAsk(
        model=settings.fast_model,
        timeout_s=settings.fast_timeout_s,
        first_token_timeout_s=settings.fast_first_token_timeout_s or math.inf,
        idle_timeout_s=settings.fast_idle_timeout_s or math.inf,
        max_output_tokens=settings.fast_max_output_tokens,
    )
    slow = LaneAsk(
        model=settings.slow_model,
        timeout_s=settings.slow_timeout_s,
        first_token_timeout_s=settings.slow_first_token_timeout_s,
        idle_timeout_s=settings.slow_idle_timeout_s,
        max_output_tokens=settings.slow_max_output_tokens,
    )
    return Defaults(fast, slow, settings.run_deadline_s)
