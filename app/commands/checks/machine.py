"""The machine: the interpreter, files, the port, and the disk that holds what is not in the database yet."""

import contextlib
import os
import resource
import shutil
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx

from app.commands.checks.finding import Finding
from app.errors import StartupError
from app.http.server import bind
from app.record.directory import take
from app.settings import Settings

PYTHONS: Final = ((3, 11), (3, 14))
FEW_FILES: Final = 4096
SLOW_SYNC_MS: Final = 50.0
SYNCS: Final = 5
PRIVATE: Final = 0o077  # what nobody else may
ASK_S: Final = 2.0


def python() -> Finding:
    """The version that runs this."""
    version = sys.version_info[:2]
    told = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    if PYTHONS[0] <= version <= PYTHONS[1]:
        return Finding("Python", "ok", told)
    first, last = (".".join(map(str, bound)) for bound in PYTHONS)
    return Finding("Python", "mend", told, f"run it with Python {first} to {last}; others are not tested")


def files() -> Finding:
    """How many files this process may open: three a stream; the server raises its own limit up to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return Finding("open files", "ok", "as many as it likes")
    told = f"{hard} at most, enough for {hard // 3} streams"
    if hard >= FEW_FILES:
        return Finding("open files", "ok", told)
    return Finding("open files", "mend", told, f"raise the hard limit: `ulimit -Hn {FEW_FILES}`, or LimitNOFILE=")


def port(settings: Settings) -> Finding:
    """Whether we may listen there, or do already."""
    where = f"{settings.host}:{settings.port}"
    try:
        bind(settings.host, settings.port).close()
    except StartupError as error:
        if _is_tandem(settings):
            return Finding("port", "ok", f"a Tandem answers at {where}")
        return Finding("port", "stop", error.message, "set HOST and PORT to what is free here")
    return Finding("port", "ok", f"{where} is free")


def _is_tandem(settings: Settings) -> bool:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104  # as we were told to listen
    with contextlib.suppress(httpx.HTTPError, ValueError):
        answer = httpx.get(f"http://{host}:{settings.port}/health/live", timeout=ASK_S, trust_env=False)
        return "status" in answer.json()
    return False


def home(settings: Settings) -> Finding:
    """TANDEM_HOME: there, or to be made; ours to write."""
    folder = settings.tandem_home
    first = next((place for place in (folder, *folder.absolute().parents) if place.exists()), Path("/"))
    if not first.is_dir() or not os.access(first, os.W_OK | os.X_OK):
        fix = "set TANDEM_HOME to a folder of this user's own, or give it this one: `chown`"
        needed = settings.database_url is None or (settings.audit_sink == "spool" and settings.spool_dir is None)
        return Finding("TANDEM_HOME", "stop" if needed else "mend", f"{folder}: {first} cannot be written", fix)
    return Finding("TANDEM_HOME", "ok", f"{folder}{'' if folder.exists() else ', made at the first start'}")


def spool(settings: Settings) -> Iterator[Finding]:
    """The folder of the spool: its lock, who may read it, its space, and how long its disk takes to keep something."""
    folder = settings.spool_path
    if settings.audit_sink != "spool":
        yield Finding("spool", "off", "AUDIT_SINK=direct: records go to the database at once")
        return
    existed = folder.exists()
    readable = existed and folder.stat().st_mode & PRIVATE
    try:
        take(folder).close()
    except StartupError as error:
        busy = "another process" in error.message
        fix = "if that is no server of yours that runs, end it, or set SPOOL_DIR" if busy else ""
        yield Finding("spool", "ok" if busy and _is_tandem(settings) else "stop", error.message, fix)
        if not busy:
            return
    else:
        yield Finding("spool", "ok", f"{folder} is free" + (", and was open to others until now" if readable else ""))
    yield _space(settings, folder)
    yield _sync(folder)


def _space(settings: Settings, folder: Path) -> Finding:
    free, least = shutil.disk_usage(folder).free, settings.spool_min_free_bytes
    told = f"{_mib(free)} free on the spool's disk"
    if free < least:
        fix = f"free some: with less than {_mib(least)} (SPOOL_MIN_FREE_BYTES) new runs are refused (AUDIT_FULL)"
        return Finding("disk", "mend", told, fix)
    if free < least + settings.spool_max_bytes:
        fix = f"free some, or set SPOOL_MAX_BYTES below its {_mib(settings.spool_max_bytes)}: the disk fills up before"
        return Finding("disk", "mend", told, fix)
    return Finding("disk", "ok", told)


def _sync(folder: Path) -> Finding:
    """The median of a few; a file of ours that is gone afterwards."""
    path, took = folder / f"doctor-{os.getpid()}", []
    try:
        with path.open("wb") as file:
            for _ in range(SYNCS):
                file.write(b"x" * 4096)
                file.flush()
                began = time.perf_counter()
                os.fsync(file.fileno())
                took.append((time.perf_counter() - began) * 1000)
    except OSError as error:
        return Finding(
            "fsync", "stop", f"{folder} cannot be written: {error.strerror}", "set SPOOL_DIR to another disk"
        )
    finally:
        path.unlink(missing_ok=True)
    ms = round(statistics.median(took), 2)
    slow = ms > SLOW_SYNC_MS
    fix = "`start` and `done` wait for it: set SPOOL_DIR to a local disk" if slow else ""
    return Finding("fsync", "mend" if slow else "ok", f"{ms:g} ms for 4 KiB on the spool's disk", fix, ms)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"


def reachable(host: str, port_number: int) -> bool:
    """Whether anybody listens there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port_number), ASK_S):
        return True
    return False
