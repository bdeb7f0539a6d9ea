"""Sends spans by OTLP over HTTP. The only module that imports OpenTelemetry, when a sender is made.

The exporter of OpenTelemetry's SDK reads the standard variables (headers, timeout, compression, certificates),
and repeats a request that failed with growing pauses, until OTEL_EXPORTER_OTLP_TIMEOUT (10 s) is over.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.telemetry import attributes as at
from agentdeck.telemetry.settings import Receiver
from agentdeck.telemetry.span import Attributes, Span, Value

#: How to get what is missing.
INSTALL = "pip install 'agentdeck[otel]'"
SCOPE = "agentdeck"


class MissingExtra(UsageError):
    """The packages of the extra are not installed."""


class ReceiverError(AgentdeckError):
    """The receiver does not take the spans. Those that it lacks can be sent later, from the store."""

    exit_code = 3


class _LastProblem(logging.Filter):
    """Keeps the reason of the exporter's last failure in one thread: its result does not have it. What the
    exporter logs in that thread is printed nowhere; other users of it in this process keep their log."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._thread = 0

    def begin(self) -> None:
        """Forget the last failure; the next one is expected in this thread."""
        self.text, self._thread = "", threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread:
            return True
        args = record.args if isinstance(record.args, tuple) else ()
        if len(args) == 3 and record.levelno >= logging.ERROR:  # "… batch code: %s, reason: %s"
            _, code, reason = args
            self.text = _short(f"{code} {reason}" if code else str(reason))
        elif args and "due to timeout" not in record.getMessage():  # which says less than the warning before it
            self.text = _short(str(args[0]))
        return False


class Sender:
    """Sends spans to one receiver. Used by one thread; `close` may be called by another one and ends a pause."""

    def __init__(self, receiver: Receiver, timeout: float | None = None) -> None:
        """`timeout` is for one request with its repetitions; None is what the environment says, else 10 s. Raises
        MissingExtra where the extra `otel` is not installed."""
        try:
            from opentelemetry.exporter.otlp.proto.http import trace_exporter
            from opentelemetry.sdk.resources import Resource
        except ImportError as error:
            raise MissingExtra(f"spans cannot be sent without the extra otel ({error}); {INSTALL}") from None
        from agentdeck import __version__

        self._problem = _LastProblem()
        self._logger = logging.getLogger(trace_exporter.__name__)
        self._logger.addFilter(self._problem)
        self._exporter = trace_exporter.OTLPSpanExporter(endpoint=receiver.url, timeout=timeout)
        resource = Resource.create({"service.version": __version__})
        if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": "agentdeck"}))
        self._resource = resource

    def send(self, spans: Sequence[Span]) -> str:
        """Send spans. Returns why that failed; empty where the receiver has them."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        self._problem.begin()
        result = self._exporter.export(list(_encoded(spans, self._resource)))
        return "" if result is SpanExportResult.SUCCESS else self._problem.text or "no answer in time"

    def close(self) -> None:
        """Close connections; a `send` in another thread ends soon."""
        self._exporter.shutdown()
        self._logger.removeFilter(self._problem)


def _encoded(spans: Iterable[Span], resource: Any) -> Iterable[Any]:
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

    def context(trace: str, span: str) -> Any:
        return SpanContext(int(trace, 16), int(span, 16), False, TraceFlags(TraceFlags.SAMPLED))

    scope = InstrumentationScope(SCOPE, at.SCHEMA_VERSION)
    for span in spans:
        yield ReadableSpan(
            name=_text(span.name),
            context=context(span.trace, span.id),
            parent=context(span.trace, span.parent) if span.parent else None,
            resource=resource,
            attributes=_attributes(span.attributes),
            events=[Event(one.name, _attributes(one.attributes), _nanoseconds(one.at)) for one in span.events],
            links=[Link(context(one.trace, one.span), _attributes(one.attributes)) for one in span.links],
            kind=SpanKind.CLIENT if span.client else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, _text(span.message)) if span.error else Status(StatusCode.UNSET),
            start_time=_nanoseconds(span.start),
            end_time=_nanoseconds(span.end),
            instrumentation_scope=scope,
        )


def _attributes(known: Attributes) -> dict[str, Value]:
    return {name: _text(value) if isinstance(value, str) else value for name, value in known.items()}


def _text(text: str) -> str:
    """The text as protobuf takes it: what UTF-8 cannot hold is escaped."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _nanoseconds(at_: float) -> int:
    """Whole microseconds: a float of today's time has no more digits."""
    return round(at_ * 1e6) * 1000


def _short(text: str) -> str:
    """The reason in few words: the exceptions of connections repeat themselves."""
    for words in ("Connection refused", "timed out", "Name or service not known"):
        if words in text:
            return words.lower()
    return text if len(text) <= 200 else text[:199] + "…"
