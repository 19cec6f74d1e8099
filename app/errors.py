"""One tree of errors. A leaf knows its stable code, its HTTP status and whether asking again may help.

TandemError
├── Refusal                    the request is refused before the first byte
│   ├── MalformedRequest       422 invalid_request
│   ├── BadLastEventId         422 bad_last_event_id
│   ├── UnknownPolicy          422 unknown_policy
│   ├── UnknownModel           422 unknown_model
│   ├── Unauthenticated        401 unauthenticated
│   ├── ForeignPage            403 foreign_page
│   ├── Forbidden              403 forbidden
│   ├── ModelNotAllowed        403 model_not_allowed
│   ├── ModelUnpriced          403 model_unpriced
│   ├── NoSuchRoute            404 not_found
│   ├── NoSuchRun              404 run_not_found
│   ├── NoSuchAnswer           404 answer_not_found
│   ├── NoSuchKey              404 key_not_found
│   ├── NoSuchBreaker          404 breaker_not_found
│   ├── MethodNotAllowed       405 method_not_allowed
│   ├── NothingToAccept        409 nothing_to_accept
│   ├── RunNotLive             409 run_not_live
│   ├── RunShared              409 run_shared
│   ├── IdempotencyKeyReused   409 idempotency_key_reused
│   ├── RunExpired             410 run_expired
│   ├── BodyTooLarge           413 body_too_large
│   ├── WrongContentType       415 unsupported_media_type
│   ├── TooManyAttempts        429 too_many_attempts
│   ├── RateLimited            429 rate_limited
│   ├── BudgetExceeded         429 budget_exceeded
│   ├── TooManyStreams         429 too_many_streams
│   ├── TooManyRuns            503 too_many_runs
│   ├── Overloaded             503 overloaded
│   ├── QueueFull              503 queue_full
│   ├── QueueTimeout           503 queue_timeout
│   ├── ShuttingDown           503 shutting_down
│   ├── AuditFull              503 audit_full
│   ├── IdentityUnavailable    503 identity_unavailable
│   ├── RecordUnavailable      503 record_unavailable
│   ├── CacheUnavailable       503 cache_unavailable
│   ├── TooManyExports         503 too_many_exports
│   ├── ParquetUnavailable     501 parquet_unavailable
│   └── Internal               500 internal
├── ModelError                 a lane ended without an answer; the other lane carries on
├── StartupError               the process cannot start; the message names the setting to change
├── OutOfOrder                 reasoning/run.py: an event where the protocol allows none, a bug of ours
├── ImportRefused              record/importing.py: a line of a file to be imported is not as it should be
├── Undecodable                record/codec.py: bytes that are no entry of a format we know
├── KeysUnavailable            admission/ring.py: the store of API keys does not answer
├── CountersUnavailable        admission/sparing.py: what all instances count in one place does not answer
├── LevelUnavailable           answers/level.py: a level of stored answers does not answer; a miss
├── StoreUnavailable, SchemaMismatch, EntryRejected    record/store.py: what may become of a batch of records
└── Unreachable, Lost, Refused         terminal/stream.py: what may become of a question in the terminal
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

Outcome = Literal["completed", "timeout", "failed", "incomplete", "empty", "cancelled", "refused"]


class TandemError(Exception):
    """The root of everything this product raises on purpose."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Refusal(TandemError):
    """A request that is not accepted: answered as problem+json, no byte of a stream sent."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    retry_after_s: ClassVar[int | None] = None

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.details = details


class MalformedRequest(Refusal):
    status, code, title = 422, "invalid_request", "The request is not valid"


class BadLastEventId(Refusal):
    status, code, title = 422, "bad_last_event_id", "The Last-Event-ID does not belong here"


class UnknownPolicy(Refusal):
    status, code, title = 422, "unknown_policy", "The policy is not known"


class UnknownModel(Refusal):
    status, code, title = 422, "unknown_model", "The model is not known"


class Unauthenticated(Refusal):
    status, code, title = 401, "unauthenticated", "Who asks is not known"


class ForeignPage(Refusal):
    status, code, title = 403, "foreign_page", "A foreign page may not use this server"


class Forbidden(Refusal):
    status, code, title = 403, "forbidden", "This caller may not do that"


class ModelNotAllowed(Refusal):
    status, code, title = 403, "model_not_allowed", "This server does not ask that model for callers"


class ModelUnpriced(Refusal):
    status, code, title = 403, "model_unpriced", "What this model costs is not known"


class NoSuchRoute(Refusal):
    status, code, title = 404, "not_found", "There is nothing here"


class NoSuchRun(Refusal):
    status, code, title = 404, "run_not_found", "There is no such run"


class NoSuchAnswer(Refusal):
    status, code, title = 404, "answer_not_found", "There is no such stored answer"


class NoSuchKey(Refusal):
    status, code, title = 404, "key_not_found", "There is no such key"


class NoSuchBreaker(Refusal):
    status, code, title = 404, "breaker_not_found", "There is no such breaker"


class MethodNotAllowed(Refusal):
    status, code, title = 405, "method_not_allowed", "The method is not allowed here"


class NothingToAccept(Refusal):
    status, code, title = 409, "nothing_to_accept", "There is no preliminary answer to accept"


class RunNotLive(Refusal):
    status, code, title, retry_after_s = 409, "run_not_live", "The run is not live on this instance", 2


class RunShared(Refusal):
    status, code, title = 409, "run_shared", "Others read this run"


class IdempotencyKeyReused(Refusal):
    status, code, title = 409, "idempotency_key_reused", "The idempotency key belongs to another question"


class RunExpired(Refusal):
    status, code, title = 410, "run_expired", "The run's events are no longer kept"


class BodyTooLarge(Refusal):
    status, code, title = 413, "body_too_large", "The body is too large"


class WrongContentType(Refusal):
    status, code, title = 415, "unsupported_media_type", "The body must be JSON"


class TooManyAttempts(Refusal):
    status, code, title = 429, "too_many_attempts", "Too many keys were refused"


class RateLimited(Refusal):
    """headers: those that tell what is left, for the answer."""

    status, code, title = 429, "rate_limited", "Too many requests"

    def __init__(self, message: str, headers: Sequence[tuple[bytes, bytes]] = (), **details: object) -> None:
        super().__init__(message, **details)
        self.headers = headers


class BudgetExceeded(Refusal):
    status, code, title = 429, "budget_exceeded", "The budget is used up"


class TooManyStreams(Refusal):
    status, code, title, retry_after_s = 429, "too_many_streams", "Too many streams of this caller are open", 5


class TooManyRuns(Refusal):
    status, code, title, retry_after_s = 503, "too_many_runs", "Too many runs are live", 2


class Overloaded(Refusal):
    status, code, title, retry_after_s = 503, "overloaded", "The server is overloaded", 5


class QueueFull(Refusal):
    status, code, title, retry_after_s = 503, "queue_full", "Too many questions wait for a run", 2


class QueueTimeout(Refusal):
    status, code, title, retry_after_s = 503, "queue_timeout", "No run became free in time", 2


class ShuttingDown(Refusal):
    status, code, title, retry_after_s = 503, "shutting_down", "The server is shutting down", 5


class AuditFull(Refusal):
    status, code, title, retry_after_s = 503, "audit_full", "A new run could not be written down", 5


class IdentityUnavailable(Refusal):
    status, code, title, retry_after_s = 503, "identity_unavailable", "Who asks cannot be found out now", 2


class RecordUnavailable(Refusal):
    status, code, title, retry_after_s = 503, "record_unavailable", "The record cannot be read now", 5


class CacheUnavailable(Refusal):
    status, code, title, retry_after_s = 503, "cache_unavailable", "A level of stored answers cannot be reached", 5


class TooManyExports(Refusal):
    status, code, title, retry_after_s = 503, "too_many_exports", "Too many exports are running", 10


class ParquetUnavailable(Refusal):
    status, code, title = 501, "parquet_unavailable", "This server cannot write Parquet"


class Internal(Refusal):
    status, code, title = 500, "internal", "Internal error"


class ModelError(TandemError):
    """A language model gave no whole answer.

    reason is a stable code (RUNBOOK.md lists them), message is safe to show: no secret, no
    address, an upstream's own words only trimmed and masked.
    """

    def __init__(self, reason: str, message: str, *, retryable: bool = False, outcome: Outcome = "failed") -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable
        self.outcome: Outcome = outcome


class StartupError(TandemError):
    """The process cannot start; the message names the setting, its bound and what to do."""

    code = "startup"
