"""The sliding log: in no window is a limit exceeded, and it is used while there is work."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agentdeck.core.window import NEVER, Full, Want, Window
from agentdeck.workflow.model import ProviderLimits, Rate

LIMITS = ProviderLimits(requests=Rate(5, 10.0), tokens=Rate(100, 10.0), output_tokens=Rate(60, 4.0))


def test_what_is_full_tells_why_and_when() -> None:
    window = Window()
    limits = ProviderLimits(requests=Rate(2, 10.0), tokens=Rate(100, 20.0), concurrent=3)
    assert window.full(Want(1, 30, 10), limits, 0.0) is None
    window.put(1, 0.0, Want(1, 30, 10), True)
    window.put(2, 1.0, Want(1, 30, 10), True)
    assert window.full(Want(1, 1, 1), limits, 1.0) == Full("requests", 10.1)
    assert window.full(Want(1, 30, 10), limits, 1.0) == Full("tokens", 20.2)
    window.put(2, 1.0, Want(1, 10, 10), False)
    assert window.full(Want(1, 30, 10), limits, 1.0) == Full("requests", 10.1)
    window.put(3, 1.0, Want(0, 0, 0), True)
    window.put(4, 1.0, Want(0, 0, 0), True)
    assert window.full(Want(1, 1, 1), limits, 60.0) == Full("concurrent", NEVER)


def test_a_little_is_kept_free_for_calls_that_come_to_more_than_was_reserved() -> None:
    limits, window = ProviderLimits(tokens=Rate(1000, 10.0)), Window()
    window.put(1, 0.0, Want(1, 0, 900), True)
    assert window.full(Want(1, 0, 100), limits, 1.0) is None
    assert window.full(Want(1, 0, 100), limits, 1.0, Want(0, 0, 5)) is not None
    assert window.full(Want(1, 0, 70), limits, 1.0, Want(0, 0, 500)) is None


def test_more_than_a_whole_limit_is_taken_as_the_whole() -> None:
    window = Window()
    limits = ProviderLimits(tokens=Rate(100, 10.0))
    assert window.full(Want(1, 900, 0), limits, 0.0) is None
    window.put(1, 0.0, Want(1, 1, 0), False)
    assert window.full(Want(1, 900, 0), limits, 0.0) == Full("tokens", 10.1)


def test_a_limit_of_nothing_lets_nobody_through() -> None:
    for limits in (ProviderLimits(requests=Rate(0, 10.0)), ProviderLimits(tokens=Rate(0, 10.0))):
        full = Window().full(Want(1, 0, 0), limits, 0.0)
        assert full is not None
        assert full.until == NEVER
    assert Window().full(Want(1, 0, 0), ProviderLimits(concurrent=0), 0.0) == Full("concurrent", NEVER)


def test_entries_are_forgotten_once_no_window_reaches_them() -> None:
    window = Window()
    for number in range(1000):
        window.put(number, float(number), Want(1, 1, 1), False)
        window.full(Want(), LIMITS, float(number))
    assert len(window) <= 12
    assert window.used("requests", 10.0, 2000.0) == 0


@settings(max_examples=200, deadline=None)
@given(
    wants=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 70), st.floats(0.1, 1.0)), max_size=80),
    lowered=st.one_of(st.none(), st.integers(5, 60)),
)
def test_in_no_window_is_a_limit_exceeded(wants: list[tuple[int, int, float]], lowered: int | None) -> None:
    """Callers take whatever the log gives as soon as it gives it, and use less than was reserved."""
    window, now, limits = Window(), 0.0, LIMITS
    sent: list[tuple[float, Want]] = []
    for number, (tokens_in, tokens_out, share) in enumerate(wants):
        if number == lowered:
            limits = ProviderLimits(requests=Rate(3, 10.0), tokens=Rate(90, 10.0), output_tokens=Rate(60, 4.0))
        want = Want(1, tokens_in, min(60, tokens_out))
        if (full := window.full(want, limits, now)) is not None:
            assert full.until > now
            now = full.until
            assert window.full(want, limits, now) is None, "it is free when it was said to be"
        used = Want(1, int(tokens_in * share), int(want.tokens_out * share))
        window.put(number, now, want, True)
        window.put(number, now, used, False)
        sent.append((now, used))
        for rate in ("requests", "tokens", "output_tokens"):
            limit = getattr(limits, rate)
            inside = [w for at, w in sent if at > now - limit.seconds]
            assert sum(w.of(rate) for w in inside) <= limit.count


def test_the_limit_is_used_while_there_is_work() -> None:
    window, now, limits = Window(), 0.0, ProviderLimits(requests=Rate(50, 60.0), tokens=Rate(30_000, 60.0))
    granted = 0
    while now < 3600:
        while (full := window.full(Want(1, 300, 200), limits, now)) is None:
            window.put(granted, now, Want(1, 300, 200), False)
            granted += 1
        now = full.until
    assert granted >= 0.95 * 50 * 60
