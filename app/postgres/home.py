"""The folder of an embedded server: who may use it (one process at a time) and which system user owns its data."""

import fcntl
import os
import pwd
import shutil
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from app.errors import StartupError

SYSTEM_USER = "tandem"


class Switch(TypedDict, total=False):
    """The arguments with which subprocess becomes another user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """The system user that runs PostgreSQL; PostgreSQL refuses to run as root."""

    uid: int
    gid: int

    @property
    def switch(self) -> Switch:
        """What subprocess needs to become this user; nothing when we are that user already."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Hand a file or folder of ours to this user."""
        if self.uid != os.geteuid():
            os.chown(path, self.uid, self.gid)


def account() -> Account:
    """Ourselves, or as root an unprivileged system user, which is created when it is missing."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    for attempt in range(5):  # useradd locks its files: two servers that start together take turns
        found = _system_account()
        if found is not None or useradd is None:
            break
        time.sleep(0.1 * attempt)  # in a thread of its own, never on the loop
        command = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        subprocess.run(command, check=False, capture_output=True)  # noqa: S603  # fixed words only
    found = _system_account()
    if found is None or found.uid == 0:
        raise StartupError(
            f"PostgreSQL does not run as root and there is no system user {SYSTEM_USER!r}: create it, or run as "
            "another user, or set DATABASE_URL"
        )
    return found


def _system_account() -> Account | None:
    """The unprivileged user, if the system knows it."""
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None
    return Account(entry.pw_uid, entry.pw_gid)


def closed_to(who: Account, path: Path) -> Path | None:
    """The first folder on the way to path (itself included) that who may not enter; None when the way is free."""
    path = path.resolve()
    if not who.switch:  # the kernel knows our groups and lists better than the modes do
        return None if os.access(path, os.X_OK) else path
    for folder in (*reversed(path.parents), path):
        status = folder.stat()
        if status.st_uid == who.uid:
            needed = stat.S_IXUSR
        elif status.st_gid == who.gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not status.st_mode & needed:
            return folder
    return None


def prepare(home: Path, who: Account) -> None:
    """Make the home if it is missing and see that who can reach it. The mode of what is there never changes."""
    try:
        if not home.exists():
            home.parent.mkdir(parents=True, exist_ok=True)
            home.mkdir(exist_ok=True)
            home.chmod(0o711 if who.switch else 0o700)
        closed = closed_to(who, home)
    except OSError as error:
        raise StartupError(f"TANDEM_HOME is {home}, which cannot be used: {error.strerror}") from error
    if closed is not None:
        raise StartupError(
            f"TANDEM_HOME is {home}, but the system user that runs PostgreSQL may not enter {closed}: set TANDEM_HOME "
            "to a folder outside of it (as root: /var/lib/tandem), or set DATABASE_URL"
        )


class HomeLock:
    """One server a home: an flock that the kernel gives back however the process ends."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock, or say who holds it."""
        fd = os.open(self._home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise StartupError(
                f"another server (pid {holder}) uses TANDEM_HOME {self._home}: stop it, or give this one a TANDEM_HOME "
                "of its own"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Give the lock back; the file stays, because removing it would let two holders in."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
