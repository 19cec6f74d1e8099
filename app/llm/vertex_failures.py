"""Translate the statuses of Vertex AI into ModelError, with nothing secret in it."""

from typing import Any, Final, NamedTuple

from app.errors import ModelError
from app.llm.failures import masked


class _Meaning(NamedTuple):
    reason: str
    retryable: bool
    what: str


_STATUS: Final[dict[str, _Meaning]] = {
    "UNAUTHENTICATED": _Meaning(
        "upstream_unauthorized",
        False,
        "Vertex AI does not accept the credentials; run `gcloud auth application-default login` or check the account",
    ),
    "PERMISSION_DENIED": _Meaning(
        "upstream_unauthorized",
        False,
        "Vertex AI does not allow this: the account needs roles/aiplatform.user, the project the API switched on",
    ),
    "NOT_FOUND": _Meaning("upstream_not_found", False, "Vertex AI does not know the model in this location"),
    "INVALID_ARGUMENT": _Meaning("upstream_bad_request", False, "Vertex AI refused the request"),
    "FAILED_PRECONDITION": _Meaning("upstream_bad_request", False, "Vertex AI refused the request"),
    "OUT_OF_RANGE": _Meaning("upstream_bad_request", False, "Vertex AI refused the request"),
    "RESOURCE_EXHAUSTED": _Meaning("upstream_rate_limited", True, "Vertex AI is limiting us"),
    "UNAVAILABLE": _Meaning("upstream_unavailable", True, "Vertex AI is unavailable"),
    "INTERNAL": _Meaning("upstream_unavailable", True, "Vertex AI had an error of its own"),
    "DEADLINE_EXCEEDED": _Meaning("upstream_unavailable", True, "Vertex AI gave up waiting"),
    "UNIMPLEMENTED": _Meaning("upstream_malformed", False, "What answers at the endpoint is not Vertex AI"),
}
_OTHER: Final = _Meaning("upstream_error", True, "Vertex AI reported an error")

# What a broken connection or stream looks like, as gRPC tells it.
_BROKEN: Final = frozenset({"UNAVAILABLE", "CANCELLED", "ABORTED"})
_RESET: Final = "RST_STREAM"

# What gRPC says of itself, under a status that the service uses for something else; the first that fits.
_OVERSIZED: Final = _Meaning("upstream_malformed", False, "Vertex AI sent too large a message")
_WORDS: Final = (
    ("from plugin failed", _Meaning("credentials_missing", True, "Google gave no token for the credentials")),
    ("SERVER: Received message larger", _Meaning("upstream_bad_request", False, "The question is too long")),
    ("Received message larger", _OVERSIZED),
    ("metadata size exceeds", _OVERSIZED),
)


def status(error: Any, *, answering: bool, connected: bool = True) -> ModelError:  # noqa: ANN401  # an RpcError
    """The end of a call with anything but OK; answering: the answer had begun; connected: there was a connection."""
    name, detail = error.code().name, error.details() or ""
    for words, meaning in _WORDS:
        if words in detail:
            return ModelError(meaning.reason, f"{meaning.what}.", retryable=meaning.retryable)
    if name == "CANCELLED" or _RESET in detail or (answering and name in _BROKEN):
        return cut(answering=answering)
    if not connected:
        return ModelError("connect_failed", "Vertex AI cannot be reached.", retryable=True)
    meaning = _STATUS.get(name, _OTHER)
    return ModelError(meaning.reason, _sentence(f"{meaning.what} ({name})", detail), retryable=meaning.retryable)


def cut(*, answering: bool) -> ModelError:
    """A connection or a stream that did not last."""
    if answering:
        return ModelError("upstream_cut", "The connection to Vertex AI broke.", retryable=True, outcome="incomplete")
    return ModelError("upstream_cut", "Vertex AI hung up before it answered.", retryable=True)


def late() -> ModelError:
    """No connection in time."""
    return ModelError("connect_timeout", "Vertex AI did not accept in time.", retryable=True, outcome="timeout")


def unreadable() -> ModelError:
    """Bytes that are no message of the protocol."""
    return ModelError("upstream_malformed", "Vertex AI sent a message that cannot be read.")


def withheld(why: str) -> ModelError:
    """The answer, or the rest of it, was held back."""
    return ModelError("content_filter", f"Vertex AI withheld the answer ({why}).", outcome="refused")


def stopped(why: str) -> ModelError:
    """The model ended, but not because it was done."""
    return ModelError(
        "stopped_early", f"The model stopped before it was done ({why}).", retryable=True, outcome="incomplete"
    )


def _sentence(what: str, detail: str) -> str:
    detail = masked(detail, None)
    return f"{what}: {detail}" if detail else f"{what}."
