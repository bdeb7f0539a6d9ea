"""Calls of a rate with a burst: at most so many at once, then one in every interval."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agentdeck.limits.call_spacing import CallSpacing
from agentdeck.limits.provider_limits import tightest
from agentdeck.limits.rate_window import CallEntry, LimitReached, RateWindow
from agentdeck.limits.reservations import RESERVED, Amounts
from agentdeck.workflow.model import ProviderLimits, Rate

PACED = ProviderLimits(requests=Rate(50, 60.0, 5))
EACH = 60.6 / 50  # the window has a margin of one per cent


def test_the_burst_goes_at_once_and_then_one_in_every_interval() -> None:
    window, now, sent = RateWindow(), 0.0, list[float]()
    for number in range(50):
        while (full := window.full(Amounts(), PACED, now)) is not None:
            assert full.reason == "pace"
            now = full.until
        window.put(number, CallEntry(now, Amounts(), ended=now))
        sent.append(now)
    assert sent[:5] == [0.0] * 5
    gaps = [after - before for before, after in pairwise(sent[4:])]
    assert all(abs(gap - EACH) < 1e-6 for gap in gaps)


def test_a_call_that_is_not_sent_yet_counts_as_now() -> None:
    window, limits = RateWindow(), ProviderLimits(requests=Rate(60, 60.0, 1))
    window.put(1, CallEntry(0.0, Amounts(), RESERVED))
    assert window.full(Amounts(), limits, 5.0) == LimitReached("pace", 6.0), "looked at again each second"
    window.put(1, CallEntry(20.0, Amounts(), ended=30.0, sent=5.2))
    full = window.full(Amounts(), limits, 5.5)
    assert full is not None
    assert full.reason == "pace"
    assert abs(full.until - (5.2 + 1.01)) < 1e-9, "from when it was sent, not from when its answer began"


def test_one_that_was_never_sent_takes_no_room() -> None:
    window, limits = RateWindow(), ProviderLimits(requests=Rate(60, 60.0, 1))
    window.put(1, CallEntry(0.0, Amounts(), RESERVED))
    window.put(1, CallEntry(0.0, Amounts(0, 0, 0), ended=1.0))
    assert window.full(Amounts(), limits, 1.0) is None


def test_another_rate_holds_at_once_and_knows_what_was_sent_before() -> None:
    window = RateWindow()
    for number in range(5):
        window.put(number, CallEntry(0.0, Amounts(), ended=0.0))
    assert window.full(Amounts(), PACED, 0.0) == LimitReached("pace", EACH)
    slower = window.full(Amounts(), ProviderLimits(requests=Rate(6, 60.0, 5)), 1.0)
    assert slower is not None
    assert abs(slower.until - 60.6 / 6) < 1e-6
    assert window.full(Amounts(), ProviderLimits(requests=Rate(50, 60.0)), 1.0) is None


def test_a_prompt_longer_than_the_burst_counts_as_the_whole_burst() -> None:
    window, limits = RateWindow(), ProviderLimits(input_tokens=Rate(6000, 60.0, 500))
    assert window.full(Amounts(1, 3000, 0), limits, 0.0) is None
    window.put(1, CallEntry(0.0, Amounts(1, 400, 0), ended=0.0))
    assert window.full(Amounts(1, 100, 0), limits, 0.0) is None
    assert window.full(Amounts(1, 300, 0), limits, 0.0) == LimitReached("pace", 200 * 60.6 / 6000)


def test_the_smaller_burst_and_the_lower_rate_hold_together() -> None:
    deck, own = ProviderLimits(requests=Rate(50, 60.0, 5)), ProviderLimits(requests=Rate(20, 60.0))
    assert tightest(deck, own).requests == Rate(20, 60.0, 5)
    assert tightest(deck, ProviderLimits(requests=Rate(90, 60.0, 2))).requests == Rate(50, 60.0, 2)
    assert tightest(deck, ProviderLimits(requests=Rate(3, 3600.0))).requests == Rate(3, 3600.0, 3)


@given(
    st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 2.0)), min_size=1, max_size=60),
    st.integers(1, 6),
    st.sampled_from([2.0, 7.0, 30.0]),
)
def test_no_more_than_the_burst_and_the_rate_in_any_time(
    calls: list[tuple[float, float]], burst: int, seconds: float
) -> None:
    """Each call comes a while after the one before, and is sent a while after it was reserved."""
    window, now, limits = RateWindow(), 0.0, ProviderLimits(requests=Rate(10, seconds, burst))
    sent: list[float] = []
    later: list[tuple[float, int]] = []

    def send(until: float) -> None:
        while later and min(later)[0] <= until:
            at, number = min(later)
            later.remove((at, number))
            sent.append(at)
            window.put(number, CallEntry(at, Amounts(), ended=at, sent=at))

    for number, (pause, prepares) in enumerate(calls):
        now += pause
        send(now)
        while (full := window.full(Amounts(), limits, now)) is not None:
            assert full.until > now
            now = full.until
            send(now)
        window.put(number, CallEntry(now, Amounts(), RESERVED))
        later.append((now + prepares, number))
    send(float("inf"))
    for first, begin in enumerate(sent):
        for many, end in enumerate(sent[first:], 1):
            assert many <= burst + (end - begin) * 10 / seconds + 1e-6


def test_it_forgets_what_no_window_reaches() -> None:
    spacing = CallSpacing(10, 10.0)
    for number in range(1000):
        spacing.put(number, float(number), 1.0)
        spacing.free_at(1.0, 3.0, float(number))
    assert len(spacing._order) <= 11
    spacing.put(5, 5.0, 2.0)  # a call that ends now, and was sent long ago
    assert len(spacing._order) <= 11
