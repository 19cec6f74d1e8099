"""The request log as it goes on: one line for every finished question, with no word of it or of its answer."""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from starlette.types import Message, Scope

from app.events import parse
from app.experiments.logs import Way, Word, word
from app.http.callers import CALLER, NOBODY
from app.question import Caller, Content, Labels, Question
from app.reasoning.log import Log

logger = logging.getLogger("tandem.requests")

TOLD: Final = "tandem.run"  # where the handler leaves what it accepted, in the ASGI scope
_METHODS: Final = ("GET", "POST")


class Told(msgspec.Struct, frozen=True):
    """What became of an accepted question: the run that answers it, and how the request came to that run."""

    run: Log
    source: Way
    question: Question


class Sent(msgspec.Struct):
    """What went out for one request; head is the message that began the response, if it began."""

    began: float = msgspec.field(default_factory=time.perf_counter)
    head: Message | None = None
    bytes: int = 0

    @property
    def http_status(self) -> int | None:
        """The status of the response; None when the client left before it."""
        return None if self.head is None else self.head["status"]


class RequestLines:
    """Writes a line for each finished request to one path. mask: a label as it may be kept."""

    def __init__(self, path: str, mask: Callable[[str, Content | None], str]) -> None:
        self._path = path
        self._mask = mask

    def began(self, scope: Scope) -> None:
        """A request that has only begun leaves no line."""

    def finished(self, scope: Scope, sent: Sent) -> None:
        """A request has ended, whatever ended it."""
        if scope["path"] != self._path or scope["method"] not in _METHODS or not logger.isEnabledFor(logging.INFO):
            return
        told: Told | None = scope.get(TOLD)
        status, http_status = _status(told, sent), sent.http_status
        duration_ms = round((time.perf_counter() - sent.began) * 1000, 3)
        fields: dict[str, Any] = {
            "request_id": scope["request_id"],
            "method": scope["method"],
            "path": scope["path"],
            **(_named(sent) if told is None else _asked(told)),
            "status": status,
            "http_status": http_status,
            "duration_ms": duration_ms,
            **self._labels(Labels() if told is None else told.question.labels, scope.get(CALLER, NOBODY)),
            "output_bytes": sent.bytes,
        }
        way, answered = fields["source"] or "refused", http_status or "no answer"
        logger.info("%s %s %s in %.1f ms", way, answered, status or "left", duration_ms, extra=fields)

    def _labels(self, labels: Labels, caller: Caller) -> dict[str, Any]:
        """The labels, masked as the record has them."""
        names, mode = ("experiment", "variant", "prompt_class"), caller.grant.content
        masked = {name: None if (label := getattr(labels, name)) is None else self._mask(label, mode) for name in names}
        return {**masked, "tags": [self._mask(tag, mode) for tag in labels.tags]}


def _asked(told: Told) -> dict[str, Any]:
    """What is known of an accepted question."""
    return {
        "run_id": told.run.run_id,
        "source": told.source,
        "fingerprint": told.run.fingerprint,
        "input_chars": sum(len(message.content) for message in told.question.messages),
    }


def _named(sent: Sent) -> dict[str, Any]:
    """What the response's own headers say of a request that asked nothing new, or was refused."""
    headers = dict(sent.head["headers"]) if sent.head is not None else {}
    run_id, source = (headers.get(name, b"").decode() or None for name in (b"x-run-id", b"x-run-source"))
    return {"run_id": run_id, "source": source, "fingerprint": None, "input_chars": None}


def _status(told: Told | None, sent: Sent) -> Word | None:
    """How the request fared; None when the client left before the end."""
    if sent.http_status is None or sent.http_status >= 400:
        return None if sent.http_status is None else "error"
    if told is None:
        return "ok"
    run = told.run
    if not run.closed:
        return None
    _, _, done = parse(run.since(run.begin_of(len(run) - 1)))
    return word(done["status"], done["reason"], done["source"], slow=done["slow"])
