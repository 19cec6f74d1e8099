"""A loop whose clock jumps: when nothing is ready it is at once the time of the next timer, and no time has passed."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Never sleeps before a timer; waits for real only when a thread's word is all there is to wait for."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready:
            self.now += max(timeout, 0.0)
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on that selector."""

    def __init__(self) -> None:
        self.clock = _Selector()
        super().__init__(self.clock)

    def time(self) -> float:
        """The time that the selector has jumped to."""
        return self.clock.now


def jump(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a jumping clock; fail if it leaves a task behind."""
    loop = JumpingLoop()
    try:
        result = loop.run_until_complete(main)
        loop.run_until_complete(asyncio.sleep(0))
        left = asyncio.all_tasks(loop)
        assert not left, f"left behind: {left}"
        return result
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
