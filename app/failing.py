"""How a command that fails ends: it says why in one place."""

import contextlib
from collections.abc import Iterator

import typer

from app.errors import TandemError


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """A command that fails says why in one place, without a traceback."""
    try:
        yield
    except TandemError as error:
        typer.echo(f"tandem: {error.message}", err=True)
        raise typer.Exit(2) from None
    except BrokenPipeError:
        raise  # whoever read what we print has left; that is no failure to tell
    except OSError as error:
        if error.filename is None:  # not a file that the command line names, but a bug of ours
            raise
        typer.echo(f"tandem: {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(2) from None
