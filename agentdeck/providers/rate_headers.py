"""Rate limits in a provider's response headers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from agentdeck.providers.provider import RateHeader, RateHeaders

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
#: `x-ratelimit-remaining-tokens` as OpenAI has it; between the two, proxies name what is limited: litellm has
#: `x-ratelimit-api_key-limit-requests`.
_OPENAI = re.compile(
    r"x-ratelimit-(?:(?P<scope>[a-z0-9_-]+)-)?(?P<what>limit|remaining|reset)"
    r"-(?P<of>requests|tokens|input-tokens|output-tokens)"
)
_ANTHROPIC = re.compile(
    r"anthropic-ratelimit-(?P<scope>)(?P<of>requests|tokens|input-tokens|output-tokens)"
    r"-(?P<what>limit|remaining|reset)"
)


def parse_rate_headers(headers: Mapping[str, str]) -> RateHeaders:
    """The reported limits. Where headers report one limit for several scopes (a model, a key, a team), the
    lowest limit and the lowest remainder count."""
    limits: dict[str, dict[str, dict[str, str]]] = {}
    for name, value in headers.items():
        if "ratelimit" in name and (found := _parse_name(name)) is not None:
            limits.setdefault(found.of, {}).setdefault(found.scope, {})[found.what] = value.strip()
    windows = {of: _tightest([_window(parts) for parts in scopes.values()]) for of, scopes in limits.items()}
    return {of: window for of, window in windows.items() if window != RateHeader()}


class _Name(NamedTuple):
    """What a header reports: the limit, what remains of it or when it is reset, of what, for which scope."""

    of: str
    scope: str
    what: str


@lru_cache(64)
def _parse_name(name: str) -> _Name | None:
    """A provider sends the same names with each answer."""
    found = _OPENAI.fullmatch(name) or _ANTHROPIC.fullmatch(name)
    return found and _Name(found["of"].replace("-", "_"), found["scope"] or "", found["what"])


def _window(parts: Mapping[str, str]) -> RateHeader:
    return RateHeader(
        _number(parts.get("limit", "")), _number(parts.get("remaining", "")), _reset(parts.get("reset", ""))
    )


def _tightest(windows: Sequence[RateHeader]) -> RateHeader:
    return RateHeader(
        min((w.limit for w in windows if w.limit is not None), default=None),
        min((w.left for w in windows if w.left is not None), default=None),
        max((w.reset for w in windows if w.reset is not None), default=None),
    )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _reset(text: str) -> float | None:
    """Seconds from now, from a duration (`6m0s`, `12ms`), seconds, or an RFC 3339 date."""
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
