"""What a provider's headers say of its limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from agentdeck.models.provider import Told, Window

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NAMES = {
    "requests": "requests",
    "tokens": "tokens",
    "input-tokens": "input_tokens",
    "output-tokens": "output_tokens",
}


def told(headers: Mapping[str, str]) -> Told:
    """By limit; only those that the headers speak of."""
    found: dict[str, Window] = {}
    said = {name: value for name, value in headers.items() if "ratelimit" in name}
    for word, name in _NAMES.items() if said else ():
        window = Window(
            _number(_first(said, f"x-ratelimit-limit-{word}", f"anthropic-ratelimit-{word}-limit")),
            _number(_first(said, f"x-ratelimit-remaining-{word}", f"anthropic-ratelimit-{word}-remaining")),
            _reset(_first(said, f"x-ratelimit-reset-{word}", f"anthropic-ratelimit-{word}-reset")),
        )
        if window != Window():
            found[name] = window
    return found


def _first(headers: Mapping[str, str], *names: str) -> str:
    return next((headers[name].strip() for name in names if name in headers), "")


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _reset(text: str) -> float | None:
    """From a duration (`6m0s`, `12ms`), seconds, or an RFC 3339 date, to seconds from now."""
    if not text:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        return sum(float(count) * _UNITS[unit] for count, unit in _DURATION.findall(text))
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())
