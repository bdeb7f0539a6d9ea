"""The state of one request to a provider, from its reservation until its use is known: reserved, sent, counted.

A provider's server counts a request at a moment that is known only within bounds: after its last byte was
written, and before its answer begins. Each state says from when the request counts at the latest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

#: The states. RESERVED: not sent, so the request counts as now, however long that lasts. SENT: its last byte was
#: written, so it counts from LATEST seconds after that, unless its answer begins earlier. COUNTED: from a known
#: time.
RESERVED, SENT, COUNTED = 0, 1, 2
#: Seconds within which a server has counted a request that was sent, even if its answer begins later. Some
#: servers are slow to accept a connection; those that compute for minutes before they answer have counted before
#: that.
LATEST = 2.0

#: Rates that count the tokens of answers.
OUTPUT_RATES = ("tokens", "output_tokens")


class Amounts(NamedTuple):
    """What one request takes of a provider's limits: reserved before, used afterwards."""

    requests: int = 1
    tokens_in: int = 0
    tokens_out: int = 0

    def at_request(self, rate: str) -> int:
        """How much of it counts for a rate from when the request was counted."""
        if rate == "requests":
            return self.requests
        return 0 if rate == "output_tokens" else self.tokens_in

    def at_answer(self, rate: str) -> int:
        """How much of it counts for a rate from when the answer ended."""
        return self.tokens_out if rate in OUTPUT_RATES else 0


NOTHING = Amounts(0)


@dataclass(slots=True)
class RequestProgress:
    """How far a request is. `sent_at` is when its last byte was written, `answered_at` when its answer began,
    `first_text_at` when the first text of it arrived, which was `first_characters` long. `characters` is the
    length of the answer so far. `counts_from` and `spaced_from`, when it was sent at the latest, are set when the
    request has ended. `refused`: the server has too many requests."""

    sent_at: float | None = None
    answered_at: float | None = None
    first_text_at: float | None = None
    first_characters: int = 0
    characters: int = 0
    counts_from: float = 0.0
    spaced_from: float = 0.0
    refused: bool = False

    @property
    def state(self) -> tuple[int, float]:
        """RESERVED, SENT or COUNTED, and from when the request counts at the latest."""
        if self.answered_at is not None:
            return COUNTED, self.answered_at
        return (RESERVED, 0.0) if self.sent_at is None else (SENT, self.sent_at + LATEST)

    def add_text(self, at: float, characters: int) -> None:
        """The answer has this many characters now."""
        if self.first_text_at is None:
            self.first_text_at, self.first_characters = at, characters
        self.characters = characters

    def end(self, at: float, *, answered: bool) -> None:
        """The request has ended. `answered`: the server has responded, so it has counted the request. If not, a
        request that is not known to be sent may have been written in part, and that part may have been all of
        it."""
        self.spaced_from = at if self.sent_at is None else self.sent_at
        if self.answered_at is not None:
            self.counts_from = self.answered_at
        elif answered:
            self.counts_from = at
        else:
            self.counts_from = (at if self.sent_at is None else self.sent_at) + LATEST
