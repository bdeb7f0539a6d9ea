"""The sliding log: in no window is a limit exceeded, and it is used while there is work."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentdeck.limits.output_reservation import OutputForecast
from agentdeck.limits.rate_window import NEVER, CallEntry, LimitReached, RateWindow
from agentdeck.limits.reservations import LATEST, RESERVED, SENT, Amounts
from agentdeck.workflow.model import ProviderLimits, Rate

LIMITS = ProviderLimits(requests=Rate(5, 10.0), tokens=Rate(100, 10.0), output_tokens=Rate(60, 4.0))


def ended(at: float, *want: int) -> CallEntry:
    return CallEntry(at, Amounts(*want), ended=at)


def live(at: float, *want: int) -> CallEntry:
    """A call whose answer has begun."""
    return CallEntry(at, Amounts(*want))


def test_what_is_full_tells_why_and_when() -> None:
    window = RateWindow()
    limits = ProviderLimits(requests=Rate(2, 10.0), tokens=Rate(100, 20.0), concurrent=3)
    assert window.full(Amounts(1, 30, 10), limits, 0.0) is None
    window.put(1, ended(0.0, 1, 30, 10))
    window.put(2, ended(1.0, 1, 30, 10))
    assert window.full(Amounts(1, 1, 1), limits, 1.0) == LimitReached("requests", 10.1)
    assert window.full(Amounts(1, 30, 10), limits, 1.0) == LimitReached("tokens", 20.2)
    window.put(2, ended(1.0, 1, 10, 10))
    assert window.full(Amounts(1, 30, 10), limits, 1.0) == LimitReached("requests", 10.1)
    for number in (3, 4, 5):
        window.put(number, live(1.0, 0, 0, 0))
    assert window.full(Amounts(1, 1, 1), limits, 60.0) == LimitReached("concurrent", NEVER)


def test_a_request_counts_as_now_until_it_was_sent_and_the_answer_has_begun() -> None:
    window, limits = RateWindow(), ProviderLimits(requests=Rate(1, 10.0))
    window.put(1, CallEntry(0.0, Amounts(), RESERVED))
    assert window.full(Amounts(), limits, 1000.0) is not None, "it was not sent in all that time"
    window.put(1, CallEntry(1000.0 + LATEST, Amounts(), SENT))
    assert window.full(Amounts(), limits, 1010.1 + LATEST - 0.1) is not None
    assert window.full(Amounts(), limits, 1010.1 + LATEST) is None, (
        "the server has counted it, though it is silent"
    )
    window.put(1, live(1001.0))
    assert window.full(Amounts(), limits, 1011.0) is not None
    assert window.full(Amounts(), limits, 1011.1) is None, "it is under way still, and counted from its answer"


def test_one_that_is_not_sent_may_soon_be_free_so_it_is_looked_at_again_before_its_window_ends() -> None:
    window, limits = RateWindow(), ProviderLimits(requests=Rate(1, 60.0))
    window.put(1, CallEntry(0.0, Amounts(), RESERVED))
    full = window.full(Amounts(), limits, 5.0)
    assert full is not None
    assert 5.0 < full.until <= 6.0


def test_output_counts_while_it_is_said_and_for_a_window_from_its_end() -> None:
    window, limits = RateWindow(), ProviderLimits(output_tokens=Rate(100, 10.0))
    window.put(1, live(0.0, 1, 0, 60))
    assert window.full(Amounts(1, 0, 50), limits, 30.0) is not None, "it may have said all of it just now"
    window.put(1, CallEntry(0.0, Amounts(1, 0, 60), ended=31.0))
    assert window.full(Amounts(1, 0, 50), limits, 41.0) is not None
    assert window.full(Amounts(1, 0, 50), limits, 41.1) is None


def test_what_is_not_said_yet_must_fit_by_the_time_it_is_said() -> None:
    limits = ProviderLimits(output_tokens=Rate(100, 10.0))
    slow, fast = OutputForecast(0, 5.0, 90.0, 0.0, 10.0), OutputForecast(0, 5.0, 90.0, 0.0, 300.0)
    for forecast, fits in ((slow, True), (fast, False)):
        window = RateWindow()
        window.put(1, CallEntry(-6.0, Amounts(1, 0, 60), ended=-4.5))  # until 5.6
        found = window.full(Amounts(1, 0, 90), limits, 5.0, forecast=forecast)
        assert (found is None) == fits


def test_answers_that_are_likely_short_are_reserved_as_long_as_they_may_become() -> None:
    window, limits = RateWindow(), ProviderLimits(output_tokens=Rate(1000, 10.0))
    admitted = 0
    while (
        window.full(Amounts(1, 0, 100), limits, 0.0, forecast=(f := OutputForecast(0, 0.0, 5.0, 1.0, 1000.0)))
        is None
    ):
        window.put(admitted, CallEntry(0.0, Amounts(1, 0, 100), RESERVED, None, f))
        admitted += 1
    assert admitted == 10


def test_a_little_is_kept_free_for_prompts_that_come_to_more_than_was_reserved() -> None:
    limits, window = ProviderLimits(tokens=Rate(1000, 10.0)), RateWindow()
    window.put(1, live(0.0, 1, 900, 0))
    assert window.full(Amounts(1, 100, 0), limits, 1.0) is None
    assert window.full(Amounts(1, 100, 0), limits, 1.0, Amounts(0, 5, 0)) is not None
    assert window.full(Amounts(1, 70, 0), limits, 1.0, Amounts(0, 500, 0)) is None


def test_more_than_a_whole_limit_is_taken_as_the_whole() -> None:
    window = RateWindow()
    limits = ProviderLimits(tokens=Rate(100, 10.0))
    assert window.full(Amounts(1, 900, 0), limits, 0.0) is None
    window.put(1, ended(0.0, 1, 1, 0))
    assert window.full(Amounts(1, 900, 0), limits, 0.0) == LimitReached("tokens", 10.1)


def test_a_limit_of_nothing_lets_nobody_through() -> None:
    for limits in (ProviderLimits(requests=Rate(0, 10.0)), ProviderLimits(tokens=Rate(0, 10.0))):
        full = RateWindow().full(Amounts(1, 0, 0), limits, 0.0)
        assert full is not None
        assert full.until == NEVER
    assert RateWindow().full(Amounts(1, 0, 0), ProviderLimits(concurrent=0), 0.0) == LimitReached(
        "concurrent", NEVER
    )


def test_entries_are_forgotten_once_no_window_reaches_them() -> None:
    window = RateWindow()
    for number in range(1000):
        window.put(number, ended(float(number), 1, 1, 1))
        window.full(Amounts(), LIMITS, float(number))
    assert len(window) <= 12
    assert window.used("requests", 10.0, 2000.0) == 0


@given(
    wants=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 70), st.floats(0.1, 1.0)), max_size=80),
    lowered=st.one_of(st.none(), st.integers(5, 60)),
)
def test_in_no_window_is_a_limit_exceeded(wants: list[tuple[int, int, float]], lowered: int | None) -> None:
    """Callers take whatever the log gives as soon as it gives it, and use less than was reserved."""
    window, now, limits = RateWindow(), 0.0, LIMITS
    sent: list[tuple[float, Amounts]] = []
    for number, (tokens_in, tokens_out, share) in enumerate(wants):
        if number == lowered:
            limits = ProviderLimits(requests=Rate(3, 10.0), tokens=Rate(90, 10.0), output_tokens=Rate(60, 4.0))
        want = Amounts(1, tokens_in, min(60, tokens_out))
        if (full := window.full(want, limits, now)) is not None:
            assert full.until > now
            now = full.until
            assert window.full(want, limits, now) is None, "it is free when it was said to be"
        used = Amounts(1, int(tokens_in * share), int(want.tokens_out * share))
        window.put(number, CallEntry(now, want, RESERVED))
        window.put(number, CallEntry(now, used, ended=now))
        sent.append((now, used))
        for rate in ("requests", "tokens", "output_tokens"):
            limit = getattr(limits, rate)
            inside = [w for at, w in sent if at > now - limit.seconds]
            assert sum(w.at_request(rate) + w.at_answer(rate) for w in inside) <= limit.count


def test_the_limit_is_used_while_there_is_work() -> None:
    window, now, limits = RateWindow(), 0.0, ProviderLimits(requests=Rate(50, 60.0), tokens=Rate(30_000, 60.0))
    granted = 0
    while now < 3600:
        while (full := window.full(Amounts(1, 300, 200), limits, now)) is None:
            window.put(granted, ended(now, 1, 300, 200))
            granted += 1
        now = full.until
    assert granted >= 0.95 * 50 * 60
