"""What a provider's limits leave room for: an exact sliding log of what was reserved and used.

In no window of a rate's length do the counted entries exceed it, as the provider's server counts them. When that
is, is known only within bounds: a server counts a request after its last byte was written and before its answer
begins. So an entry counts as now from its reservation until the answer has begun, and for one window from then.
Output tokens are counted while they are generated, or when the answer ends: see
`agentdeck.limits.output_reservation`.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from heapq import heappop, heappush, merge
from itertools import accumulate, islice
from typing import NamedTuple

from agentdeck.limits.output_reservation import OpenOutput, OutputForecast
from agentdeck.workflow.model import ProviderLimits, Rate

#: Clocks do not run alike, so windows are kept longer than they are: by this share of them, short ones by more,
#: up to so many seconds.
STRETCH, SHORT, LATE = 0.01, 0.03, 0.05
#: A server that was sent a whole request has counted it within so many seconds, even if its answer begins later.
#: Some are slow to accept a connection; those that think for minutes before they answer have counted before that.
LATEST = 2.0
#: At most this share of a limit is kept free for prompts that turn out longer than their estimate.
SAFE = 0.03
#: What is under way may end sooner than expected: look again after this share of the window.
LOOK = 1 / 60
#: At most so many moments ahead are looked at, see `_RateCount._fits_from`.
MOMENTS = 100
#: Sums of seconds since the epoch are exact to less than this.
ROUNDING = 1e-6
RATES = ("requests", "tokens", "input_tokens", "output_tokens")
NEVER = float("inf")

#: How far a call is. RESERVED: not sent, so it counts as now, however long that lasts. SENT: its whole request
#: was written, so it counts from LATEST after that, unless its answer begins earlier. COUNTED: from a known
#: moment.
RESERVED, SENT, COUNTED = 0, 1, 2


class Amounts(NamedTuple):
    """What one call is reserved for."""

    requests: int = 1
    tokens_in: int = 0
    tokens_out: int = 0

    def sent(self, rate: str) -> int:
        """How much of it counts for a rate from when the request was counted."""
        if rate == "requests":
            return self.requests
        return 0 if rate == "output_tokens" else self.tokens_in

    def said(self, rate: str) -> int:
        """How much of it counts for a rate from when the answer ended."""
        return self.tokens_out if rate in SAID else 0


#: Rates that count what an answer says.
SAID = ("tokens", "output_tokens")
NOTHING = Amounts(0)


class CallEntry(NamedTuple):
    """A call. Its request and prompt count from `at`, see the stages. `ended`: when its answer did, from when its
    output tokens count; None while it is under way, when `want` has the most that it can say."""

    at: float
    want: Amounts
    stage: int = COUNTED
    ended: float | None = None
    forecast: OutputForecast | None = None


class LimitReached(NamedTuple):
    """It does not fit now: why (requests, tokens, concurrent), and when it is worth asking again. NEVER: only
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


def counts_output(limits: ProviderLimits) -> bool:
    """Whether it matters to these limits how long an answer becomes."""
    return limits.tokens is not None or limits.output_tokens is not None


