"""A span as plain data, before it is encoded for a receiver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

Value: TypeAlias = str | bool | int | float
Attributes: TypeAlias = Mapping[str, Value]


class SpanLink(NamedTuple):
    """A span that this one depends on."""

    trace: str
    span: str
    attributes: Attributes


class SpanEvent(NamedTuple):
    """A moment of a span."""

    at: float
    name: str
    attributes: Attributes


class Span(NamedTuple):
    """A span that has ended. `trace`, `id` and `parent` are hexadecimal; `parent` is empty for the root of a
    trace. Times are seconds since the epoch. `error` is the kind of its fault, empty where it has none; `message`
    says more. `client`: it is a request to another service."""

    trace: str
    id: str
    parent: str
    name: str
    start: float
    end: float
    attributes: Attributes
    links: tuple[SpanLink, ...] = ()
    events: tuple[SpanEvent, ...] = ()
    error: str = ""
    message: str = ""
    client: bool = False
