"""What is in use of the limits of providers, by all processes together."""

from __future__ import annotations

from collections.abc import Mapping

from agentdeck.store.reader import Reader

#: What of a reservation counts for a limit: its request and prompt, and its answer.
SENT = {"requests": "requests", "tokens": "tokens_in", "input_tokens": "tokens_in", "output_tokens": "0"}
SAID = {"requests": "0", "tokens": "tokens_out", "input_tokens": "0", "output_tokens": "tokens_out"}


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
            rows = reader.select(_sql(SENT[limit], SAID[limit]), (provider, now - seconds, now - seconds))
        found[name] = float(rows[0][0]) if rows else 0.0
    return found


def _sql(sent: str, said: str) -> str:
    """A call under way counts with the answer that is expected, where something is."""
    likely = said if said == "0" else "coalesce(min(likely, tokens_out), tokens_out)"
    each = f"{sent} + CASE WHEN released IS NULL THEN {likely} ELSE {said} END"
    return (
        f"SELECT coalesce(sum({each}), 0)"
        " FROM reservations WHERE provider = ? AND (at > ? OR released > ? OR released IS NULL)"
    )
