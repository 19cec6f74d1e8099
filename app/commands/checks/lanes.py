"""The models: whether what they need is here; with --live, one token of each."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing
from typing import Final
from urllib.parse import urlsplit

from app.commands.checks.finding import Finding, timed
from app.commands.checks.machine import reachable
from app.errors import ModelError, StartupError, TandemError
from app.llm.catalogue import Catalogue
from app.llm.model import Pieces, Prompt, Warming
from app.question import LaneName, Message
from app.record.prices import UNLISTED
from app.settings import Settings
from app.wiring import limits, models
from app.wiring.tracing import endpoint_of, open_tracing

LIVE_S: Final = 30.0
QUESTION: Final = (Message("user", "Say OK."),)
OPENAI: Final = "api.openai.com"


async def lanes(settings: Settings, *, live: bool) -> AsyncIterator[Finding]:
    """Each lane's model."""
    try:
        catalogue = models.open_catalogue(settings)
    except StartupError as error:
        yield Finding("models", "stop", error.message)
        return
    try:
        for lane, name in models.configured(settings).items():
            yield _configured(settings, lane, name) or await _asked(catalogue, lane, name, live=live)
    finally:
        await catalogue.close()


def _configured(settings: Settings, lane: LaneName, name: str) -> Finding | None:
    """What can be seen to be missing without asking."""
    if "openai:" not in name:
        return None
    url: str = getattr(settings, f"{lane}_openai_base_url") or settings.openai_base_url
    key = getattr(settings, f"{lane}_openai_api_key") or settings.openai_api_key
    if key is None and urlsplit(url).hostname == OPENAI:
        fix = f"set OPENAI_API_KEY or {lane.upper()}_OPENAI_API_KEY, or OPENAI_BASE_URL to a server that wants none"
        return Finding(f"{lane} model", "mend", f"{name}: no key", fix)
    return None


async def _asked(catalogue: Catalogue, lane: LaneName, name: str, *, live: bool) -> Finding:
    check = f"{lane} model"
    if not live:
        return Finding(check, "ok", f"{name}; `--live` asks it")
    model = catalogue.get(lane, name)
    try:
        with timed() as ms:
            async with asyncio.timeout(LIVE_S):
                if isinstance(model, Warming):
                    await model.warm()
                async with aclosing(model.ask(Prompt(QUESTION, 1, urgent=lane == "fast"))) as stream:
                    async for item in stream:
                        if isinstance(item, Pieces):
                            break
    except ModelError as error:
        return Finding(check, "mend", f"{name}: {error.message}", f"RUNBOOK.md, reason `{error.reason}`", ms())
    except TimeoutError:
        return Finding(check, "mend", f"{name}: no token within {LIVE_S:g} s", "look at its provider", ms())
    return Finding(check, "ok", f"{name} answered", ms=ms())


def prices(settings: Settings) -> Finding:
    """PRICES_FILE, if there is one."""
    if settings.prices_file is None:
        return Finding("prices", "off", "PRICES_FILE is not set: the public list")
    try:
        models.open_prices(settings)
    except TandemError as error:
        return Finding("prices", "stop", error.message)
    return Finding("prices", "ok", f"{settings.prices_file} is read before the public list")


def costs(settings: Settings) -> Iterator[Finding]:
    """Whether a configured model has a price, where somebody's money is limited."""
    if not limits.money_is_limited(settings) or settings.unpriced_models == "allow":
        return
    book, addresses = models.open_prices(settings), models.base_urls(settings)
    for lane, name in models.configured(settings).items():
        if not models.innermost(name).startswith(UNLISTED) and book.resolve(name, addresses[lane]) is None:
            refused = settings.unpriced_models == "refuse"
            then = "questions to it are refused" if refused else "no limit on money holds for it"
            fix = "give it a price in PRICES_FILE; if it costs nothing, a price of 0"
            yield Finding(f"{lane} price", "mend", f"{name}: nobody knows what it costs, and {then}", fix)


async def traces(settings: Settings) -> Finding:
    """Whether somebody listens where traces go."""
    if settings.trace_endpoint is None:
        return Finding("traces", "off", "TRACE_ENDPOINT is not set")
    try:
        async with AsyncExitStack() as stack:
            await open_tracing(settings, "doctor", stack)
    except StartupError as error:
        return Finding("traces", "stop", error.message)
    parts = urlsplit(endpoint_of(settings))
    number = parts.port or (443 if parts.scheme == "https" else 80)
    if not await asyncio.to_thread(reachable, parts.hostname or "", number):
        return Finding("traces", "mend", "nobody listens at TRACE_ENDPOINT", "start the collector; traces are lost")
    return Finding("traces", "ok", "somebody listens at TRACE_ENDPOINT")
