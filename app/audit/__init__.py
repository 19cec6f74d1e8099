"""tandem audit ...: what is recorded, what waits, what could not be stored; records in and out."""

import typer

from app.audit import dead_letters, records, status

app = typer.Typer(no_args_is_help=True, help="What is recorded, what waits, what could not be stored.")
app.command()(status.status)
app.command("dead-letters")(dead_letters.dead_letters)
app.command()(records.replay)
app.command("import")(records.import_)
app.command()(records.export)
