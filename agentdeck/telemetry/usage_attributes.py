"""What was used, as attributes of a span."""

from __future__ import annotations

from agentdeck.scheduler import events as ev
from agentdeck.telemetry import attributes as at
from agentdeck.telemetry.span import Value


def used(usage: ev.Usage) -> dict[str, Value]:
    """What an attempt or an inner step used, as far as it is known. Input tokens include those that the provider
    had cached, as the convention says."""
    found: dict[str, Value | None] = {
        at.INPUT_TOKENS: usage.tokens_in,
        at.OUTPUT_TOKENS: usage.tokens_out,
        at.CACHE_READ_TOKENS: usage.cached_in,
        at.USD: usage.usd,
        at.SIMULATED: usage.simulated or None,
        at.ESTIMATED: usage.estimated or None,
    }
    return {name: value for name, value in found.items() if value is not None}
