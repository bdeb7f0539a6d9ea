"""Sends spans by OTLP over HTTP. The only module that imports OpenTelemetry, when a sender is made.

The exporter of OpenTelemetry's SDK reads the standard variables (headers, timeout, compression, certificates),
and repeats a request that failed with growing pauses, until OTEL_EXPORTER_OTLP_TIMEOUT (10 s) is over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.telemetry import attributes as at
from agentdeck.telemetry.settings import Receiver
from agentdeck.telemetry.span import Span

#: How to get what is missing.
INSTALL = "pip install 'agentdeck[otel]'"
SCOPE = "agentdeck"


class MissingExtra(UsageError):
    """The packages of the extra are not installed."""


class ReceiverError(AgentdeckError):
    """The receiver does not take the spans. Those that it lacks can be sent later, from the store."""

    exit_code = 3


class _LastProblem(logging.Handler):
    """Keeps the reason of the exporter's last failure: its result does not have it. Nothing is printed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        args = record.args if isinstance(record.args, tuple) else ()
        if record.levelno >= logging.ERROR and len(args) == 3:  # "… batch code: %s, reason: %s"
            _, code, reason = args
            self.text = _short(f"{code} {reason}" if code else str(reason))
        elif record.levelno < logging.ERROR and args:  # "Transient error %s encountered while …"
            self.text = _short(str(args[0]))


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
        logger = logging.getLogger(trace_exporter.__name__)
        logger.addHandler(self._problem)
        logger.propagate = False
        self._logger = logger
        self._exporter = trace_exporter.OTLPSpanExporter(endpoint=receiver.url, timeout=timeout)
        resource = Resource.create({"service.version": __version__})
        if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": "agentdeck"}))
        self._resource = resource

    def send(self, spans: Sequence[Span]) -> str:
        """Send spans. Returns why that failed; empty where the receiver has them."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        self._problem.text = ""
        result = self._exporter.export(list(_encoded(spans, self._resource)))
        return "" if result is SpanExportResult.SUCCESS else self._problem.text or "no answer in time"

    def close(self) -> None:
        """Close connections; a `send` in another thread ends soon."""
        self._exporter.shutdown()
        self._logger.removeHandler(self._problem)


def _encoded(spans: Iterable[Span], resource: Any) -> Iterable[Any]:
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

    def context(trace: str, span: str) -> Any:
        return SpanContext(int(trace, 16), int(span, 16), False, TraceFlags(TraceFlags.SAMPLED))

    scope = InstrumentationScope(SCOPE, at.SCHEMA_VERSION)
    for span in spans:
        yield ReadableSpan(
            name=span.name,
            context=context(span.trace, span.id),
            parent=context(span.trace, span.parent) if span.parent else None,
            resource=resource,
            attributes=dict(span.attributes),
            events=[Event(one.name, dict(one.attributes), _nanoseconds(one.at)) for one in span.events],
            links=[Link(context(one.trace, one.span), dict(one.attributes)) for one in span.links],
            kind=SpanKind.CLIENT if span.client else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, span.message) if span.error else Status(StatusCode.UNSET),
            start_time=_nanoseconds(span.start),
            end_time=_nanoseconds(span.end),
            instrumentation_scope=scope,
        )


def _nanoseconds(at_: float) -> int:
    """Whole microseconds: a float of today's time has no more digits."""
    return round(at_ * 1e6) * 1000


def _short(text: str) -> str:
    """The reason in few words: the exceptions of connections repeat themselves."""
    for words in ("Connection refused", "timed out", "Name or service not known"):
        if words in text:
            return words.lower()
    return text if len(text) <= 200 else text[:199] + "…"
