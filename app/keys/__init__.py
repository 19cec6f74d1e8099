"""tandem keys ...: who may ask this server, made, listed, ended."""

import typer

from app.keys import known, making

app = typer.Typer(no_args_is_help=True, help="API keys: who may use a server with AUTH=keys, and how much.")
app.command()(making.create)
app.command("list")(known.list_)
app.command()(known.revoke)
app.command()(making.rotate)
