"""What this process takes of its machine, from the standard library alone, on Linux and macOS."""

import contextlib
import math
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from app.telemetry.tallies import Reading, counter, gauge

CGROUPS: Final = Path("/sys/fs/cgroup")
_PAGE: Final = resource.getpagesize()
_FDS: Final = Path("/dev/fd")
_FDS_OF_LINUX: Final = Path("/proc/self/fd")
_STATM: Final = Path("/proc/self/statm")


class Limits(NamedTuple):
    """What there is: bytes of memory, and how much of a processor one event loop can have."""

    memory_bytes: int
    cores: float


def limits(own: Path = Path("/proc/self/cgroup"), cgroups: Path = CGROUPS) -> Limits:
    """The smallest bounds that the machine and the container's control groups set."""
    memory, cores = os.sysconf("SC_PHYS_PAGES") * _PAGE, 1.0
    for group in _groups(own, cgroups):
        for name in ("memory.max", "memory/memory.limit_in_bytes"):
            memory = min(memory, *_numbers(group / name), memory)
        quota = [*_numbers(group / "cpu.max")]
        if len(quota) == 2:
            cores = min(cores, quota[0] / quota[1])
    return Limits(memory, cores)


def _groups(own: Path, cgroups: Path) -> Iterator[Path]:
    """The folders of this process's control group and of those around it."""
    lines = _text(own).splitlines()
    path = next((line[3:] for line in lines if line.startswith("0::")), "/")
    inner = cgroups / path.strip("/")
    yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(cgroups))


def _numbers(file: Path) -> list[int]:
    return [int(word) for word in _text(file).split() if word.isdecimal()]


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


class Process:
    """Reads it anew each time, in some 30 us; the disk as it was at the last `look_at_disk`, which may take for ever.

    folder: on the disk that is watched.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._disk: list[Reading] = []
        self._limits = limits()
        self._began = time.time()

    def readings(self) -> list[Reading]:
        """Everything, by the names of prometheus-client's own collectors where those have one."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = math.inf if soft == resource.RLIM_INFINITY else soft
        return [
            counter("process_cpu_seconds_total", "Processor time of this process.", time.process_time()),
            gauge("process_resident_memory_bytes", "Memory of this process.", resident_bytes()),
            gauge("process_open_fds", "Open files and connections.", open_files()),
            gauge("process_max_fds", "How many there may be.", files),
            gauge("process_start_time_seconds", "Since when it runs, in Unix time.", self._began),
            gauge("tandem_memory_limit_bytes", "Of the container, or of the machine.", self._limits.memory_bytes),
            gauge("tandem_usable_cores", "What one event loop can have: at most 1.", self._limits.cores),
            *self._disk,
        ]

    def look_at_disk(self) -> None:
        """Look at the disk of the folder; one that cannot be looked at is not told of."""
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            self._disk = []
            return
        self._disk = [
            gauge("tandem_disk_free_bytes", "Of the disk with the spool.", disk.f_bavail * disk.f_frsize),
            gauge("tandem_disk_size_bytes", "Of the disk with the spool.", disk.f_blocks * disk.f_frsize),
        ]


def open_files() -> int:
    """How many there are; a Linux since 6.2 tells it without a list of them."""
    with contextlib.suppress(OSError):
        told = _FDS_OF_LINUX.stat().st_size
        if told:
            return told
    return len(os.listdir(_FDS)) - 1  # without that of the list


def resident_bytes() -> int:
    """Memory now; where that is not told (macOS), the most there ever was."""
    told = _text(_STATM).split()
    if told:
        return int(told[1]) * _PAGE
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
