"""A collector of traces: a real HTTP server that takes OTLP as protobuf, keeps the spans and can be made to fail."""

import contextlib
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Collector(ThreadingHTTPServer):
    """spans: as they came, each with what its resource says; raw: every body; headers: of the last request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[tuple[dict[str, Any], Any]] = []
        self.raw: list[bytes] = []
        self.headers: dict[str, str] = {}
        self.status = 200
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def url(self) -> str:
        """Where spans are sent to."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1/traces"

    def named(self, name: str) -> Any:
        """The one span whose name begins so."""
        (found,) = [span for _, span in self.spans if span.name.startswith(name)]
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        """One export."""
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.may_answer.wait(10)
        self.server.headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.raw.append(body)
        if self.server.status == 200 and self.path == "/v1/traces":
            for of in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = values(of.resource.attributes)
                self.server.spans += [(resource, span) for scope in of.scope_spans for span in scope.spans]
        self.send_response(self.server.status)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as a dict."""
    found = {}
    for attribute in attributes:
        kind = attribute.value.WhichOneof("value")
        value = getattr(attribute.value, kind)
        found[attribute.key] = [one.string_value for one in value.values] if kind == "array_value" else value
    return found


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens; it ends with the block."""
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield collector
    finally:
        collector.may_answer.set()
        collector.shutdown()
        collector.server_close()
        thread.join()