class RateWindow:
    """The log of one provider. Entries are added, replaced under their number, and forgotten when they are older
    than any window that was ever asked about."""

    def __init__(self) -> None:
        self._entries: dict[int, CallEntry] = {}
        self._counts: dict[tuple[str, float], _RateCount] = {}
        self._old: list[tuple[float, int]] = []
        self.live: dict[int, CallEntry] = {}
        self.open: set[int] = set()
        self.longest = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, number: int, entry: CallEntry) -> None:
        """Add an entry, or replace what it was before."""
        before = self._entries.get(number)
        self._entries[number] = entry
        if entry.ended is None:
            self.live[number] = entry
        else:
            self.live.pop(number, None)
            heappush(self._old, (max(entry.at, entry.ended), number))
        if entry.stage == RESERVED and entry.ended is None:
            self.open.add(number)
        else:
            self.open.discard(number)
        for count in self._counts.values():
            count.put(number, entry, before)

    def full(
        self,
        want: Amounts,
        limits: ProviderLimits,
        now: float,
        more: Amounts = NOTHING,
        forecast: OutputForecast | None = None,
    ) -> LimitReached | None:
        """What is in the way of one more call; None where it fits.

        More than a whole limit is taken as the whole of it: else it would never fit. A limit of nothing lets
        nothing through. The prompts under way may each have so much `more` tokens than was reserved for them: a
        small share of the limit is kept free for that.
        """
        found: LimitReached | None = None
        for rate in RATES:
            limit: Rate | None = getattr(limits, rate)
            if limit is not None:
                spare = min(more.sent(rate) * (len(self.live) + 1), SAFE * limit.count)
                count = self._count(rate, limit.seconds, now)
                until = NEVER
                if limit.count > 0:
                    until = count.free_at(want, forecast, limit.count - spare, now)
                if now < until < NEVER and (self.open or (rate in SAID and self.live)):
                    until = min(until, now + LOOK * limit.seconds)
                if until > now and (found is None or until > found.until):
                    found = LimitReached("requests" if rate == "requests" else "tokens", until)
        self._forget(now - self.longest)
        most = limits.concurrent
        if isinstance(most, int) and len(self.live) >= most:
            found = LimitReached("concurrent", NEVER)
        return found

    def used(self, rate: str, seconds: float, now: float) -> float:
        """How much counts now, in a window of so many seconds, of requests that were sent and answers that
        ended."""
        count = self._count(rate, seconds, now)
        return count.sent.total + count.said.total

    def _count(self, rate: str, seconds: float, now: float) -> _RateCount:
        count = self._counts.get((rate, seconds))
        if count is None:
            count = self._counts[rate, seconds] = _RateCount(rate, stretched(seconds), self.live)
            for number, entry in self._entries.items():
                count.put(number, entry, None)
            self.longest = max(self.longest, stretched(seconds))
        count.forget(now)
        return count

    def _forget(self, before: float) -> None:
        while self._old and self._old[0][0] <= before:
            at, number = heappop(self._old)
            entry = self._entries.get(number)
            if entry is not None and entry.ended is not None and max(entry.at, entry.ended) == at:
                del self._entries[number]


class _RateCount:
    """How much counts for one rate, in one window of fixed length: what was sent, what was said by answers that
    have ended, and the latter once more by when they began."""

    __slots__ = ("_live", "_outlook", "begun", "rate", "said", "seconds", "sent")

    def __init__(self, rate: str, seconds: float, live: dict[int, CallEntry]) -> None:
        self.rate = rate
        self.seconds = seconds
        self.sent = _SlidingSum(seconds)
        self.said = _SlidingSum(seconds)
        self.begun = _SlidingSum(seconds)
        self._live = live
        self._outlook: OpenOutput | None = None

    def put(self, number: int, entry: CallEntry, before: CallEntry | None) -> None:
        self.sent.put(number, entry.at, entry.want.sent(self.rate), entry.stage)
        if self.rate not in SAID:
            return
        if entry.ended is not None:
            self.said.put(number, entry.ended, entry.want.said(self.rate))
            self.begun.put(number, entry.at, entry.want.said(self.rate))
        if before is None and entry.ended is None and self._outlook is not None:
            self._outlook.add(entry.want.said(self.rate), entry.forecast, True)
        else:
            self._outlook = None

    def forget(self, now: float) -> None:
        for total in (self.sent, self.said, self.begun):
            total.forget(now)

    def free_at(self, want: Amounts, forecast: OutputForecast | None, count: float, now: float) -> float:
        """When there may be room for one more: the past where there is now, NEVER where there never will be."""
        sent = min(want.sent(self.rate), count)
        if self.rate not in SAID:
            return self.sent.free_at(self.sent.total + sent - count, now)
        most = max(0.0, min(want.said(self.rate), count - sent))
        outlook = self._see(now)
        room = count + 1e-6 - sent
        until = self._fits_from(outlook, most, NEVER if forecast is None else forecast.pace, room)
        started = self.sent.total + self.begun.total + outlook.started.plus(most, forecast).needs
        if started > room:
            until = max(until, _SlidingSum.both_free_at(self.sent, self.begun, started - room, now))
        return until

    def _fits_from(self, outlook: OpenOutput, most: float, pace: float, room: float) -> float:
        """From when on an answer that comes to so much at this pace fits, at every moment ahead.

        The answers under way only grow, and what counts is freed in steps. So between two steps the room is least
        just before the second, and these are the moments to look at. The answer may have said by then what there
        is room for, so it may begin so much earlier.
        """
        if self.sent.never_free + outlook.most + most > room:
            return NEVER  # no passing of time, but only the end of a call makes room
        counts = self.sent.total + self.said.total
        until = -NEVER
        if counts + outlook.most + most <= room:
            return until
        moments = sorted({*self.sent.steps(MOMENTS), *self.said.steps(MOMENTS)})
        for when, said in zip(moments, outlook.said_by(moments), strict=True):
            left = room - counts - said
            if left < most:
                until = max(until, when - max(0.0, left) / pace)
            counts = self.sent.total_at(when) + self.said.total_at(when)
        return until

    def _see(self, now: float) -> OpenOutput:
        outlook = self._outlook
        if outlook is None or outlook.now != now:
            outlook = self._outlook = OpenOutput(now)
            for entry in self._live.values():
                recent = entry.stage == RESERVED or entry.at > now - self.seconds
                outlook.add(entry.want.said(self.rate), entry.forecast, recent)
        return outlook


