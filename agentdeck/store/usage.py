"""Current use of the limits of providers, by all processes together."""

from __future__ import annotations

from collections.abc import Mapping

from agentdeck.store.reader import Reader

#: The columns of a reservation that count for a limit: for its request and prompt, and for its answer.
SENT = {"requests": "requests", "tokens": "tokens_in", "input_tokens": "tokens_in", "output_tokens": "0"}
ANSWERED = {"requests": "0", "tokens": "tokens_out", "input_tokens": "0", "output_tokens": "tokens_out"}


def in_use(reader: Reader, windows: Mapping[str, float], now: float) -> dict[str, float]:
    """The use of each limit by dotted name. `openai.requests`: used and reserved in the last `windows[name]`
    seconds; `openai.concurrent`: calls in progress."""
    found: dict[str, float] = {}
    for name, seconds in windows.items():
        provider, _, limit = name.partition(".")
        if limit == "concurrent":
            sql = "SELECT count(*) FROM reservations WHERE provider = ? AND released IS NULL"
            rows = reader.select(sql, (provider,))
        else:
            rows = reader.select(_sql(SENT[limit], ANSWERED[limit]), (provider, now - seconds, now - seconds))
        found[name] = float(rows[0][0]) if rows else 0.0
    return found


def _sql(sent: str, answered: str) -> str:
    """A call in progress counts with its expected answer, where there is an expectation."""
    likely = answered if answered == "0" else "coalesce(min(likely, tokens_out), tokens_out)"
    each = f"{sent} + CASE WHEN released IS NULL THEN {likely} ELSE {answered} END"
    return (
        f"SELECT coalesce(sum({each}), 0)"
        " FROM reservations WHERE provider = ? AND (at > ? OR released > ? OR released IS NULL)"
    )
