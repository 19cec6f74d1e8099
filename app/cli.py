"""What `tandem` can do, by command, each loaded when it is called."""

import importlib
import io
import sys
from typing import Any, Final

import typer
import typer.core
import typer.main

# A command imports what only it needs: a server no terminal, a question no web framework.
COMMANDS: Final = {
    "serve": "app.commands.serve",
    "ask": "app.commands.ask",
    "race": "app.commands.race",
    "runs": "app.commands.runs",
    "stats": "app.commands.stats",
    "top": "app.commands.top",
    "migrate": "app.commands.migrate",
    "psql": "app.commands.psql",
    "doctor": "app.commands.doctor",
    "audit": "app.audit",
    "cache": "app.caching",
    "keys": "app.keys",
}


class Commands(typer.core.TyperGroup):
    """The commands of the table, by name."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002  # as typer calls it
        """Their names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002  # as typer calls it
        """Import and return one; None for a name that is none."""
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(importlib.import_module(COMMANDS[cmd_name]).app)
        command.name = cmd_name
        return command


app = typer.Typer(cls=Commands, add_completion=False, no_args_is_help=True)


@app.callback()
def tandem() -> None:
    """One question, two models, one truthful stream."""


def main() -> None:
    """The entry point. A letter that the locale has not is a question mark, and no reason to lose an answer."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    app()


if __name__ == "__main__":
    main()
