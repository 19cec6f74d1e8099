"""Spool journals on a real directory, quick ones, and the file that they leave."""

import sqlite3
import stat
from pathlib import Path
from typing import Any

from app.record.backlog import Limits
from app.record.journal import SpoolJournal
from app.record.spool import FILE, Spool
from app.record.store import Store

QUICK = Limits(spacing_s=0.001, retry_first_s=0.001, retry_most_s=0.01)


def journal(directory: Path, store: Store, *, limits: Limits = QUICK, **how: Any) -> SpoolJournal:
    """A journal over a spool in this directory; it wants no more free disk than a laptop under test has."""
    bounds = {name: how.pop(name) for name in ("max_bytes", "min_free_bytes") if name in how}
    return SpoolJournal(Spool(directory, **{"min_free_bytes": 0, **bounds}), store, limits=limits, **how)


def rows(directory: Path) -> list[tuple[str, int, int]]:
    """What a spool that nobody uses has: run, version, drained."""
    db = sqlite3.connect(directory / FILE)
    try:
        return db.execute("SELECT run_id, version, drained FROM entries ORDER BY seq").fetchall()
    finally:
        db.close()


def content(directory: Path) -> bytes:
    """All bytes of its files."""
    return b"".join(path.read_bytes() for path in directory.iterdir())


def modes(directory: Path) -> dict[str, int]:
    """Who may do what with it ('.') and its files."""
    paths = {path.name: path for path in directory.iterdir()} | {".": directory}
    return {name: stat.S_IMODE(path.stat().st_mode) for name, path in paths.items()}
