"""Whether the event loop moves: it beats once a second, and a thread beside it says when it does not, and where it is.

A loop that does not move answers nothing, so that only who asks from outside notices; the thread tells them why.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final

logger = logging.getLogger(__name__)

BEAT_S: Final = 1.0
SAY_AFTER_S: Final = 5.0
FRAMES: Final = 8  # the innermost


class Watchdog:
    """Watches the loop it is begun in, from `begin` until `end`; clock is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, look_s: float = BEAT_S) -> None:
        self._clock = clock
        self._look_s = look_s
        self._beat_at = clock()
        self._told = False
        self._timer: asyncio.TimerHandle | None = None
        self._over = threading.Event()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def begin(self) -> None:
        """Watch, in the thread of the loop that runs."""
        self._watched = threading.get_ident()
        self._beat()
        self._thread.start()

    def end(self) -> None:
        """Watch no more; does not wait for the thread."""
        if self._timer is not None:
            self._timer.cancel()
        self._over.set()

    @property
    def still_s(self) -> float:
        """For how long the loop has not moved, beyond the time between two beats."""
        return max(0.0, self._clock() - self._beat_at - BEAT_S)

    def _beat(self) -> None:
        self._beat_at = self._clock()
        self._timer = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _watch(self) -> None:
        while not self._over.wait(self._look_s):
            self.look()

    def look(self) -> None:
        """Say once that the loop stands still and where, and once that it moves again."""
        still_s = self.still_s
        if still_s >= SAY_AFTER_S and not self._told:
            self._told = True
            logger.error("the event loop has not moved for %.0f s; it is at %s", still_s, self._where())
        elif still_s == 0.0 and self._told:
            self._told = False
            logger.warning("the event loop moves again")

    def _where(self) -> str:
        """The places in the code; no values."""
        frame = sys._current_frames().get(self._watched)  # noqa: SLF001  # its documented name
        places = traceback.extract_stack(frame)[-FRAMES:] if frame is not None else []
        return " > ".join(f"{place.filename}:{place.lineno} {place.name}" for place in places) or "no place known"
