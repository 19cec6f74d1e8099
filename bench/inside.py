"""`python -m bench.inside SPEC`: become a process of an image, as an engine would start it; see bench/contained.py.

Run under `unshare --mount --pid --fork`, as root. It mounts what the specification says, makes the image's files
read-only, enters them, drops every privilege, and becomes the program: process 1 of its own process table.
"""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

NO_NEW_PRIVILEGES: Final = 38  # prctl


def mount(*arguments: str) -> None:
    """The program of that name."""
    subprocess.run(["mount", *arguments], check=True)


def place(kind: str, source: str, target: Path, options: str) -> None:
    """One mount; what it is mounted on is made when a mount before has given it a writable place."""
    if kind == "bind" and not Path(source).is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch(exist_ok=True)
    else:
        target.mkdir(parents=True, exist_ok=True)
    if kind == "bind":
        mount("--bind", source, str(target))
        if options:
            mount("-o", f"remount,bind,{options}", str(target))
    else:
        mount("-t", kind, "-o", options or "rw", source, str(target))


def main() -> None:
    """Never returns."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    root = spec["root"]
    mount("--make-rprivate", "/")
    mount("--bind", root, root)
    for kind, source, target, options in spec["mounts"]:
        place(kind, source, Path(root + target), options)
    mount("-o", "remount,bind,ro", root)
    os.chroot(root)
    os.chdir(spec["cwd"])
    os.setgroups([])
    os.setgid(spec["gid"])
    os.setuid(spec["uid"])
    if ctypes.CDLL(None).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError("prctl")
    os.execve(spec["args"][0], spec["args"], spec["env"])


if __name__ == "__main__":
    main()
