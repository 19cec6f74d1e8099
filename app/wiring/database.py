"""Which way leads to PostgreSQL, by the settings; what contradicts itself is refused before anything is opened."""

import importlib
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from app.errors import StartupError
from app.postgres.renewed import Fresh, Renewed
from app.postgres.way import Way, check_dsn
from app.settings import Settings

# Loaded in a thread when a connection is first opened: what they import takes a second. By what must be installed.
LOGIN: Final = ("google.auth", "app.postgres.google_login", "token")
DOOR: Final = ("google.cloud.sql.connector", "app.postgres.cloud_sql", "door")

_ENCRYPTED: Final = ("require", "verify-ca", "verify-full")
_SERVICE_ACCOUNT: Final = ".gserviceaccount.com"  # PostgreSQL knows the account without it


def way_to(settings: Settings) -> Way | None:
    """The way to the database that is named; None when none is, and ours is to be started. Touches no network."""
    if settings.database_url is None:
        if settings.cloudsql_instance or settings.database_iam:
            raise StartupError(
                "CLOUDSQL_INSTANCE and DATABASE_IAM need DATABASE_URL for the user and the database: "
                "postgresql://user@/name"
            )
        return None
    dsn = settings.database_url.get_secret_value()
    check_dsn(dsn)
    _check_instance(settings, dsn)
    _check_login(settings, dsn)
    token = door = None
    instance = settings.cloudsql_instance
    if instance is not None:
        fetch = partial(_loaded(*DOOR), instance, settings.cloudsql_ip_type, iam=settings.database_iam)
        door = Renewed(f"the certificate for {instance}", fetch)
    elif settings.database_iam:
        token = Renewed("the token for DATABASE_IAM", _loaded(*LOGIN))
    return Way(_named(dsn) if settings.database_iam else dsn, settings.database_statement_cache, token, door)


def _loaded(needed: str, module: str, name: str) -> Callable[..., Fresh[Any]]:
    """A function of a module that is loaded when it is called, and could be."""
    try:
        found = importlib.util.find_spec(needed)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise StartupError(
            f"CLOUDSQL_INSTANCE and DATABASE_IAM need the package {needed}, which is not installed: install "
            "tandem[cloudsql]"
        )

    def call(*arguments: object, **more: object) -> Fresh[Any]:
        fetched: Fresh[Any] = getattr(importlib.import_module(module), name)(*arguments, **more)
        return fetched

    return call


def _check_instance(settings: Settings, dsn: str) -> None:
    """The connector finds the host and the encryption; who else names them expects something else."""
    parts = urlsplit(dsn)
    words = {"host", "hostaddr", "port", "sslmode", "ssl"} & parse_qs(parts.query).keys()
    if settings.cloudsql_instance and (_host(dsn) or words):
        raise StartupError(
            "CLOUDSQL_INSTANCE says where the database is, and DATABASE_URL too: leave host, port and sslmode out of "
            "the latter, postgresql://user@/name, or unset the former"
        )
    if settings.cloudsql_instance and not (parts.username and parts.path.strip("/")):
        raise StartupError("with CLOUDSQL_INSTANCE, DATABASE_URL names a user and a database: postgresql://user@/name")


def _check_login(settings: Settings, dsn: str) -> None:
    """A token is the password, and travels encrypted."""
    if not settings.database_iam:
        return
    parts, words = urlsplit(dsn), parse_qs(urlsplit(dsn).query)
    if parts.password is not None or {"password", "passfile"} & words.keys():
        raise StartupError("DATABASE_IAM=true logs in with a token: take the password out of DATABASE_URL")
    if not parts.username:
        raise StartupError(
            "DATABASE_IAM=true needs the user in DATABASE_URL, the account with %40 for its @: "
            "postgresql://name%40project.iam@/name"
        )
    host = _host(dsn)
    if not settings.cloudsql_instance and not host.startswith("/") and words.get("sslmode", [""])[-1] not in _ENCRYPTED:
        raise StartupError(
            "DATABASE_IAM=true sends a token as the password, which must be encrypted: add ?sslmode=require to "
            "DATABASE_URL, or name a socket with ?host=/cloudsql/..."
        )


def _host(dsn: str) -> str:
    """The host that an address names, before or behind the question mark."""
    parts = urlsplit(dsn)
    return parts.netloc.rpartition("@")[2] or parse_qs(parts.query).get("host", [""])[-1]


def _named(dsn: str) -> str:
    """The address with the user as PostgreSQL knows it."""
    parts = urlsplit(dsn)
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.removesuffix(_SERVICE_ACCOUNT)}@{host}").geturl()
