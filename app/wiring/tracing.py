"""Where traces go, if anywhere: the library is loaded only when TRACE_ENDPOINT names a collector."""

import asyncio
import importlib
import importlib.util
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final, Protocol
from urllib.parse import urlsplit

from app import __version__
from app.errors import StartupError
from app.llm.model import Along
from app.question import Key, LaneName
from app.reasoning.race import alone
from app.reasoning.runs import forget
from app.record.entry import Closing
from app.record.redaction import MIN_TEXT_CHARS, Redactor
from app.settings import Settings

# Loaded in a thread: it takes half a second.
TRACING: Final = "app.telemetry.tracing"
NEEDED: Final = "opentelemetry.exporter.otlp.proto.http"

_HEADER: Final = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=\s*([!-~]+(?: [!-~]+)*)\s*")


class Traces(Protocol):
    """Who is told of runs."""

    def along(self, run_id: str) -> Mapping[LaneName, Along]:
        """What the lanes of a run send to their providers beside the question."""
        ...

    def keep(self, closing: Closing, key: Key) -> None:
        """A run has ended."""
        ...

    @property
    def state(self) -> Mapping[str, str | int]:
        """How it is, for an operator."""
        ...


class Untraced:
    """Nobody."""

    state: Final[Mapping[str, str | int]] = {"status": "off"}
    along = staticmethod(alone)
    keep = staticmethod(forget)


async def open_tracing(settings: Settings, instance: str, stack: AsyncExitStack) -> Traces:
    """What TRACE_ENDPOINT asks for. Raises StartupError that names the setting."""
    if settings.trace_endpoint is None:
        return Untraced()
    endpoint, headers = endpoint_of(settings), headers_of(settings)
    if not _installed():
        raise StartupError("TRACE_ENDPOINT needs OpenTelemetry, which is not installed: install tandem[tracing]")
    module = await asyncio.to_thread(importlib.import_module, TRACING)
    resource = module.resource_of(settings.trace_service_name, __version__, instance)
    spans = module.Spans(resource, Redactor("full", MIN_TEXT_CHARS).remark)
    tracing = module.Tracing(module.exporter_to(endpoint, headers), spans, settings.trace_sample_ratio)
    stack.push_async_callback(tracing.close)
    opened: Traces = tracing
    return opened


def _installed() -> bool:
    try:
        return importlib.util.find_spec(NEEDED) is not None
    except ModuleNotFoundError:
        return False


def endpoint_of(settings: Settings) -> str:
    """The collector's address, which may have a password in it. Raises StartupError, which does not."""
    assert settings.trace_endpoint is not None
    endpoint = settings.trace_endpoint.get_secret_value()
    try:
        parts = urlsplit(endpoint)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise StartupError("TRACE_ENDPOINT: must look like http://127.0.0.1:4318/v1/traces")
    return endpoint if parts.path.strip("/") else parts._replace(path="/v1/traces").geturl()


def headers_of(settings: Settings) -> dict[str, str]:
    """What the collector wants to be sent. Raises StartupError."""
    if settings.trace_headers is None:
        return {}
    found = [_HEADER.fullmatch(part) for part in settings.trace_headers.get_secret_value().split(",")]
    if not all(found):
        raise StartupError("TRACE_HEADERS: must look like name=value,name=value")
    return {header[1]: header[2] for header in found if header is not None}
