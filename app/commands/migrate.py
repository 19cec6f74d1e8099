"""tandem migrate: the schema of the database that DATABASE_URL names."""

import asyncio

import typer

from app.errors import StartupError
from app.failing import clear_errors
from app.postgres.migrate import migrate as apply_migrations
from app.postgres.pool import translated
from app.settings import read_settings
from app.wiring.database import way_to

app = typer.Typer(add_completion=False)


@app.command()
def migrate() -> None:
    """Bring the database of DATABASE_URL up to this version's schema (the embedded one is migrated at each start)."""
    with clear_errors():
        way = way_to(read_settings())
        if way is None:
            raise StartupError("set DATABASE_URL; the embedded database is migrated whenever the server starts")
        with translated():
            applied = asyncio.run(apply_migrations(way))
    typer.echo("\n".join(applied) if applied else "nothing to do")
