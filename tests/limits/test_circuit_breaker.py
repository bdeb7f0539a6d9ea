"""A provider that fails is left alone and returned to gradually; one that throttles is slowed, once per burst."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdeck.limits import circuit_breaker as rules
from agentdeck.limits.circuit_breaker import NEVER, RETURNED, CircuitBreaker, Outcome

DOCS = Path(__file__).resolve().parents[2] / "docs" / "rates-and-budgets.md"


def call(breaker: CircuitBreaker, at: float, outcome: Outcome | None, wait: float | None = None) -> bool:
    assert breaker.blocked_until(at) is None
    return breaker.ended(at, outcome, breaker.began(), wait)


def burst(
    breaker: CircuitBreaker, at: float, many: int, outcome: Outcome, wait: float | None = None
) -> list[bool]:
    """So many calls that are under way together, and end one after the other."""
    epochs = [breaker.began() for _ in range(many)]
    return [breaker.ended(at, outcome, epoch, wait) for epoch in epochs]


def opened(at: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker()
    for _ in range(rules.MIN_CALLS):
        call(breaker, at, "failed")
    assert breaker.until > at
    return breaker


def test_it_opens_once_most_calls_fail_and_not_before() -> None:
    breaker = CircuitBreaker()
    assert not any(call(breaker, 0.0, "good" if n % 2 == 0 else "failed") for n in range(40))
    assert call(breaker, 1.0, "failed") is True
    assert breaker.blocked_until(1.1) == 6.0
    assert breaker.why == "11 of its last 20 calls failed"


def test_few_calls_tell_nothing() -> None:
    breaker = CircuitBreaker()
    assert not any(call(breaker, 0.0, "failed") for _ in range(9))
    assert call(breaker, 0.0, "failed")


def test_it_returns_with_one_then_two_then_four_calls() -> None:
    breaker = opened()
    rounds = []
    while breaker.room is not None:
        epochs = []
        while breaker.blocked_until(10.0) is None:
            epochs.append(breaker.began())
        assert breaker.blocked_until(10.0) == NEVER
        rounds.append(len(epochs))
        for epoch in epochs:
            breaker.ended(10.0, "good", epoch)
        if len(rounds) > 20:
            break
    assert rounds == [1, 2, 4, 8, 16, 32, RETURNED]


def test_a_failed_probe_opens_it_again_for_twice_as_long() -> None:
    breaker = opened()
    waits = [breaker.until]
    for _ in range(5):
        at = breaker.until
        call(breaker, at, "failed")
        waits.append(breaker.until - at)
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_a_single_failure_does_not_end_the_return() -> None:
    breaker = opened()
    call(breaker, 10.0, "good")
    assert call(breaker, 10.0, "failed") is False
    assert breaker.blocked_until(10.0) is None


def test_a_call_that_hangs_does_not_keep_the_probe_from_being_sent() -> None:
    breaker = CircuitBreaker()
    hanging = breaker.began()
    for _ in range(10):
        call(breaker, 0.0, "failed")
    assert breaker.blocked_until(5.0) is None
    assert breaker.ended(5.0, "failed", hanging) is False, "it was sent before the breaker opened"
    assert call(breaker, 5.0, "good") is False


def test_one_429_slows_down_only_the_step_that_got_it() -> None:
    breaker = CircuitBreaker()
    for _ in range(10):
        call(breaker, 0.0, "good")
    assert call(breaker, 0.0, "throttled") is False
    assert breaker.blocked_until(0.0) is None
    assert breaker.room is None


def test_a_burst_of_429s_is_one_decision() -> None:
    breaker = CircuitBreaker()
    assert sum(burst(breaker, 0.0, 8, "throttled")) == 1
    assert breaker.blocked_until(0.1) == rules.FIRST_COOL
    assert breaker.room == 1, "none of them ended well"


def test_the_wait_doubles_only_when_a_later_call_is_throttled() -> None:
    breaker = CircuitBreaker()
    burst(breaker, 0.0, 80, "throttled")
    waits = [breaker.until]
    for _ in range(8):
        at = breaker.until
        assert call(breaker, at, "throttled")
        waits.append(breaker.until - at)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    call(breaker, breaker.until, "good")
    assert call(breaker, breaker.until, "throttled") is False, "a call in between ended well"


def test_calls_that_end_well_decide_how_many_go_on() -> None:
    breaker = CircuitBreaker()
    epochs = [breaker.began() for _ in range(16)]
    for epoch in epochs[:4]:
        breaker.ended(0.0, "throttled", epoch)
    for epoch in epochs[4:]:
        breaker.ended(0.2, "good", epoch)
    assert breaker.room is not None
    assert 10 <= breaker.room <= 12, "three in four ended well"


def test_the_longest_retry_after_of_a_burst_holds() -> None:
    breaker = CircuitBreaker()
    first, second, third = (breaker.began() for _ in range(3))
    assert breaker.ended(0.0, "throttled", first, 10.0, "it asked to wait 10s")
    assert breaker.ended(0.0, "throttled", second, 30.0, "it asked to wait 30s")
    assert not breaker.ended(0.0, "throttled", third, 20.0)
    assert (breaker.blocked_until(1.0), breaker.why) == (30.0, "it asked to wait 30s")
    breaker.hold_back(20.0, "another process was asked to wait")
    assert breaker.blocked_until(1.0) == 30.0


@pytest.mark.parametrize(("failed", "throttled"), [(0.02, 0.01), (0.025, 0.025), (0.05, 0.0), (0.0, 0.05)])
def test_random_faults_hold_back_next_to_nothing(failed: float, throttled: float) -> None:
    """Thirty minutes of fifteen calls per second: the share of the time in which none may begin."""
    breaker, random, shut = CircuitBreaker(), Random(1), 0
    calls = 30 * 60 * 15
    for n in range(calls):
        at = n / 15
        if breaker.blocked_until(at) is not None:
            shut += 1
            continue
        chance = random.random()
        outcome: Outcome = "failed" if chance < failed else "throttled" if chance < failed + throttled else "good"
        breaker.ended(at + 0.01, outcome, breaker.began())
    assert shut / calls < 0.01


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["begin", "good", "failed", "throttled", "asked", "unknown"]), st.floats(0.0, 2.0)
        ),
        max_size=300,
    )
)
def test_it_never_stays_shut(happens: list[tuple[str, float]]) -> None:
    """Whatever happens, a call may begin once the wait is over and all calls under way have ended."""
    breaker, at, epochs = CircuitBreaker(), 0.0, list[int]()
    for what, later in happens:
        at += later
        if what == "begin":
            if breaker.blocked_until(at) is None:
                epochs.append(breaker.began())
        elif epochs:
            outcome: Outcome | None = None
            if what in ("asked", "throttled"):
                outcome = "throttled"
            elif what == "good" or what == "failed":
                outcome = what  # type: ignore[assignment]
            breaker.ended(at, outcome, epochs.pop(0), 3.0 if what == "asked" else None)
        assert breaker.until <= at + 60.0
        assert breaker.room is None or breaker.room >= 1
    for epoch in epochs:
        breaker.ended(at, None, epoch)
    assert breaker.live == 0
    assert breaker.blocked_until(max(at, breaker.until)) is None


def test_the_documented_rules_are_those_of_the_code() -> None:
    text = " ".join(DOCS.read_text().split())
    (words,) = re.findall(
        r"at least (\d+) of its last (\d+) calls have ended and more than (\d+) % of them failed, it is not "
        r"called for (\d+) s \(a circuit breaker\); each time that the test call fails again, the pause is "
        r"doubled, up to (\d+) s",
        text,
    )
    assert [int(word) for word in words] == [
        rules.MIN_CALLS,
        rules.WINDOW_CALLS,
        100 * rules.MAX_FAILED,
        rules.FIRST_OPEN,
        rules.LONGEST_OPEN,
    ]
    (words,) = re.findall(
        r"at least (\d+) of the last (\d+) calls got one, and more than (\d+) % of them, all calls wait for "
        r"([\d.]+) s; each time that the next call is throttled again, the wait is doubled, up to (\d+) s",
        text,
    )
    assert [float(word) for word in words] == [
        rules.MIN_THROTTLED,
        rules.WINDOW_CALLS,
        100 * rules.MAX_THROTTLED,
        rules.FIRST_COOL,
        rules.LONGEST_COOL,
    ]
    (words,) = re.findall(r"ends when (\d+) calls, or twice as many as before, are allowed", text)
    assert int(words) == RETURNED
