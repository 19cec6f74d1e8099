"""REDIS_URL: checked at the start, and the connections that are made from it."""

import ssl
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from redis.exceptions import RedisError

from app.errors import StartupError

CONNECT_S: Final = 2.0

_FORMS = "redis://user:password@host:6379/0, rediss:// for TLS, or unix:///path/to/socket?db=0"
# RESP2 is what every server understands without being asked; no name of a library is sent; nothing is tried again;
# the waits are bounded where a connection is used, as a whole.
_OURS: Final = {
    "protocol": 2,
    "driver_info": None,
    "socket_timeout": None,
    "socket_connect_timeout": CONNECT_S,
    "decode_responses": False,
}
# What an address may say; all else that the library would take from one changes how it waits and retries.
_THEIRS: Final = {"connection_class", "host", "port", "path", "db", "username", "password", "client_name"}


class Address:
    """Where Redis is, and as whom we come. Raises StartupError, without the address: it may hold a password."""

    def __init__(self, url: str) -> None:
        try:
            self._arguments = _arguments(url)
            self._kind: type[AbstractConnection] = self._arguments.pop("connection_class", Connection)
            first = self._kind(**self._arguments)
            self._tls = first.ssl_context if isinstance(first, SSLConnection) else None
            if self._tls is not None:
                self._tls.get()
        except (ValueError, TypeError, RedisError):
            raise StartupError(f"REDIS_URL is not an address of the form {_FORMS}") from None
        except (OSError, ssl.SSLError) as error:
            raise StartupError(
                f"REDIS_URL names TLS files or options that cannot be used: {type(error).__name__}"
            ) from None

    def connection(self) -> AbstractConnection:
        """A connection that is not open yet."""
        connection = self._kind(**self._arguments)
        if isinstance(connection, SSLConnection) and self._tls is not None:
            connection.ssl_context = self._tls  # reading the certificates of a machine takes 20 ms
        return connection


def _arguments(url: str) -> dict[str, Any]:
    """What a connection is made of; raises ValueError where the library would guess."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        whole = bool(parts.path)
    else:
        database = parts.path.strip("/")
        whole = bool(parts.hostname) and parts.port != 0 and (not database or database.isdecimal())
    arguments: dict[str, Any] = dict(parse_url(url))
    if not whole or any(name not in _THEIRS and not name.startswith("ssl_") for name in arguments):
        raise ValueError
    return {**arguments, **_OURS}
