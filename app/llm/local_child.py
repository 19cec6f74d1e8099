"""The parent's side of the owned child: start it, share it, notice its death, end it."""

import asyncio
import logging
import os
import secrets
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

import app
from app.errors import ModelError
from app.llm.precedence import Precedence

MODULE: Final = "app.llm.local_server"
URGENT_SLOTS: Final = 4
PATIENT_SLOTS: Final = 2
CONTEXT_TOKENS: Final = 2048
LOAD_LIMIT_S: Final = 120.0
EXIT_LIMIT_S: Final = 2.0
DEATH_NOTICE_S: Final = 0.2
RETRY_AFTER_S: Final = 5.0
MAX_LOG_BYTES: Final = 1_000_000

# All of our environment that reaches the child: there are keys in the rest.
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH")

_ROOT: Final = Path(app.__file__).parent.parent
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Child:
    """One living process and how to talk to it. The key never shows in a repr."""

    process: Process
    address: str
    key: str = field(repr=False)

    @property
    def alive(self) -> bool:
        """Whether the process lives, as far as is known yet."""
        return self.process.returncode is None

    async def died(self) -> bool:
        """Whether the process is gone; a connection breaks a little before its process is known to be dead."""
        return await _gone(self.process, DEATH_NOTICE_S)


class LocalServer:
    """The child that serves one weights file, started by the first who needs it and again after a crash, until closed.

    One task starts it for everybody: an ask that is cancelled while it waits leaves the start to the others.
    """

    def __init__(self, weights: Path, alias: str, log: Path | None) -> None:
        self.precedence = Precedence(URGENT_SLOTS, PATIENT_SLOTS)
        self._order = {"weights": str(weights), "alias": alias, "slots": URGENT_SLOTS + PATIENT_SLOTS}
        self._log = log
        self._child: Child | None = None
        self._starting: asyncio.Task[Child] | None = None
        self._failed: tuple[float, str] | None = None
        self._closed = False

    async def ready(self) -> Child:
        """The living child, its model loaded. Raises ModelError `local_unavailable`."""
        if self._child is not None and self._child.alive:
            return self._child
        if self._closed:
            raise _unavailable("it was closed")
        if self._starting is None or self._starting.done():
            self._refuse_to_hurry()
            self._note_crash()
            self._starting = asyncio.create_task(self._start(), name="start a local model")
            self._starting.add_done_callback(_heed)
        return await asyncio.shield(self._starting)

    async def close(self) -> None:
        """End the child, or its start, and wait until it is gone."""
        self._closed = True
        starting, self._starting = self._starting, None
        child, self._child = self._child, None
        if starting is not None and not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
        if child is not None:
            await _end(child.process)

    async def _start(self) -> Child:
        key = secrets.token_urlsafe(32)
        with ExitStack() as files:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", MODULE),
                stdin=PIPE,
                stdout=PIPE,
                stderr=files.enter_context(_opened(self._log)) if self._log else DEVNULL,
                cwd=_ROOT,
                env=_environment(),
                start_new_session=True,  # an interrupt at the terminal is the parent's to handle
            )
        try:
            address = await _loaded(process, {**self._order, "context": CONTEXT_TOKENS, "key": key})
        except BaseException as error:  # a cancelled start too leaves no process behind
            await _end(process)
            if isinstance(error, ModelError):
                self._failed = asyncio.get_running_loop().time() + RETRY_AFTER_S, error.message
            raise
        self._failed = None
        self._child = Child(process, address, key)
        return self._child

    def _refuse_to_hurry(self) -> None:
        """Say again why the last start failed, if that was a moment ago."""
        if self._failed is not None and asyncio.get_running_loop().time() < self._failed[0]:
            raise ModelError("local_unavailable", self._failed[1])

    def _note_crash(self) -> None:
        if self._child is not None:
            _log.warning("the local model's process ended with %s; starting another", self._child.process.returncode)
            self._child = None


@dataclass(slots=True)
class _Lease:
    server: LocalServer
    holders: int = 0


class LocalServers:
    """One child for each weights file, whoever asks for it; it ends with its last holder."""

    def __init__(self) -> None:
        self._leases: dict[Path, _Lease] = {}

    def take(self, weights: Path, alias: str, log: Path | None) -> LocalServer:
        """The server for these weights, not started yet if nobody used it."""
        lease = self._leases.setdefault(weights, _Lease(LocalServer(weights, alias, log)))
        lease.holders += 1
        return lease.server

    async def give_back(self, weights: Path) -> None:
        """One holder fewer; without holders the child ends."""
        lease = self._leases[weights]
        lease.holders -= 1
        if not lease.holders:
            del self._leases[weights]
            await lease.server.close()


def _environment() -> dict[str, str]:
    """The part of our environment that Python and the dynamic linker need."""
    prefixes = ("LC_", "DYLD_")
    return {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(prefixes)}


def _opened(log: Path) -> BinaryIO:
    """The log, to be continued; a long one starts anew."""
    long = log.exists() and log.stat().st_size > MAX_LOG_BYTES
    return log.open("wb" if long else "ab")


async def _loaded(process: Process, order: dict[str, object]) -> str:
    """The address the child tells when its model is loaded."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        async with asyncio.timeout(LOAD_LIMIT_S):
            notice = msgspec.json.decode(await process.stdout.readline(), type=dict[str, str | None])
    except (OSError, TimeoutError, msgspec.DecodeError) as error:
        raise _unavailable("its process ended or did not load it in time") from error
    if not notice["address"]:
        _log.warning("llama.cpp cannot load the local model: %s", notice["problem"])
        raise _unavailable("llama.cpp cannot load its weights")
    return notice["address"]


def _unavailable(why: str) -> ModelError:
    return ModelError("local_unavailable", f"The local model did not start: {why}.")


async def _end(process: Process) -> None:
    """Terminate the process, kill it if it lingers, and wait for it."""
    if process.stdin is not None:
        process.stdin.close()
    if process.returncode is None:
        process.terminate()
    if not await _gone(process, EXIT_LIMIT_S):
        process.kill()
        await process.wait()


async def _gone(process: Process, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await process.wait()
    except TimeoutError:
        return False
    return True


def _heed(starting: asyncio.Task[Child]) -> None:
    """Look at the outcome, since everybody who waited for it may have been cancelled."""
    if not starting.cancelled() and starting.exception() is not None:
        _log.warning("%s", starting.exception())
