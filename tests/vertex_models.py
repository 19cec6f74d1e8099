"""Models of Vertex AI for tests, against fake_vertex.py, or a skip that says why there are none.

Google's library is imported by the first test that uses it, not by every process that collects tests.
"""

import asyncio
import os
from contextlib import AbstractAsyncContextManager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from app.llm import vertex
from app.llm.options import ProviderOptions
from app.llm.vertex_access import VertexAccess
from app.llm.vertex_regions import Regions
from app.wiring.models import VERTEX_SDK

if TYPE_CHECKING:
    from fake_vertex import FakeVertex

load = partial(import_module, VERTEX_SDK)


def fakes() -> Any:
    """The module fake_vertex."""
    if not vertex._installed():
        explain = pytest.fail if os.environ.get("CI") else pytest.skip
        explain("google-cloud-aiplatform is not installed here; `make test` installs it")
    return import_module("fake_vertex")


def fake_vertex(**scripts: Any) -> AbstractAsyncContextManager["FakeVertex"]:
    """The server on loopback, in the running loop, until the block ends."""
    server: AbstractAsyncContextManager[FakeVertex] = fakes().fake_vertex(**scripts)
    return server


async def open_vertex(name: str, fake: "FakeVertex", regions: Regions | None = None, **access: Any) -> Any:
    """A model of that name that asks the fake; its library is loaded, its connection stands."""
    chosen = VertexAccess(project="p", endpoint=fake.endpoint, **access)
    model = vertex.open_model(name, ProviderOptions(vertex=chosen, regions=regions or Regions(load)))
    assert isinstance(model, vertex.VertexModel)
    await model.warm()
    return model


def tasks() -> set[asyncio.Task[Any]]:
    """All tasks but those by which gRPC serves; its client's are ours to end."""
    return {task for task in asyncio.all_tasks() if not _serves(task)}


def _serves(task: asyncio.Task[Any]) -> bool:
    coroutine = task.get_coro()
    compiled = not asyncio.iscoroutine(coroutine) or type(coroutine).__module__ != "builtins"
    return compiled and not getattr(coroutine, "__qualname__", "").startswith("_AioCall")
