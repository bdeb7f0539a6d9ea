"""What a provider's limits leave room for: an exact sliding log of what was reserved and used.

In no window of a rate's length do the counted entries exceed it. An entry counts from the moment it was reserved,
as much as was reserved for it, and once settled from the moment it was sent, as much as it used.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import NamedTuple

from agentdeck.workflow.model import ProviderLimits, Rate

#: What is sent reaches the other side a little later, so windows are kept longer than they are: by this share of
#: them, short ones by more, up to so many seconds.
STRETCH, SHORT, LATE = 0.01, 0.03, 0.05
#: At most this share of a limit is kept free for calls that use more than was reserved for them.
SAFE = 0.03
RATES = ("requests", "tokens", "input_tokens", "output_tokens")
NEVER = float("inf")


class Want(NamedTuple):
    """What one call is reserved for."""

    requests: int = 1
    tokens_in: int = 0
    tokens_out: int = 0

    def of(self, rate: str) -> int:
        """How much of it counts for a rate."""
        if rate == "requests":
            return self.requests
        if rate == "tokens":
            return self.tokens_in + self.tokens_out
        return self.tokens_in if rate == "input_tokens" else self.tokens_out


NOTHING = Want(0)


class Full(NamedTuple):
    """It does not fit now: why (requests, tokens, concurrent), and when it could at the earliest. NEVER: only
    when a call ends or a limit is raised."""

    reason: str
    until: float


def stretched(seconds: float) -> float:
    """How long a window of this length is kept."""
    return seconds + max(STRETCH * seconds, min(LATE, SHORT * seconds))


def longest(limits: ProviderLimits) -> float:
    """How far back these limits look."""
    rates: list[Rate | None] = [getattr(limits, rate) for rate in RATES]
    return max((stretched(rate.seconds) for rate in rates if rate is not None), default=0.0)


class Window:
    """The log of one provider. Entries are added, replaced under their number, and forgotten when they are older
    than any window that was ever asked about."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[float, Want]] = {}
        self._sums: dict[tuple[str, float], _Sum] = {}
        self._old: list[tuple[float, int]] = []
        self.live: set[int] = set()
        self.longest = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, number: int, at: float, want: Want, live: bool) -> None:
        """Take in an entry, or what has become of it. `live`: its call has not ended."""
        self._entries[number] = at, want
        heappush(self._old, (at, number))
        for (rate, _), total in self._sums.items():
            total.put(number, at, want.of(rate))
        if live:
            self.live.add(number)
        else:
            self.live.discard(number)

    def full(self, want: Want, limits: ProviderLimits, now: float, more: Want = NOTHING) -> Full | None:
        """What is in the way of one more call; None where it fits. More than a whole limit is taken as the whole
        of it: else it would never fit. A limit of nothing lets nobody through. What is under way may come to so
        much `more` each than was reserved for it: a small share of the limit is kept free for that."""
        found: Full | None = None
        for rate in RATES:
            limit: Rate | None = getattr(limits, rate)
            if limit is not None:
                spare = min(more.of(rate) * (len(self.live) + 1), SAFE * limit.count)
                room, count = self._sum(rate, limit.seconds, now), limit.count - spare
                until = room.free_at(min(want.of(rate), count), count) if limit.count > 0 else NEVER
                if until > now and (found is None or until > found.until):
                    found = Full("requests" if rate == "requests" else "tokens", until)
        self._forget(now - self.longest)
        most = limits.concurrent
        if isinstance(most, int) and len(self.live) >= most:
            found = Full("concurrent", NEVER)
        return found

    def used(self, rate: str, seconds: float, now: float) -> float:
        """How much counts now, in a window of so many seconds."""
        return self._sum(rate, seconds, now).total

    def _sum(self, rate: str, seconds: float, now: float) -> _Sum:
        total = self._sums.get((rate, seconds))
        if total is None:
            total = self._sums[rate, seconds] = _Sum(stretched(seconds))
            for number, (at, want) in self._entries.items():
                total.put(number, at, want.of(rate))
            self.longest = max(self.longest, stretched(seconds))
        total.forget(now)
        return total

    def _forget(self, before: float) -> None:
        while self._old and self._old[0][0] <= before:
            at, number = heappop(self._old)
            entry = self._entries.get(number)
            if entry is not None and entry[0] == at and number not in self.live:
                del self._entries[number]


class _Sum:
    """How much counts in one window of fixed length."""

    __slots__ = ("_ats", "_counted", "_order", "seconds", "total")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.total = 0.0
        self._counted: dict[int, float] = {}
        self._ats: dict[int, float] = {}
        self._order: list[tuple[float, int]] = []

    def put(self, number: int, at: float, amount: float) -> None:
        self.total += amount - self._counted.get(number, 0.0)
        self._counted[number] = amount
        if self._ats.get(number) != at:
            self._ats[number] = at
            heappush(self._order, (at, number))

    def forget(self, now: float) -> None:
        before = now - self.seconds
        while self._order and self._order[0][0] <= before:
            at, number = heappop(self._order)
            if self._ats.get(number) == at:
                del self._ats[number]
                self.total -= self._counted.pop(number)

    def free_at(self, amount: float, count: float) -> float:
        """When so much more fits: the past where it does now, NEVER where it never will."""
        over = self.total + amount - count
        if over <= 1e-9:
            return -NEVER
        for at, number in sorted(self._live()):
            over -= self._counted[number]
            if over <= 1e-9:
                return at + self.seconds
        return NEVER

    def _live(self) -> Iterable[tuple[float, int]]:
        return ((at, number) for number, at in self._ats.items())
