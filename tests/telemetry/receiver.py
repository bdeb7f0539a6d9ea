"""A receiver of OTLP over HTTP that decodes what it gets, and fails where a test wants that."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Received:
    """A span as it arrived. Times are nanoseconds."""

    trace: str
    id: str
    parent: str
    name: str
    kind: int
    start: int
    end: int
    attributes: dict[str, Any]
    links: list[tuple[str, str, dict[str, Any]]]
    events: list[tuple[str, int, dict[str, Any]]]
    status: int
    message: str
    resource: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.attributes[name]


class Receiver:
    """`spans` in the order of their arrival. `answers` are the status codes of the next requests, 200 without
    any. `hold`, where it is set, is called in each request before it is answered."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.requests = 0
        self.headers: dict[str, str] = {}
        self.answers: deque[int] = deque()
        self.hold: Callable[[], object] | None = None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.take(self.path, dict(self.headers), body)
                answer = ExportTraceServiceResponse().SerializeToString() if status == 200 else b"no"
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        self.requests += 1
        self.headers = {name.lower(): value for name, value in headers.items()}
        if self.hold is not None:
            self.hold()
        status = self.answers.popleft() if self.answers else 200
        assert path == "/v1/traces"
        if status == 200:
            self.spans += decoded(body)
        return status

    def named(self, name: str) -> list[Received]:
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start)

    def one(self, name: str) -> Received:
        (span,) = self.named(name)
        return span

    def children(self, parent: Received) -> list[str]:
        """Names of the spans below one, in the order in which they began."""
        found = [span for span in self.spans if (span.trace, span.parent) == (parent.trace, parent.id)]
        return [span.name for span in sorted(found, key=lambda span: (span.start, span.end))]


def decoded(body: bytes) -> list[Received]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        Received(
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.name,
            span.kind,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            _values(span.attributes),
            [(link.trace_id.hex(), link.span_id.hex(), _values(link.attributes)) for link in span.links],
            [(event.name, event.time_unix_nano, _values(event.attributes)) for event in span.events],
            span.status.code,
            span.status.message,
            _values(resource.resource.attributes),
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
