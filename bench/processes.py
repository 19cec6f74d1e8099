"""The processes of a benchmark: start and stop them, and read their processor time and memory from the system."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

# All of our environment that reaches the servers: an exported key or address would send them to a real provider.
PASSED_ON: Final = ("PATH", "HOME", "LANG", "TMPDIR")
LINUX: Final = sys.platform == "linux"
ROOT: Final = Path(__file__).parent.parent
STOP_S: Final = 12.0
SAMPLE_S: Final = 0.1


class Cores:
    """Which cores the server may use and which the upstream and the load; None where nothing is pinned."""

    def __init__(self, *, pin: bool) -> None:
        free = sorted(os.sched_getaffinity(0)) if LINUX else []
        self.server: set[int] | None = None
        self.others: set[int] | None = None
        if pin and len(free) >= 2:
            half = len(free) // 2
            self.others, self.server = set(free[:half]), set(free[half:])
            os.sched_setaffinity(0, self.others)  # what we start from now on inherits it

    def give_server(self, pid: int) -> None:
        """Move a process that has just started to the server's cores."""
        if self.server is not None:
            os.sched_setaffinity(pid, self.server)


class Child:
    """A process of ours: `python -m MODULE ARGS`, its output in a file. Leaving the context ends it."""

    def __init__(self, command: list[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(env or {}),
                start_new_session=True,  # ctrl-c is for us; we end our children in order
            )
        self._command = " ".join(command)
        self._log = log
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        self._process.kill()
        self._process.wait()

    def await_ready(self, ready: Callable[[], bool], within_s: float = 60.0, every_s: float = 0.05) -> None:
        """Return when it is; RuntimeError with the end of its output when it died or takes too long."""
        deadline = time.monotonic() + within_s
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"`python -m {self._command}` did not come up:\n{said}")
            time.sleep(every_s)


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """What a server of ours sees: a little of the system and what the benchmark sets."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | dict(own)


def raise_file_limit() -> None:
    """Let us and our children have as many connections as the system grants; a thousand streams need 3,000."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 20_000 if hard == resource.RLIM_INFINITY else min(20_000, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def cpu_s(pid: int) -> float:
    """The processor time of one process in seconds, all threads, its children not."""
    if LINUX:
        fields = _stat(pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return _seconds(_ps(pid, "time"))


def waited_s(pid: int) -> float:
    """For how many seconds the main thread of a process has waited for a core that others had; 0 where nobody tells."""
    if not LINUX:
        return 0.0
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def go_first(pids: Iterable[int]) -> None:
    """Whatever else this machine does comes behind these processes; what they take themselves is unchanged. Root's."""
    for pid in pids:
        Path(f"/proc/{pid}/autogroup").write_text("-15")


def children_cpu_s(pid: int) -> float:
    """The processor time of all descendants in seconds, those that ended since included where the system tells."""
    return sum(_with_ended_s(child) for child in descendants(pid))


def _with_ended_s(pid: int) -> float:
    if not LINUX:
        return _seconds(_ps(pid, "time"))
    try:
        return sum(map(int, _stat(pid)[11:15])) / os.sysconf("SC_CLK_TCK")
    except OSError:  # it has ended, and its parent has its time
        return 0.0


def rss_bytes(pid: int) -> int:
    """The resident memory of one process."""
    if LINUX:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return int(_ps(pid, "rss") or 0) * 1024


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third one on, the state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _ps(pid: int, column: str) -> str:
    done = subprocess.run(["ps", "-o", f"{column}=", "-p", str(pid)], check=False, capture_output=True, text=True)
    return done.stdout.strip()


def _seconds(clock: str) -> float:
    """[[days-]hours:]minutes:seconds as ps prints them."""
    days, _, rest = clock.rpartition("-")
    seconds = 86400.0 * int(days or 0)
    for power, part in enumerate(reversed((rest or "0").split(":"))):
        seconds += float(part) * 60**power
    return seconds


def descendants(pid: int) -> list[int]:
    """The process ids of all children of a process, and of theirs."""
    pairs = _parents()
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in pairs if its_parent == parent]
    return found[1:]


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process and all its descendants stand still."""
    processes = [pid, *descendants(pid)]
    for each in processes:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in reversed(processes):
            os.kill(each, signal.SIGCONT)


def _parents() -> list[tuple[int, int]]:
    """Every process of this machine with its parent."""
    if not LINUX:
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
        return [(int(child), int(parent)) for child, parent in map(str.split, listed.splitlines())]
    pairs = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            pairs.append((int(folder.name), int(_stat(int(folder.name))[1])))
    return pairs


class MemorySampler:
    """Notes the resident memory of a process ten times a second while its context is open."""

    def __init__(self, pid: int) -> None:
        self.idle = 0
        self._pid = pid
        self._samples: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._stop.is_set():
            self._samples.append((time.monotonic(), rss_bytes(self._pid)))
            self._stop.wait(SAMPLE_S)

    def __enter__(self) -> Self:
        self.idle = rss_bytes(self._pid)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def peak(self, before_s: float = float("inf")) -> int:
        """The most bytes seen before that time of the monotonic clock."""
        return max((size for at, size in self._samples if at <= before_s), default=self.idle)
