"""tandem psql: a look into the embedded database."""

import os
import sys
from pathlib import Path

import typer

from app.failing import clear_errors
from app.settings import read_settings

app = typer.Typer(add_completion=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """Open psql on the database of a running server; further arguments go to psql."""
    with clear_errors():
        settings = read_settings()
        home = Path(settings.tandem_home)
        command = [sys.executable, "-m", "app.postgres.embedded", "--home", str(home), "psql", *context.args]
        os.execv(command[0], command)  # noqa: S606  # our own interpreter
