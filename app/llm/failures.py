"""Translate what goes wrong between us and an OpenAI-compatible server into ModelError, with nothing secret in it."""

import json
import re
from typing import Any, Final

from app.errors import ModelError
from app.llm.connection import Broken
from app.llm.pool import Unreachable

MAX_DETAIL_CHARS: Final = 300
MAX_SEARCHED_CHARS: Final = 4096

_MASK: Final = "***"
_SECRET: Final = re.compile(
    r"""(?ix)
      (?<=://) [^\s/@]+ (?=@)                         # the user part of a URL
    | (?<=\bbearer\s) \S+
    | (?<=\bbasic\s) [a-z0-9+/=]{8,}
    | (?<=key[=:]) \S+
    | \b (?: sk | pk | rk | key | gsk | hf | xai | ghp ) [-_] \S{4,}
    | \b AIza \S{8,} | \b ya29\. \S+
    | [a-z0-9_\-*.]{32,}                              # long enough to be one, whoever issued it
    """
)

# HTTP status: reason, whether asking again may help, what happened.
_STATUS: Final[dict[int, tuple[str, bool, str]]] = {
    400: ("upstream_bad_request", False, "The model's server refused the request"),
    401: ("upstream_unauthorized", False, "The model's server does not accept the key"),
    403: ("upstream_unauthorized", False, "The model's server does not allow this with the key"),
    404: ("upstream_not_found", False, "The model's server does not know the model or the path"),
    408: ("upstream_unavailable", True, "The model's server gave up waiting"),
    422: ("upstream_bad_request", False, "The model's server refused the request"),
    429: ("upstream_rate_limited", True, "The model's server is limiting us"),
}
_REDIRECT: Final = ("upstream_redirect", False, "The model's server redirects elsewhere, which is not followed")
_UNAVAILABLE: Final = ("upstream_unavailable", True, "The model's server is unavailable")


def refused(reason: str) -> ModelError:
    """The model declined to answer."""
    return ModelError(reason, "The model declined to answer.", outcome="refused")


def malformed(what: str) -> ModelError:
    """Upstream does not speak the protocol."""
    return ModelError("upstream_malformed", f"The model's server sent {what}.")


def answered(status: int, body: bytes, key: str | None) -> ModelError:
    """An HTTP status that is not a success; body is its beginning."""
    default = _REDIRECT if status < 400 else _UNAVAILABLE if status >= 500 else _STATUS[400]
    reason, retryable, what = _STATUS.get(status, default)
    return ModelError(reason, _sentence(f"{what} (HTTP {status})", _said(body), key), retryable=retryable)


def reported(error: Any, key: str | None) -> ModelError:  # noqa: ANN401  # JSON has no narrower type
    """An error object inside a stream. It may pass, unless its code is one of a bad request."""
    code = error.get("code") if isinstance(error, dict) else None
    retryable = not isinstance(code, int) or _STATUS.get(code, _UNAVAILABLE)[1]
    message = _sentence("The model's server reported an error", _text(error), key)
    return ModelError("upstream_error", message, retryable=retryable)


def broken(error: Broken, *, answering: bool) -> ModelError:
    """A connection that could not be made or did not last; answering: the answer had begun."""
    if answering:
        return ModelError(
            "upstream_cut", "The connection to the model's server broke.", retryable=True, outcome="incomplete"
        )
    if isinstance(error, Unreachable) and error.late:
        return ModelError(
            "connect_timeout", "The model's server did not accept in time.", retryable=True, outcome="timeout"
        )
    if isinstance(error, Unreachable):
        return ModelError("connect_failed", "The model's server cannot be reached.", retryable=True)
    return ModelError("upstream_cut", "The model's server hung up before it answered.", retryable=True)


def masked(text: str, key: str | None) -> str:
    """The text on one line, trimmed, with everything that looks like a secret masked."""
    if key:
        text = text.replace(key, _MASK)
    words = text[:MAX_SEARCHED_CHARS].split()
    if len(text) > MAX_SEARCHED_CHARS:
        words = words[:-1]  # half a secret does not look like one
    text = _SECRET.sub(_MASK, " ".join(words))
    return text if len(text) <= MAX_DETAIL_CHARS else text[: MAX_DETAIL_CHARS - 1] + "…"


def _sentence(what: str, detail: str, key: str | None) -> str:
    detail = masked(detail, key)
    return f"{what}: {detail}" if detail else f"{what}."


def _said(body: bytes) -> str:
    """The human part of an error body; a page of HTML has none."""
    text = body.decode("utf-8", "replace").strip()
    try:
        return _text(json.loads(text))
    except (ValueError, RecursionError):
        return "" if text.startswith("<") else text


def _text(error: Any) -> str:  # noqa: ANN401  # JSON has no narrower type
    """The message of an error object in any of the usual shapes; Gemini's OpenAI endpoint puts it into a list."""
    if isinstance(error, list):
        error = error[0] if error else ""
    for _ in range(3):
        if not isinstance(error, dict):
            break
        error = next((error[name] for name in ("error", "message", "detail") if error.get(name)), "")
    return error if isinstance(error, str) else ""
