"""Google's Cloud SQL connector, as far as we need it: a certificate for an hour, and where it opens. Blocks; run it in
a thread.

The library opens connections too, but asks for tokens and makes keys inside the event loop of whoever is connected.
"""

import asyncio
from typing import Final

from aiohttp import ClientError, ClientResponseError
from google.auth.credentials import Credentials

from app.llm.deferred import defer
from app.postgres.google_login import refreshed
from app.postgres.renewed import Fresh
from app.postgres.way import Door
from app.record.store import StoreUnavailable

defer("google.cloud.sql.connector")  # its `__init__` imports every driver there is, and gRPC

from google.cloud.sql.connector.client import CloudSQLClient  # noqa: E402  # after the line above
from google.cloud.sql.connector.connection_info import ConnectionInfo  # noqa: E402
from google.cloud.sql.connector.connection_name import ConnectionName  # noqa: E402
from google.cloud.sql.connector.enums import IPTypes  # noqa: E402
from google.cloud.sql.connector.exceptions import CloudSQLIPTypeError  # noqa: E402
from google.cloud.sql.connector.utils import generate_keys  # noqa: E402

API: Final = "https://sqladmin.googleapis.com"
PORT: Final = 3307
ANSWER_S: Final = 10.0
_ADMIN: Final = "https://www.googleapis.com/auth/sqlservice.admin"
_KINDS: Final = {"private": IPTypes.PRIVATE, "public": IPTypes.PUBLIC, "psc": IPTypes.PSC}
_HINTS: Final = {
    403: "give the service's account roles/cloudsql.client, and switch the Cloud SQL Admin API on",
    404: "CLOUDSQL_INSTANCE names no instance that there is",
}


def door(instance: str, kind: str, *, iam: bool) -> Fresh[Door]:
    """Where an instance is reached, with a new certificate; with iam it stands for the password too."""
    try:
        return asyncio.run(_door(refreshed(_ADMIN), instance, kind, iam=iam))
    except ClientResponseError as error:
        hint = _HINTS.get(error.status, "it is tried again")
        raise StoreUnavailable(f"the Cloud SQL Admin API answers {error.status}: {hint}") from error
    except CloudSQLIPTypeError as error:
        raise StoreUnavailable(f"{instance} has no {kind} address: set CLOUDSQL_IP_TYPE") from error
    except (ClientError, TimeoutError) as error:
        raise StoreUnavailable(f"the Cloud SQL Admin API cannot be reached: {type(error).__name__}") from error


async def _door(known: Credentials, instance: str, kind: str, *, iam: bool) -> Fresh[Door]:
    """The same, in a loop of its own, which ends whatever the library leaves behind."""
    project, region, name = instance.rsplit(":", 2)
    client = CloudSQLClient(API, known.quota_project_id, known, driver="asyncpg")
    try:
        async with asyncio.timeout(ANSWER_S):
            keys = asyncio.create_task(generate_keys())
            info: ConnectionInfo = await client.get_connection_info(ConnectionName(project, region, name), keys, iam)
            tls = await info.create_ssl_context(iam)
    finally:
        await client.close()
    return Fresh(Door(info.get_preferred_ips(_KINDS[kind]), PORT, tls), info.expiration.timestamp())
