"""The network that tests cut: it leaves nothing behind, whenever it is cut."""

import asyncio
import contextlib
import gc
import socket
from pathlib import Path
from typing import Any

import pytest

from bench.proxy import Proxy


@pytest.mark.parametrize("turns", range(4))
async def test_who_comes_while_it_goes_down_is_cut(tmp_path: Path, turns: int) -> None:
    """A connection that comes so many turns of the loop before the cut is closed, and nobody is told of a fault."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: faults.append(told))
    async with Proxy(str(tmp_path / "nobody")) as network:
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(socket.create_connection(("127.0.0.1", network.port)))
            for _ in range(turns):
                await asyncio.sleep(0)
            await network.down()
    gc.collect()  # what was not closed complains
    assert faults == []
