"""How PostgreSQL is reached: the one place that opens connections, for the pools, the exports and the migrations."""

import asyncio
import logging
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

import asyncpg

from app.errors import StartupError
from app.postgres.fence import install
from app.postgres.renewed import Renewed
from app.record.store import StoreUnavailable

logger = logging.getLogger(__name__)

CONNECT_S: Final = 3.0
STATEMENTS: Final = 100
_TLS: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


class Door(NamedTuple):
    """Where a Cloud SQL instance lets its connector in: addresses, a port, TLS from the first byte."""

    hosts: list[str]
    port: int
    tls: SSLContext


@dataclass(slots=True)
class Way:
    """An address, and what an address cannot say. It belongs to one event loop.

    statements: how many prepared statements a connection keeps; 0 behind a pooler that lends a server for one
    transaction, for there they stay behind when the server is lent to somebody else. token: what stands for the
    password. door: what stands for the host.
    """

    dsn: str = field(repr=False)  # it may hold a password
    statements: int = STATEMENTS
    token: Renewed[str] | None = None
    door: Renewed[Door] | None = None

    def __post_init__(self) -> None:
        check_dsn(self.dsn)

    async def connect(self, *, timeout: float = CONNECT_S, **options: Any) -> asyncpg.Connection:  # noqa: ANN401  # the driver's own
        """A connection, within timeout seconds. Raises what the driver raises, TimeoutError and StoreUnavailable."""
        install()
        try:
            async with asyncio.timeout(timeout):
                connection = await self._open(options)
                if self.statements and await _is_pooled(connection):
                    connection.terminate()
                    logger.warning(
                        "a connection pooler is between this server and PostgreSQL: statements are not prepared; "
                        "DATABASE_STATEMENT_CACHE=0 says so without a try"
                    )
                    self.statements = 0
                    connection = await self._open(options)
                return connection
        except (asyncpg.DataError, asyncpg.SyntaxOrAccessError, ValueError) as error:  # no entry is to blame, no table
            why = error.sqlstate if isinstance(error, asyncpg.PostgresError) else type(error).__name__
            raise StoreUnavailable(f"PostgreSQL cannot be reached as DATABASE_URL says: {why}") from error
        except (OSError, asyncpg.InterfaceError, asyncpg.InvalidAuthorizationSpecificationError):
            self._doubt()
            raise

    async def _open(self, options: dict[str, Any]) -> asyncpg.Connection:
        """A connection, however long it takes."""
        known = dict(options)
        if self.door is not None:
            hosts, port, tls = await self.door.get()
            known |= {"host": hosts, "port": [port] * len(hosts), "ssl": tls, "direct_tls": True}
        if self.token is not None:
            known["password"] = self.token.get
        return await asyncpg.connect(self.dsn, statement_cache_size=self.statements, **known)

    def _doubt(self) -> None:
        """Whoever did not let us in may have moved, or may not take what we showed."""
        for shown in (self.token, self.door):
            if shown is not None:
                shown.doubt()


def way(to: Way | str) -> Way:
    """A way; an address alone is one too."""
    return Way(to) if isinstance(to, str) else to


def check_dsn(dsn: str) -> None:
    """Refuse at the start what could never be connected to; the address may hold a password and is not repeated."""
    try:
        parts = urlsplit(dsn)
        asked = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
        ports = [int(port) for port in asked.get("port", ["5432"])[-1].split(",")]
        tls = asked.get("sslmode", ["prefer"])[-1] in _TLS
        valid = parts.scheme in ("postgresql", "postgres") and parts.port != 0 and min(ports) > 0 and tls
    except ValueError:
        valid = False
    if not valid:
        raise StartupError(
            "DATABASE_URL is not an address of the form postgresql://user:password@host:5432/name?sslmode=require"
        )


async def _is_pooled(connection: asyncpg.Connection) -> bool:
    """Whether who greeted us is not who answers. No statement is prepared to find out."""
    told = bytearray()

    async def take(data: bytes) -> None:
        told.extend(data)

    try:
        await connection.copy_from_query("SELECT pg_backend_pid()", output=take)
    except BaseException:  # a cancelled one too is nobody's
        connection.terminate()
        raise
    greeted: int = connection.get_server_pid()
    return int(told) != greeted
