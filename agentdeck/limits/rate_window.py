"""An exact sliding log of the calls to one provider, and whether its limits leave room for one more.

In no window of a rate's length do the calls exceed the rate, as the provider's server counts them. A server
counts a request at some time between its last byte and the beginning of its answer. So a call counts as now from
its reservation until its answer has begun, and for one window from then on. Output tokens are counted while they
are generated, or when the answer ends: see `agentdeck.limits.output_reservation`. Calls of a rate with a burst
are spaced out by when their requests are sent: see `agentdeck.limits.call_spacing`."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from heapq import heappop, heappush, merge
from itertools import accumulate, islice
from typing import NamedTuple

from agentdeck.limits.call_spacing import CallSpacing
from agentdeck.limits.output_reservation import OpenOutput, OutputForecast
from agentdeck.limits.reservations import COUNTED, NOTHING, OUTPUT_RATES, RESERVED, Amounts
from agentdeck.workflow.model import ProviderLimits, Rate

#: A server's clock may run faster than ours, so each window is extended: by STRETCH of its length, short ones by
#: SHORT of it, up to LATE seconds.
STRETCH, SHORT, LATE = 0.01, 0.03, 0.05
#: The largest share of a limit that is kept free for prompts that turn out longer than their estimate.
SAFE = 0.03
#: A call under way may end sooner than expected: check again after this share of the window.
LOOK = 1 / 60
#: The largest number of moments ahead that are checked, see `_RateCount._fits_from`.
MOMENTS = 100
#: Seconds. Sums of times since the epoch are exact to less than this.
ROUNDING = 1e-6
RATES = ("requests", "tokens", "input_tokens", "output_tokens")
NEVER = float("inf")


class CallEntry(NamedTuple):
    """A call. Its request and prompt count from `at`, depending on its stage. `ended` is when its answer ended,
    from when its output tokens count; None while it is under way, when `want` holds the longest possible
    answer. `sent` is when its request was sent; None: when it counts."""

    at: float
    want: Amounts
    stage: int = COUNTED
    ended: float | None = None
    forecast: OutputForecast | None = None
    sent: float | None = None

    @property
    def sent_at(self) -> float | None:
        """When its request was sent; None while it is reserved."""
        if self.stage == RESERVED and self.ended is None:
            return None
        return self.at if self.sent is None else self.sent


class LimitReached(NamedTuple):
    """A call does not fit now: what is in the way (requests, tokens, pace, concurrent), and when to try again.
    `pace` is the burst of a rate. NEVER: not before another call ends or a limit is raised."""

    reason: str
    until: float


def stretched(seconds: float) -> float:
    """The length of a window with its safety margin."""
    return seconds + max(STRETCH * seconds, min(LATE, SHORT * seconds))


def longest(limits: ProviderLimits) -> float:
    """Seconds of the longest window of these limits."""
    rates: list[Rate | None] = [getattr(limits, rate) for rate in RATES]
    return max((stretched(rate.seconds) for rate in rates if rate is not None), default=0.0)


def counts_output(limits: ProviderLimits) -> bool:
    """Whether the length of an answer counts for any of these limits."""
    return limits.tokens is not None or limits.output_tokens is not None


class RateWindow:
    """The log of one provider. Entries are added, replaced under their number, and dropped when they are older
    than every window that was ever checked. `live` are the calls under way, `open` those of them not sent
    yet."""

    def __init__(self) -> None:
        self._entries: dict[int, CallEntry] = {}
        self._counts: dict[tuple[str, float], _RateCount] = {}
        self._spacings: dict[str, tuple[Rate, CallSpacing]] = {}  # by the name of the rate
        self._old: list[tuple[float, int]] = []
        self.live: dict[int, CallEntry] = {}
        self.open: set[int] = set()
        self.longest = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, number: int, entry: CallEntry) -> None:
        """Add an entry, or replace the one with this number."""
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
        for name, (_, spacing) in self._spacings.items():
            spacing.put(number, entry.sent_at, entry.want.at_request(name))

    def full(
        self,
        want: Amounts,
        limits: ProviderLimits,
        now: float,
        more: Amounts = NOTHING,
        forecast: OutputForecast | None = None,
    ) -> LimitReached | None:
        """The limit that leaves no room for one more call; None where the call fits.

        A call that needs more than a whole limit is counted as the whole limit, or it would never fit. A limit
        of 0 admits nothing. Each prompt under way may take up to `more` tokens beyond its reservation: a small
        share of the limit is kept free for that."""
        found: LimitReached | None = None
        for rate in RATES:
            limit: Rate | None = getattr(limits, rate)
            if limit is not None:
                spare = min(more.at_request(rate) * (len(self.live) + 1), SAFE * limit.count)
                count = self._count(rate, limit.seconds, now)
                until = NEVER
                if limit.count > 0:
                    until = count.free_at(want, forecast, limit.count - spare, now)
                unsure = bool(self.open or (rate in OUTPUT_RATES and self.live))
                found = _later(found, "requests" if rate == "requests" else "tokens", until, limit, now, unsure)
                if limit.burst is not None:
                    until = self._spacing(rate, limit).free_at(want.at_request(rate), limit.burst, now)
                    found = _later(found, "pace", until, limit, now, bool(self.open))
        self._forget(now - self.longest)
        most = limits.concurrent
        if isinstance(most, int) and len(self.live) >= most:
            found = LimitReached("concurrent", NEVER)
        return found

    def used(self, rate: str, seconds: float, now: float) -> float:
        """The amount of a rate that counts now, in a window of this length: of requests sent and answers
        ended."""
        count = self._count(rate, seconds, now)
        return count.sent.total + count.answered.total

    def _count(self, rate: str, seconds: float, now: float) -> _RateCount:
        count = self._counts.get((rate, seconds))
        if count is None:
            count = self._counts[rate, seconds] = _RateCount(rate, stretched(seconds), self.live)
            for number, entry in self._entries.items():
                count.put(number, entry, None)
            self.longest = max(self.longest, stretched(seconds))
        count.forget(now)
        return count

    def _spacing(self, rate: str, limit: Rate) -> CallSpacing:
        """The spacing of a rate. Another value of the limit replaces the one before, whatever its burst."""
        known = self._spacings.get(rate)
        if known is not None and (known[0].count, known[0].seconds) == (limit.count, limit.seconds):
            return known[1]
        spacing = CallSpacing(limit.count, stretched(limit.seconds))
        for number, entry in sorted(self._entries.items(), key=_when_sent):
            spacing.put(number, entry.sent_at, entry.want.at_request(rate))
        self._spacings[rate] = limit, spacing
        return spacing

    def _forget(self, before: float) -> None:
        while self._old and self._old[0][0] <= before:
            at, number = heappop(self._old)
            entry = self._entries.get(number)
            if entry is not None and entry.ended is not None and max(entry.at, entry.ended) == at:
                del self._entries[number]


def _when_sent(numbered: tuple[int, CallEntry]) -> float:
    sent = numbered[1].sent_at
    return NEVER if sent is None else sent


def _later(
    found: LimitReached | None, reason: str, until: float, limit: Rate, now: float, unsure: bool
) -> LimitReached | None:
    """The one of two limits that holds a call back for longer. `unsure`: calls under way may make room before."""
    if unsure and now < until < NEVER:
        until = min(until, now + LOOK * limit.seconds)
    return LimitReached(reason, until) if until > now and (found is None or until > found.until) else found


class _RateCount:
    """The amounts that count for one rate in a window of fixed length: `sent` of requests, `answered` of answers
    that have ended, and `begun` of the same answers by when they began."""

    __slots__ = ("_live", "_outlook", "answered", "begun", "rate", "seconds", "sent")

    def __init__(self, rate: str, seconds: float, live: dict[int, CallEntry]) -> None:
        self.rate = rate
        self.seconds = seconds
        self.sent = _SlidingSum(seconds)
        self.answered = _SlidingSum(seconds)
        self.begun = _SlidingSum(seconds)
        self._live = live
        self._outlook: OpenOutput | None = None

    def put(self, number: int, entry: CallEntry, before: CallEntry | None) -> None:
        self.sent.put(number, entry.at, entry.want.at_request(self.rate), entry.stage)
        if self.rate not in OUTPUT_RATES:
            return
        if entry.ended is not None:
            self.answered.put(number, entry.ended, entry.want.at_answer(self.rate))
            self.begun.put(number, entry.at, entry.want.at_answer(self.rate))
        if before is None and entry.ended is None and self._outlook is not None:
            self._outlook.add(entry.want.at_answer(self.rate), entry.forecast, True)
        else:
            self._outlook = None

    def forget(self, now: float) -> None:
        for total in (self.sent, self.answered, self.begun):
            total.forget(now)

    def free_at(self, want: Amounts, forecast: OutputForecast | None, count: float, now: float) -> float:
        """When there may be room for one more call: a past time where there is room now, NEVER where the passing
        of time makes none."""
        sent = min(want.at_request(self.rate), count)
        if self.rate not in OUTPUT_RATES:
            return self.sent.free_at(self.sent.total + sent - count, now)
        most = max(0.0, min(want.at_answer(self.rate), count - sent))
        outlook = self._see(now)
        room = count + 1e-6 - sent
        until = self._fits_from(outlook, most, NEVER if forecast is None else forecast.pace, room)
        started = self.sent.total + self.begun.total + outlook.started.plus(most, forecast).needs
        if started > room:
            until = max(until, _SlidingSum.both_free_at(self.sent, self.begun, started - room, now))
        return until

    def _fits_from(self, outlook: OpenOutput, most: float, pace: float, room: float) -> float:
        """From when on an answer of this length, growing at this pace, fits at every moment ahead.

        The answers under way only grow, and the window frees amounts in steps. So between two steps the room is
        smallest just before the second, and only these moments need to be checked. Until then the answer can have
        grown to the room that is left, so it may begin that much earlier.
        """
        if self.sent.never_free + outlook.most + most > room:
            return NEVER  # only the end of a call makes room
        counts = self.sent.total + self.answered.total
        until = -NEVER
        if counts + outlook.most + most <= room:
            return until
        moments = sorted({*self.sent.steps(MOMENTS), *self.answered.steps(MOMENTS)})
        for when, generated in zip(moments, outlook.generated_by(moments), strict=True):
            left = room - counts - generated
            if left < most:
                until = max(until, when - max(0.0, left) / pace)
            counts = self.sent.total_at(when) + self.answered.total_at(when)
        return until

    def _see(self, now: float) -> OpenOutput:
        outlook = self._outlook
        if outlook is None or outlook.now != now:
            outlook = self._outlook = OpenOutput(now)
            for entry in self._live.values():
                recent = entry.stage == RESERVED or entry.at > now - self.seconds
                outlook.add(entry.want.at_answer(self.rate), entry.forecast, recent)
        return outlook


class _SlidingSum:
    """A sum of amounts, each of which counts for `seconds` from its time. RESERVED ones have no time yet, and
    count as now."""

    __slots__ = ("_amounts", "_ats", "_open", "_order", "_passed", "seconds", "total")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.total = 0.0
        self._amounts: dict[int, float] = {}
        self._ats: dict[int, tuple[float, int]] = {}
        self._order: list[tuple[float, int]] = []
        self._open = 0.0
        self._passed: list[float] = []  # running sums over the order; empty: to be computed

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
        """Drop the amounts that no longer count."""
        old = bisect_right(self._order, (now - self.seconds + ROUNDING, 0))
        if old:
            for _, number in self._order[:old]:
                del self._ats[number]
                self.total -= self._amounts.pop(number)
            del self._order[:old]
            self._passed.clear()

    def total_at(self, when: float) -> float:
        """The part of the sum that still counts at this time."""
        if not self._passed:
            self._passed = list(accumulate((self._amounts[number] for _, number in self._order), initial=0.0))
        passed = self._passed[bisect_right(self._order, (when - self.seconds + ROUNDING, 0))]
        return self.total - passed

    @property
    def never_free(self) -> float:
        """The part of the sum that the passing of time does not free."""
        return self._open

    def steps(self, most: int) -> Iterator[float]:
        """The times at which the sum decreases. With more than `most` of them, every nth: amounts freed between
        two of these times then count until the second."""
        each = -(-len(self._order) // most) or 1
        last = len(self._order) - 1
        for index in range(last % each if last >= 0 else 0, len(self._order), each):
            yield self._order[index][0] + self.seconds

    def free_at(self, over: float, now: float) -> float:
        """When the sum has decreased by this amount."""
        if over <= 1e-9:
            return -NEVER
        for until, amount in self.ends(now):
            over -= amount
            if over <= 1e-9:
                return until
        return NEVER

    def ends(self, now: float) -> Iterator[tuple[float, float]]:
        """The times, in order, at which amounts cease to count at the earliest: a request that was sent may be
        counted at any time from now. Amounts that no longer count are left out."""
        first = bisect_right(self._order, (now - self.seconds, NEVER))
        last = bisect_right(self._order, (now, NEVER))
        for at, number in islice(self._order, first, last):
            yield at + self.seconds, self._amounts[number]
        late = sum(self._amounts[number] for _, number in islice(self._order, last, None))
        yield now + self.seconds, self._open + late

    @staticmethod
    def both_free_at(one: _SlidingSum, other: _SlidingSum, over: float, now: float) -> float:
        """When two sums together have decreased by this amount."""
        for until, amount in merge(one.ends(now), other.ends(now)):
            if until > now:
                over -= amount
                if over <= 1e-6:
                    return until
        return NEVER
