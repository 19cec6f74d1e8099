"""Log lines: JSON where machines read them, plain text where people do; never a question, an answer or a key."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter


class _Text(logging.Formatter):
    """A line for people, with the ids it is about."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        ids = [f"{name}={found}" for name in ("request_id", "run_id") if (found := getattr(record, name, None))]
        return " ".join([super().format(record), *ids])


def configure(kind: str, level: str) -> None:
    """Send every log line to standard error, as `json` or as `text`."""
    handler = logging.StreamHandler(sys.stderr)
    if kind == "json":
        fields = "{asctime}{levelname}{name}{message}"
        renames = {"asctime": "time", "levelname": "severity", "name": "logger"}
        handler.setFormatter(JsonFormatter(fields, style="{", rename_fields=renames))
    else:
        handler.setFormatter(_Text("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for noisy in ("uvicorn.access", "uvicorn.error", "asyncio", "sse_starlette"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
