"""Remove from an installation what the server never imports: `prune.py LIST.toml SITE_PACKAGES`.

The list says why. An entry of it that removes nothing is an error, so that the list stays as exact as the lock file.
"""

import sys
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any


def files_of(distribution: Distribution) -> set[str]:
    """The files of one distribution below site-packages, compiled ones left out: there are none yet."""
    return {str(file) for file in distribution.files or () if not str(file).startswith("..")}


def matching(patterns: Iterable[str], files: set[str]) -> set[str]:
    """The files that match one of the patterns, in which * also stands for slashes. Each must match something."""
    found: set[str] = set()
    for pattern in patterns:
        hits = {file for file in files if fnmatchcase(file, pattern)}
        if not hits:
            raise SystemExit(f"prune: {pattern!r} matches no file")
        found |= hits
    return found


def plan(rules: dict[str, Any], site: Path) -> dict[str, set[str]]:
    """What is to go, by the name of its distribution."""
    installed = {found.metadata["Name"].lower(): files_of(found) for found in distributions(path=[str(site)])}
    unknown = ({*rules["distributions"], *rules["kept"]}) - installed.keys()
    if unknown:
        raise SystemExit(f"prune: not installed: {', '.join(sorted(unknown))}")
    gone = {name: installed[name] for name in rules["distributions"]}
    for name, patterns in rules["kept"].items():
        gone[name] = installed[name] - matching([*patterns, "*.dist-info/*"], installed[name])
    matching(rules["globs"], set().union(*installed.values()))
    for name, files in installed.items():
        rest = files - gone.get(name, set())
        gone.setdefault(name, set()).update(f for f in rest if any(fnmatchcase(f, glob) for glob in rules["globs"]))
    return {name: files for name, files in gone.items() if files}


def prune(rules: dict[str, Any], site: Path) -> int:
    """Remove it, from the lists of what is installed too, and the folders that are empty then; the bytes that went."""
    going = plan(rules, site)
    freed = 0
    for name in set().union(*going.values()):
        freed += (site / name).stat().st_size
        (site / name).unlink()
    for record in site.glob("*.dist-info/RECORD"):
        lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
        record.write_text("".join(line for line in lines if (site / line.split(",")[0]).exists()), encoding="utf-8")
    for folder in sorted((path for path in site.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    return freed


if __name__ == "__main__":
    rules = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write(f"prune: {prune(rules, Path(sys.argv[2])) / 1e6:.0f} MB of sources removed\n")
