"""`python -m bench.container`: build the container's image, run it as a platform would, and try to break it.

The Dockerfile's own instructions are run by buildah on a base of Debian's packages (bench/image.py), and what they made
by bench/contained.py: read-only, without a shell or any other program, as the image's user, as process 1. The server
in it has a PostgreSQL of this machine on a socket, as on Cloud Run, and scripted models or a gRPC server in place of
Vertex AI. Needs root, debootstrap and buildah, and the package registry; three minutes, less with --folder, which
keeps what was built. Ends with 1 when a check failed.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from app.postgres.embedded import EmbeddedPostgres
from app.postgres.migrate import migrate
from app.postgres.way import Way
from bench.container_checks import CHECKS, VERSION
from bench.container_suite import provider_suite
from bench.ground import Ground
from bench.image import Builder, CannotBuild, Image, check_tools
from bench.servers import folder
from bench.vertex import upstream

LARGEST: Final = 8

Check = Callable[[Ground], str]


def bench(
    keep: Annotated[
        Path | None, typer.Option("--folder", help="Where the base and the layers stay for the next time.")
    ] = None,
    only: Annotated[str, typer.Option(help="Only the checks whose name contains this.")] = "",
) -> None:
    """Print the sizes and a line for each check."""
    failed = 0
    try:
        check_tools()
        with ExitStack() as stack:
            place = stack.enter_context(folder())
            builder = Builder(keep.absolute() if keep else place)
            image = stack.enter_context(builder.built(VERSION=VERSION, REVISION="of-a-test", SOURCE="of-a-test"))
            _print_sizes(image)
            sockets = stack.enter_context(_database(place))
            ground = Ground(image, place, sockets, stack.enter_context(upstream(messages=20, gap_s=0.01)))
            checks: dict[str, Check] = {**CHECKS, "provider suite": partial(provider_suite, builder)}
            for name, check in checks.items():
                if only in name:
                    failed += not _passes(name, check, ground)
    except CannotBuild as error:
        print(f"bench.container: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    raise typer.Exit(1 if failed else 0)


def _passes(name: str, check: Check, ground: Ground) -> bool:
    """Run one and tell."""
    try:
        print(f"{name:24} ok      {check(ground)}", flush=True)
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        print(f"{name:24} FAILED  {error}", flush=True)
        return False
    return True


@contextmanager
def _database(place: Path) -> Iterator[Path]:
    """A migrated PostgreSQL of our own whose socket anybody may use; the socket's folder."""
    with asyncio.Runner() as runner:
        server = EmbeddedPostgres(place / "database", {"unix_socket_permissions": "0777"})
        runner.run(server.__aenter__())
        try:
            runner.run(migrate(Way(server.dsn)))
            sockets = server.home / "socket"
            for path in (server.home, sockets):
                path.chmod(0o711)
            yield sockets
        finally:
            runner.run(server.__aexit__(None, None, None))


def _size(root: Path, without: Path | None = None) -> float:
    """What the files below a folder take, in MB; those left out that another folder has, too."""
    files = [os.path.join(where, name) for where, _, names in os.walk(root) for name in names]
    if without is not None:
        files = [path for path in files if not os.path.lexists(without / Path(path).relative_to(root))]
    return sum(os.lstat(path).st_size for path in files) / 1e6


def _print_sizes(image: Image) -> None:
    """What the image adds to its base, and what is large in it."""
    print(f"base {_size(image.base):.0f} MB; the image adds {_size(image.root, image.base):.0f} MB, of which")
    (site,) = image.root.glob("opt/tandem/lib/python3*/site-packages")
    sizes = {path.name: _size(path) for path in site.iterdir() if path.is_dir()}
    for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:LARGEST]:
        print(f"  {name:20} {size:6.1f} MB")
    print()


if __name__ == "__main__":
    typer.run(bench)
