"""Who paints a page in a browser, by the names of its threads: processor time, read from the system (Linux)."""

import contextlib
import os
from pathlib import Path
from typing import Final

from bench.processes import LINUX, descendants

# What the system calls a thread, as Chromium names it; with "node" the bench drives the page.
THREADS: Final = {
    "ThreadPoolForeg": "raster",
    "Compositor": "compositor",
    "VizCompositorTh": "draw",
    "node": "bench",
    "node-MainThread": "bench",
}


def painted_ms() -> dict[str, float]:
    """Milliseconds of processor time so far: raster, compositor, draw, and bench; empty where nobody tells."""
    if not LINUX:
        return {}
    found = dict.fromkeys(THREADS.values(), 0.0)
    found["bench"] = 1000 * sum(os.times()[:2])
    for pid in descendants(os.getpid()):
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            with contextlib.suppress(OSError):  # it has just ended
                part = THREADS.get((thread / "comm").read_text().strip())
                if part is not None:
                    found[part] += int((thread / "schedstat").read_text().split()[0]) / 1e6
    return found
