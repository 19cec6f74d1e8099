"""The spool's file: one SQLite database, one connection, used from one thread; no thread or task is here."""

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Final, Literal, NamedTuple

from app.errors import StartupError
from app.record.backlog import Item, reread
from app.record.codec import digest, encode
from app.record.directory import MODE
from app.record.entry import INTERRUPTED, OPENED, Interruption, Opening

FORMAT: Final = 1  # of the table
_CORRUPT: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_VACUUM_BYTES: Final = 64 * 1024 * 1024

# EXCLUSIVE keeps the WAL's index in memory: no third file, and no SIGBUS when the disk is full.
_PRAGMAS: Final = (
    "locking_mode = EXCLUSIVE",
    "journal_mode = WAL",
    "synchronous = FULL",
    "fullfsync = ON",
    "secure_delete = FAST",  # where it is ON, as Debian has it, what is deleted is written once more, as zeros
    "wal_autocheckpoint = 4000",
    "journal_size_limit = 67108864",
)
# A file has it to the letter: with another space in here every spool that is on a disk would be taken for damaged.
_TABLE: Final = """\
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, run_id TEXT NOT NULL, version INTEGER NOT NULL,
    drained INTEGER NOT NULL, digest BLOB NOT NULL, data BLOB NOT NULL
)"""
# A commit that was reported as failed may have happened: the same group is written again.
_INSERT: Final = "INSERT OR REPLACE INTO entries VALUES "
_ROW: Final = "(?, ?, ?, ?, 0, ?, ?)"
_PARK: Final = "UPDATE entries SET drained = 1 WHERE seq IN (SELECT value FROM json_each(?))"
_DELETE: Final = "DELETE FROM entries WHERE seq IN (SELECT value FROM json_each(?))"
# A flipped bit may have made a value another type: each is read as what it should be.
_UNFINISHED: Final = """
SELECT seq, CAST(ifnull(data, '') AS BLOB), CAST(run_id AS TEXT), drained, CAST(digest AS BLOB) FROM entries
WHERE version = :opened AND run_id NOT IN (SELECT run_id FROM entries WHERE version > :opened)"""
_LAST_AT: Final = "SELECT ifnull(max(at), 0.0) FROM entries WHERE at BETWEEN 0 AND 253402300799"  # until the year 9999
_SUMS: Final = """
SELECT count(*), total(length(data)), ifnull(max(seq), 0), CAST(ifnull(min(at), 0.0) AS REAL) FROM entries"""
_FORGET: Final = "DELETE FROM entries WHERE drained = 1 AND version = ?"  # of an outcome only a flipped bit says so
_REPLACE: Final = "UPDATE entries SET version = ?, drained = 0, digest = ?, data = ? WHERE seq = ?"
_READ: Final = """
SELECT seq, CAST(ifnull(at, 0.0) AS REAL), CAST(ifnull(digest, '') AS BLOB), CAST(ifnull(data, '') AS BLOB) FROM entries
WHERE seq > ? AND seq < ? AND (drained IS NOT 1 OR version IS NOT 1) ORDER BY seq LIMIT ?"""


class Place(NamedTuple):
    """Where an entry is, and what it is kept under: its run's id, or that of an attached request."""

    seq: int
    id: str


class Found(NamedTuple):
    """What an earlier process left: how many entries and bytes, the last place, when the oldest came (Unix time)."""

    entries: int
    bytes: int
    last_seq: int
    oldest: float
    interrupted: int


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether the file is damaged; otherwise it is the disk that cannot work now."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _CORRUPT


