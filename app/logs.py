"""Log lines: JSON where machines read them, plain text where people do; never a question, an answer or a key.

Every line has the ids of the request and the run it is about. The JSON is as Cloud Logging takes it. Of an exception
that is not ours the words are left out, for they may quote what was being handled, unless LOG_LEVEL is DEBUG. Whatever
a line is made of, making it never raises.
"""

import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

import msgspec

from app.errors import TandemError
from app.trail import Trace, here, span_of

MOST_CHARS: Final = 10_000  # of a message
MOST_EXCEPTION_CHARS: Final = 8_000
MOST_FRAMES: Final = 12  # of each exception, the innermost
MOST_CAUSES: Final = 5
NOISY: Final = ("uvicorn.access", "uvicorn.error", "asyncio", "sse_starlette")
OURS: Final = ("app", "tandem")

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_REQUEST: Final = ("method", "path")  # with `http_status` and what follows from it one field
_GOOGLE: Final = "logging.googleapis.com"
_IDS: Final = ("request_id", "run_id")

_encode = msgspec.json.Encoder(enc_hook=lambda value: type(value).__name__).encode


class Json(logging.Formatter):
    """One JSON object a line. project: of Google Cloud, before a trace's id; traced: a run has a span of its own."""

    def __init__(self, *, words: bool = False, project: str | None = None, traced: bool = False) -> None:
        super().__init__()
        self._words = words
        self._traces = f"projects/{project}/traces/" if project else ""
        self._traced = traced

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        try:
            fields = self._fields(record)
        except Exception as error:  # noqa: BLE001  # whatever a line is made of, whoever wrote it must go on
            fields = {"severity": record.levelname, "logger": record.name, "message": _unmade(error)}
        try:
            return _encode(fields).decode()
        except (ValueError, OverflowError, RecursionError, TypeError):  # lone surrogates; numbers beyond 64 bits
            return json.dumps(_plain(fields))

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        ids = _ids(record)
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "severity": record.levelname,
            "logger": record.name,
            "message": said(record),
            **ids,
        }
        if ids:
            fields[f"{_GOOGLE}/labels"] = ids
        self._tell_trace(fields, here().trace, ids.get("run_id") if self._traced else None)
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if "http_status" in extra:
            fields["httpRequest"] = _http_request(extra)
        for name, value in extra.items():
            if name not in _REQUEST:
                fields.setdefault(name, value)
        if record.exc_info:
            fields["exception"] = described(record.exc_info[1], words=self._words)
        return fields

    def _tell_trace(self, fields: dict[str, Any], trace: Trace | None, run_id: str | None) -> None:
        """The trace that was sent, else the run's own; of spans the run's, else the one that sent the request."""
        if trace is not None:
            fields[f"{_GOOGLE}/trace"] = self._traces + trace.trace_id
            fields[f"{_GOOGLE}/spanId"] = span_of(run_id) if run_id else trace.parent
            fields[f"{_GOOGLE}/trace_sampled"] = trace.sampled
        elif run_id is not None:
            fields[f"{_GOOGLE}/trace"] = self._traces + run_id.replace("-", "")
            fields[f"{_GOOGLE}/spanId"] = span_of(run_id)


class Text(logging.Formatter):
    """A line for people, with the ids it is about; an exception stands below it."""

    def __init__(self, *, words: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)-7s", "%H:%M:%S")
        self._words = words

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        try:
            when = f"{self.formatTime(record, self.datefmt)} {record.levelname:<7} {said(record)}"
            line = " ".join([when.replace("\n", "\\n"), *(f"{name}={value}" for name, value in _ids(record).items())])
            below = described(record.exc_info[1], words=self._words) if record.exc_info else ""
        except Exception as error:  # noqa: BLE001  # as above
            return f"{record.levelname} {_unmade(error)}"
        return f"{line}\n{below}" if below else line


