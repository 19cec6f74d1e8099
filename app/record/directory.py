"""The spool's directory: ours alone, readable by nobody else; what is put beside the spool's file in it."""

import contextlib
import fcntl
import json
import os
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from app.errors import StartupError
from app.record.store import DeadLetter

MODE: Final = 0o600
LETTERS: Final = "dead-letters"


def take(directory: Path) -> IO[bytes]:
    """Make the directory and lock it until the returned file is closed or this process dies; raises StartupError."""
    hint = "set SPOOL_DIR (unset: TANDEM_HOME) to a directory of this process's own on a disk that can be written"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        for folder in (directory, *directory.absolute().parents[:2]):
            with contextlib.suppress(OSError):  # an ill disk is no reason not to start, nor one that cannot do this
                _settle(folder)
        path = directory / "lock"
        path.touch(mode=MODE)
        lock = path.open("rb")
    except OSError as error:
        raise StartupError(f"the spool in {directory} cannot be used ({error.strerror}); {hint}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise StartupError(f"another process uses the spool in {directory}; {hint}") from error
    return lock


def set_aside(path: Path) -> str:
    """Rename a damaged file and its WAL; return the new name."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    aside = path.with_name(f"{path.stem}-corrupt-{stamp}{path.suffix}")
    for end in ("-wal", ""):  # killed in between, the file is still damaged and is found again
        old = path.with_name(path.name + end)
        if old.exists():
            old.rename(aside.with_name(aside.name + end))
    return aside.name


def keep_letter(directory: Path, letter: DeadLetter) -> None:
    """Write a dead letter to a file that is on the disk when this returns; raises OSError."""
    folder = directory / LETTERS
    folder.mkdir(mode=0o700, exist_ok=True)
    _settle(directory)
    path = folder / f"{letter.digest.hex()}.json"
    fields = letter._asdict() | {"digest": letter.digest.hex(), "encoded": b64encode(letter.encoded).decode()}
    draft = path.with_suffix(".draft")
    draft.touch(mode=MODE)
    draft.write_text(json.dumps(fields))
    _settle(draft)
    draft.replace(path)
    _settle(folder)


def _settle(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