class Shelf:
    """The table of entries in the order they came. Every call may raise sqlite3.Error and then has changed nothing.

    An opening that the store has is `drained` but stays until the run's closing is here, so that the next process
    finds the runs that were never closed.
    """

    def __init__(self, path: Path) -> None:
        path.touch(mode=MODE)
        path.chmod(MODE)  # SQLite gives its WAL the same
        self._open: dict[str, int] = {}
        self._drained: set[str] = set()
        self._synchronous = "FULL"
        self._db = sqlite3.connect(path, isolation_level=None, timeout=1.0, cached_statements=32)
        self._db.text_factory = lambda text: text.decode(errors="replace")
        try:
            self._prepare(path)
        except BaseException:  # what failed must leave no transaction or file open
            self._db.close()
            raise

    def _prepare(self, path: Path) -> None:
        for pragma in _PRAGMAS:
            self._db.execute(f"PRAGMA {pragma}")
        (known,) = self._db.execute("PRAGMA user_version").fetchone()
        if known not in (0, FORMAT):
            raise StartupError(
                f"{path} was written by a newer version (format {known}); start that one, or set another TANDEM_HOME"
            )
        table = self._db.execute("SELECT sql FROM sqlite_master").fetchone()
        if not known and table is None:
            self._db.execute(_TABLE)
        elif table != (_TABLE,):
            raise _damaged("its table is another one")
        if not known:
            self._db.execute(f"PRAGMA user_version = {FORMAT}")

    def adopt(self) -> Found:
        """Close the runs that another process left open, and say what is here.

        They ended at its last sign of life: so two processes over copies of one spool write the same.
        """
        unfinished = []
        (last_at,) = self._db.execute(_LAST_AT).fetchone()
        ended_at = datetime.fromtimestamp(last_at, UTC)
        for seq, data, _, _, content_hash in self._db.execute(_UNFINISHED, {"opened": OPENED}):
            left = Item(seq, 0.0, 0, None, digest=content_hash, encoded=data)
            reread(left)
            if not isinstance(left.entry, Opening):  # a flipped bit has made it look like one
                continue
            encoded = encode(Interruption(left.entry, ended_at))
            unfinished.append((INTERRUPTED, digest(encoded), encoded, seq))
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(_REPLACE, unfinished)
            self._db.execute(_FORGET, (OPENED,))
            self._db.execute("COMMIT")
        except BaseException:  # what failed must leave no transaction or file open
            self._rollback()
            raise
        entries, size, last_seq, oldest = self._db.execute(_SUMS).fetchone()
        return Found(entries, int(size), last_seq, oldest, len(unfinished))

    def remember(self) -> None:
        """Learn which runs are open from the file, when it is not the first that this process opens."""
        for seq, _, run_id, drained, _ in self._db.execute(_UNFINISHED, {"opened": OPENED}):
            self._open[run_id] = seq
            if drained:
                self._drained.add(run_id)

    def write(self, items: Sequence[Item], dropped: Sequence[Place]) -> None:
        """Add shaped items and drop settled ones, in one transaction; it is durable when this returns.

        With as few statements as can be: each gives the interpreter away and has to wait for it again.
        """
        rows = [_row(item) for item in items]
        opened = {run_id: seq for seq, _, run_id, version, _, _ in rows if version == OPENED}
        closed = {run_id for _, _, run_id, version, _, _ in rows if version > OPENED}
        gone, parked = self._leaving(dropped, opened, closed)
        self._synchronize("FULL" if rows else "NORMAL")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if rows:
                self._db.execute(_INSERT + ", ".join([_ROW] * len(rows)), [*chain(*rows)])
            if parked:
                self._db.execute(_PARK, (json.dumps([*parked.values()]),))
            if gone:
                self._db.execute(_DELETE, (json.dumps(gone),))
            self._db.execute("COMMIT")
        except BaseException:  # what failed must leave no transaction or file open
            self._rollback()
            raise
        self._open |= opened
        self._drained |= parked.keys()
        for run_id in closed:
            self._open.pop(run_id, None)
            self._drained.discard(run_id)

    def _synchronize(self, how: Literal["FULL", "NORMAL"]) -> None:
        """Whether what follows must be durable when it is written."""
        if how != self._synchronous:
            self._db.execute(f"PRAGMA synchronous = {how}")
            self._synchronous = how

    def _leaving(
        self, dropped: Sequence[Place], opened: dict[str, int], closed: set[str]
    ) -> tuple[list[int], dict[str, int]]:
        """Of what was settled: the rows that go, and the openings that stay, drained, for their run is still open."""
        gone = [self._open[run_id] for run_id in closed & self._drained]
        parked = {}
        for seq, id_ in dropped:
            if seq == opened.get(id_, self._open.get(id_)) and id_ not in closed:
                parked[id_] = seq
            else:
                gone.append(seq)
        return gone, parked

    def read(self, after: int, before: int, entries: int, size: int) -> tuple[list[Item], bool]:
        """The oldest undrained entries with a place between, and whether these were all."""
        found: list[Item] = []
        rows = self._db.execute(_READ, (after, before, entries))
        for seq, at, content_hash, data in rows:
            item = Item(seq, at, len(data), None, digest=content_hash, encoded=data, length=len(data), spooled=True)
            reread(item)
            item.encoded = b"" if item.entry is not None else data
            found.append(item)
            size -= len(data)
            if size <= 0:
                rows.close()
                return found, False
        return found, len(found) < entries

    def tidy(self) -> None:
        """Give the disk back what a long outage took, once the shelf is nearly empty."""
        pages, free, size = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        if free * size > _VACUUM_BYTES and free > 0.9 * pages:
            self._db.execute("VACUUM")

    def close(self) -> None:
        """Close the file; SQLite moves the WAL into it."""
        self._db.close()

    def _rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")


def _damaged(how: str) -> sqlite3.DatabaseError:
    """What SQLite did not notice, in its words."""
    error = sqlite3.DatabaseError(how)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _row(item: Item) -> tuple[int, float, str, int, bytearray, bytearray]:
    """Its columns; no bytes among them, for which the driver would seek an adapter, in vain, by way of an exception."""
    return item.seq, item.at, item.id, item.version, bytearray(item.digest), bytearray(item.encoded)