def configure(kind: str, level: str, *, project: str | None = None, traced: bool = False) -> None:
    """Send every log line to standard error, as `json` or as `text`; of libraries only what is wrong."""
    words = level == "DEBUG"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json(words=words, project=project, traced=traced) if kind == "json" else Text(words=words))
    logging.basicConfig(handlers=[handler], level=level if level == "ERROR" else "WARNING", force=True)
    for ours in OURS:
        logging.getLogger(ours).setLevel(level)
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def log_the_uncaught() -> None:
    """What nobody catches, in any thread, becomes a line like any other, without what the interpreter would quote."""
    log = logging.getLogger("app.uncaught")

    def raised(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log.critical("not caught: %s", kind.__name__, exc_info=(kind, error, trace))

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            raised(args.exc_type, args.exc_value, args.exc_traceback)

    def ignored(args: Any) -> None:  # noqa: ANN401  # the interpreter's own, which has no public name
        if args.exc_value is not None:
            raised(args.exc_type, args.exc_value, args.exc_traceback)

    sys.excepthook, threading.excepthook, sys.unraisablehook = raised, in_thread, ignored
    logging.captureWarnings(capture=True)


def said(record: logging.LogRecord) -> str:
    """The message, bounded; of one whose values do not fit into it the words alone."""
    try:
        message = record.getMessage()
    except Exception as error:  # noqa: BLE001  # the values may be anything, and must not be shown instead
        message = f"{record.msg if isinstance(record.msg, str) else type(record.msg).__name__} ({_unmade(error)})"
    if record.name == "asyncio":  # which goes on with the repr of what it held
        message = message.partition("\n")[0].partition("(")[0]
    return message if len(message) <= MOST_CHARS else message[:MOST_CHARS] + " [cut]"


def described(error: BaseException | None, *, words: bool) -> str:
    """An exception and what caused it, with the places in the code, bounded; its words if they are ours or wanted."""
    told = "\ncaused by ".join(_one(link, words=words) for link in _chain(error))
    return told if len(told) <= MOST_EXCEPTION_CHARS else told[:MOST_EXCEPTION_CHARS] + " [cut]"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, what caused it, what caused that."""
    for _ in range(MOST_CAUSES):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _one(error: BaseException, *, words: bool) -> str:
    spoken = _words(error, everything=words)
    frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
    places = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    inner = (
        [f"  with {type(one).__name__}" for one in error.exceptions] if isinstance(error, BaseExceptionGroup) else []
    )
    return "\n".join([f"{type(error).__name__}{': ' if spoken else ''}{spoken}", *places, *inner])


def _words(error: BaseException, *, everything: bool) -> str:
    """What it says, as far as that is known to quote nothing."""
    if isinstance(error, TandemError):
        return error.message
    if everything:
        return str(error)
    return (error.strerror or "") if isinstance(error, OSError) and isinstance(error.strerror, str) else ""


def _ids(record: logging.LogRecord) -> dict[str, str]:
    """Which request and run the line is about: those it names, else those of the work at hand."""
    trail = here()
    found = {name: getattr(record, name, None) or getattr(trail, name) for name in _IDS}
    return {name: str(value) for name, value in found.items() if value}


def _http_request(extra: dict[str, Any]) -> dict[str, Any]:
    """The request as Cloud Logging shows it: without the query, which has the question."""
    return {
        "requestMethod": extra.get("method"),
        "requestUrl": extra.get("path"),
        "status": extra["http_status"],
        "responseSize": str(extra.get("output_bytes", 0)),
        "latency": f"{extra.get('duration_ms', 0) / 1000:.6f}s",
    }


def _unmade(error: BaseException) -> str:
    return f"this line could not be made: {type(error).__name__}"


def _plain(value: object) -> Any:  # noqa: ANN401  # JSON has no narrower type
    """Anything as JSON that every reader takes."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value if value is None or isinstance(value, bool | int | float) else type(value).__name__


class Troubles(logging.Handler):
    """Remembers of each part, the folder its code is in, the last line that was not a good one."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last: dict[str, dict[str, str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Note it; what it says was fit for the log."""
        part = record.name.removeprefix("app.").partition(".")[0]
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="seconds")
        self.last[part] = {"at": when, "severity": record.levelname, "message": said(record)[:300]}
