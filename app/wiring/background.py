"""Work beside the requests, which ends with the services."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, Final

END_S: Final = 0.5  # for a task to end


def background(stack: AsyncExitStack, work: Coroutine[Any, Any, None], name: str) -> None:
    """A task until the stack is closed."""
    task = asyncio.create_task(work, name=name)

    async def end() -> None:
        task.cancel()
        await asyncio.wait([task], timeout=END_S)

    stack.push_async_callback(end)
