"""The calls that a provider still takes, by the headers of its last answer: the most for `concurrent: auto`."""

from __future__ import annotations

from agentdeck.limits.reservations import Amounts

NEVER = float("inf")
#: The weight of the last call in what a call uses.
RECENT = 0.2


class HeaderCeiling:
    """What is left of each rate. A provider reports what is left now, and when all of the limit will be there
    again: between the two it grows evenly. Answers of the same moment may come in any order; the last counts."""

    __slots__ = ("_each_in", "_each_out", "_left")

    def __init__(self) -> None:
        #: By the name of the rate: when it was reported, what was left, the limit, and when all of it is there.
        self._left: dict[str, tuple[float, float, float, float]] = {}
        self._each_in = self._each_out = 0.0

    def record(self, at: float, rate: str, limit: float, left: float, reset: float) -> None:
        """An answer that came `at` this time has reported a rate; `reset` is in seconds from then."""
        self._left[rate] = at, left, limit, at + reset

    def record_use(self, used: Amounts) -> None:
        """A call has used this many tokens."""
        first = not self._each_in and not self._each_out
        weight = 1.0 if first else RECENT
        self._each_in += weight * (used.tokens_in - self._each_in)
        self._each_out += weight * (used.tokens_out - self._each_out)

    def calls(self, at: float) -> float:
        """The most calls that may be under way at this time; infinite where nothing is known."""
        found = NEVER
        for rate, (reported, left, limit, full) in self._left.items():
            if at < full:
                there = left + max(0.0, limit - left) * (at - reported) / (full - reported)
                found = min(found, there / self._each(rate))
        return found

    def _each(self, rate: str) -> float:
        """What one call uses of a rate: at least one."""
        if rate == "requests":
            return 1.0
        counted_in = self._each_in if rate != "output_tokens" else 0.0
        counted_out = self._each_out if rate != "input_tokens" else 0.0
        return max(1.0, counted_in + counted_out)
