"""Who may ask: everybody on this machine, holders of keys, or whom Google's proxy lets through."""

import importlib
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from app.admission.addresses import parse_networks
from app.admission.attempts import Attempts
from app.admission.keys import Seal
from app.admission.origins import parse_origins
from app.admission.ring import Patience, Ring
from app.errors import StartupError
from app.http.callers import Identify
from app.http.cors import Cors
from app.http.keyholders import KeyHolders
from app.http.parts import Parts
from app.http.sessions import Sessions
from app.postgres.keys import PostgresKeys
from app.postgres.pool import Pool
from app.postgres.way import Way
from app.settings import Settings

IAP = "app.http.iap"  # loaded under AUTH=iap: its libraries are an extra
POOL_SIZE = 2


async def guarded(parts: Parts, settings: Settings, way: Way, stack: AsyncExitStack) -> Parts:
    """The parts with callers found out as AUTH says. Raises StartupError when an extra is missing."""
    origins = parse_origins(settings.cors_origins)
    parts = replace(parts, auth=settings.auth, cors=Cors(origins) if origins else None)
    if settings.auth == "iap":
        return replace(parts, identify=_behind_iap(settings))
    if settings.auth == "off":
        return parts
    assert settings.key_pepper is not None, "the settings were checked"
    seal = Seal(settings.key_pepper.get_secret_value())
    store = PostgresKeys(await stack.enter_async_context(Pool(way, POOL_SIZE)))
    ring = Ring(store, Patience(settings.key_cache_s, settings.key_away_s))
    attempts = Attempts(settings.auth_failures_per_minute)
    holders = KeyHolders(seal, ring, attempts, parse_networks(settings.trusted_proxies))
    return replace(parts, identify=holders, sessions=Sessions(seal, ring, store, settings.session_s))


def _behind_iap(settings: Settings) -> Identify:
    try:
        iap: Any = importlib.import_module(IAP)
    except ImportError as error:
        raise StartupError("AUTH=iap: install the extra `iap` (pyjwt, cryptography)") from error
    admins = frozenset(part.strip().lower() for part in settings.iap_admins.split(",") if part.strip())
    identify: Identify = iap.BehindIap(settings.iap_audience, admins)
    return identify
