"""tandem cache ...: what the stored answers of a running server are good for, forgetting them, asking in advance."""

import typer

from app.caching import held, warm

app = typer.Typer(no_args_is_help=True, help="The stored answers of a running server.")
app.command()(held.stats)
app.command()(held.clear)
app.command()(warm.warm)
