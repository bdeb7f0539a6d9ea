"""What is in use of the limits of providers, by all processes together."""

from __future__ import annotations

from collections.abc import Mapping

from agentdeck.store.reader import Reader

#: What of a reservation counts for a limit.
COUNTED = {
    "requests": "requests",
    "tokens": "tokens_in + tokens_out",
    "input_tokens": "tokens_in",
    "output_tokens": "tokens_out",
}


def in_use(reader: Reader, windows: Mapping[str, float], now: float) -> dict[str, float]:
    """By dotted name (`openai.requests`): what the last so many seconds have used and reserved. For
    `openai.concurrent`: the calls under way."""
    found: dict[str, float] = {}
    for name, seconds in windows.items():
        provider, _, limit = name.partition(".")
        if limit == "concurrent":
            sql = "SELECT count(*) FROM reservations WHERE provider = ? AND released IS NULL"
            rows = reader.select(sql, (provider,))
        else:
            sql = f"SELECT coalesce(sum({COUNTED[limit]}), 0) FROM reservations WHERE provider = ? AND at > ?"
            rows = reader.select(sql, (provider, now - seconds))
        found[name] = float(rows[0][0]) if rows else 0.0
    return found
