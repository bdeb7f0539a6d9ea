"""Settings of the export of spans: the standard variables of OpenTelemetry, read from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from agentdeck.errors import UsageError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
DISABLED = "OTEL_SDK_DISABLED"
EXPORTER = "OTEL_TRACES_EXPORTER"
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
LENGTH = "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"
DEFAULT_ENDPOINT = "http://localhost:4318"
#: Characters of a text that a span holds, where the environment sets no other limit.
LONGEST = 32_768
#: The value of the protocol that the extra can speak.
PROTOCOL = "http/protobuf"


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where spans are sent. `name` is the URL without what may be secret in it (user, password, query)."""

    url: str
    name: str


def has_endpoint(environment: Mapping[str, str]) -> bool:
    """Whether a receiver is named: then runs export their spans while they execute."""
    return bool(environment.get(TRACES_ENDPOINT) or environment.get(ENDPOINT))


def why_off(environment: Mapping[str, str]) -> str:
    """The setting that turns the export off; empty where none does."""
    if environment.get(DISABLED, "").strip().lower() == "true":
        return f"{DISABLED}=true"
    exporters = environment.get(EXPORTER, "")
    if exporters and "otlp" not in [one.strip() for one in exporters.split(",")]:
        return f"{EXPORTER}={exporters}"
    return ""


def receiver(environment: Mapping[str, str]) -> Receiver:
    """The receiver of spans; without a setting that on this machine. Raises UsageError for a setting that makes
    no sense, with its name."""
    for name in PROTOCOLS:
        if (protocol := environment.get(name)) and protocol != PROTOCOL:
            raise UsageError(f"{name}={protocol}: agentdeck speaks {PROTOCOL} only; set that, or unset it")
    variable = TRACES_ENDPOINT if environment.get(TRACES_ENDPOINT) else ENDPOINT
    url = environment.get(variable) or DEFAULT_ENDPOINT
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https"):
        raise UsageError(
            f"{variable}={url}: this is no http:// or https:// URL; give one like {DEFAULT_ENDPOINT}"
        )
    if variable == ENDPOINT:
        url = url.removesuffix("/") + "/v1/traces"
    path = urlsplit(url).path
    shown = f"[{host}]" if ":" in host else host
    return Receiver(url, f"{parts.scheme}://{shown}{f':{port}' if port else ''}{path}")


def wants_content(environment: Mapping[str, str]) -> bool:
    """Whether prompts, inputs and outputs are to be in spans."""
    return environment.get(CONTENT, "").strip().lower() in ("true", "1", "span_only", "span_and_event")


def longest_value(environment: Mapping[str, str]) -> int:
    """Characters of a text that a span may hold."""
    text = environment.get(LENGTH, "").strip()
    return int(text) if text.isdecimal() and int(text) else LONGEST
