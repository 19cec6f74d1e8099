"""What every command on the record needs: the database, and failures told in one line."""

import contextlib
import importlib
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import typer

from app.errors import TandemError
from app.postgres.migrate import migrate
from app.postgres.pool import Pool, check_dsn, translated
from app.settings import Settings
from app.wiring.record import EMBEDDED


class Database(NamedTuple):
    """Where the records are, and a pool on it."""

    dsn: str
    pool: Pool


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


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """The database: the one that is named, the running embedded one, or that one started for this command."""
    async with contextlib.AsyncExitStack() as stack:
        if settings.database_url is not None:
            dsn: str = settings.database_url.get_secret_value()
            check_dsn(dsn)
        else:
            embedded = importlib.import_module(EMBEDDED)
            dsn = embedded.running_dsn(settings.tandem_home) or ""
            if not dsn:
                dsn = (await stack.enter_async_context(embedded.EmbeddedPostgres(settings.tandem_home))).dsn
        with translated():
            await migrate(dsn)
        yield Database(dsn, await stack.enter_async_context(Pool(dsn, 2)))
