"""A provider that fails is left alone, and returned to one call at a time."""

from __future__ import annotations

from agentdeck.core.breaker import BACK, NEVER, Breaker


def call(breaker: Breaker, at: float, good: bool | None) -> bool:
    assert breaker.shut(at) is None
    breaker.began()
    return breaker.ended(at, good)


def test_it_rests_once_most_calls_fail_and_not_before() -> None:
    breaker = Breaker()
    assert not any(call(breaker, 0.0, n % 2 == 0) for n in range(40)), "every second call may fail"
    assert call(breaker, 1.0, False) is True
    assert breaker.shut(1.1) == 6.0
    assert breaker.why == "11 of its last 20 calls failed"


def test_few_calls_say_nothing() -> None:
    breaker = Breaker()
    assert not any(call(breaker, 0.0, False) for _ in range(9))
    assert call(breaker, 0.0, False)


def test_it_comes_back_one_then_two_then_four_at_a_time() -> None:
    breaker = Breaker()
    breaker.cool(10.0, "it said so")
    assert breaker.shut(9.9) == 10.0
    rounds = []
    while breaker.room is not None:
        under_way = 0
        while breaker.shut(10.0) is None:
            breaker.began()
            under_way += 1
        assert breaker.shut(10.0) == NEVER
        rounds.append(under_way)
        for _ in range(under_way):
            breaker.ended(10.0, True)
        if len(rounds) > 20:
            break
    assert rounds == [1, 2, 4, 8, 16, 32, BACK]


def test_a_failed_try_makes_the_rest_longer_each_time() -> None:
    breaker, at = Breaker(), 0.0
    for _ in range(10):
        call(breaker, at, False)
    rests = [breaker.until - at]
    for _ in range(5):
        at = breaker.until
        call(breaker, at, False)
        rests.append(breaker.until - at)
    assert rests == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_the_latest_word_to_wait_holds() -> None:
    breaker = Breaker()
    breaker.cool(30.0, "late")
    breaker.cool(10.0, "early")
    assert breaker.shut(20.0) == 30.0
