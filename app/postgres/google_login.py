"""What Google's libraries are asked for: a token that PostgreSQL takes for a password. Blocks; run it in a thread."""

from datetime import UTC
from functools import partial
from typing import Any, Final

import google.auth
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import Request

from app.postgres.renewed import Fresh
from app.record.store import StoreUnavailable

ANSWER_S: Final = 5.0
_LOGIN: Final = "https://www.googleapis.com/auth/sqlservice.login"


def token() -> Fresh[str]:
    """A token of the service's own account that is good for logging in to Cloud SQL and for nothing else."""
    known = refreshed(_LOGIN)
    return Fresh(str(known.token), until(known))


def refreshed(scope: str) -> Credentials:
    """The Application Default Credentials with a new token. Raises StoreUnavailable that says what to do."""
    try:
        known, _ = google.auth.default(scopes=[scope])
        known.refresh(_request())
    except DefaultCredentialsError as error:
        raise StoreUnavailable(
            "there are no Google credentials: give the service an account, or run `gcloud auth application-default "
            "login`"
        ) from error
    except GoogleAuthError as error:
        raise StoreUnavailable(f"Google gives no token: {type(error).__name__}") from error
    return known


def until(known: Credentials) -> float:
    """When a token ends; the library tells it in UTC without saying so."""
    end: float = known.expiry.replace(tzinfo=UTC).timestamp()
    return end


def _request() -> Any:  # noqa: ANN401  # as the library wants it: a callable
    return partial(Request(), timeout=ANSWER_S)