class _SlidingSum:
    """Amounts, each of which counts for so many seconds from its moment. Those that are RESERVED have none
    yet."""

    __slots__ = ("_amounts", "_ats", "_open", "_order", "_passed", "seconds", "total")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.total = 0.0
        self._amounts: dict[int, float] = {}
        self._ats: dict[int, tuple[float, int]] = {}
        self._order: list[tuple[float, int]] = []
        self._open = 0.0
        self._passed: list[float] = []  # how much the first n of the order come to; empty: not worked out

    def put(self, number: int, at: float, amount: float, stage: int = COUNTED) -> None:
        before = self._ats.get(number)
        if before is not None and before[1] == RESERVED:
            self._open -= self._amounts[number]
        elif before is not None:
            del self._order[bisect_right(self._order, (before[0], number)) - 1]
            self._passed.clear()
        self.total += amount - self._amounts.get(number, 0.0)
        self._amounts[number] = amount
        self._ats[number] = at, stage
        if stage == RESERVED:
            self._open += amount
        else:
            insort(self._order, (at, number))
            self._passed.clear()

    def forget(self, now: float) -> None:
        """Drop what counts no longer."""
        old = bisect_right(self._order, (now - self.seconds + ROUNDING, 0))
        if old:
            for _, number in self._order[:old]:
                del self._ats[number]
                self.total -= self._amounts.pop(number)
            del self._order[:old]
            self._passed.clear()

    def total_at(self, when: float) -> float:
        """How much of it will still count at this moment."""
        if not self._passed:
            self._passed = list(accumulate((self._amounts[number] for _, number in self._order), initial=0.0))
        passed = self._passed[bisect_right(self._order, (when - self.seconds + ROUNDING, 0))]
        return self.total - passed

    @property
    def never_free(self) -> float:
        """How much of it counts until something happens, however long that lasts."""
        return self._open

    def steps(self, most: int) -> Iterator[float]:
        """When it becomes less. Where it does so more often than `most`, only every nth of these moments: what is
        freed between two of them counts until the second."""
        each = -(-len(self._order) // most) or 1
        last = len(self._order) - 1
        for index in range(last % each if last >= 0 else 0, len(self._order), each):
            yield self._order[index][0] + self.seconds

    def free_at(self, over: float, now: float) -> float:
        """When so much less counts."""
        if over <= 1e-9:
            return -NEVER
        for until, amount in self.ends(now):
            over -= amount
            if over <= 1e-9:
                return until
        return NEVER

    def ends(self, now: float) -> Iterator[tuple[float, float]]:
        """When which amounts end to count, in order and at the earliest: one that is sent may be counted any
        moment now. Those that have ended by now are left out."""
        first = bisect_right(self._order, (now - self.seconds, NEVER))
        last = bisect_right(self._order, (now, NEVER))
        for at, number in islice(self._order, first, last):
            yield at + self.seconds, self._amounts[number]
        late = sum(self._amounts[number] for _, number in islice(self._order, last, None))
        yield now + self.seconds, self._open + late

    @staticmethod
    def both_free_at(one: _SlidingSum, other: _SlidingSum, over: float, now: float) -> float:
        """When so much less counts of two together."""
        for until, amount in merge(one.ends(now), other.ends(now)):
            if until > now:
                over -= amount
                if over <= 1e-6:
                    return until
        return NEVER
