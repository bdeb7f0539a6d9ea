"""When a call is late, and how many second calls there may be."""

from __future__ import annotations

import pytest

from agentdeck.limits.answer_speed import AnswerSpeed, answer_speed
from agentdeck.limits.hedging import LEAST, AnswerTimes, HedgeAllowance
from agentdeck.limits.reservations import RequestProgress


def request(sent: float, *texts: tuple[float, int]) -> RequestProgress:
    """A request whose answer had so many characters at these times."""
    made = RequestProgress(sent_at=sent)
    for at, characters in texts:
        made.add_text(at, characters)
    return made


def test_the_speed_of_an_answer_that_is_streamed() -> None:
    found = answer_speed(request(10.0, (10.5, 40), (14.0, 400)), 100, 14.5)
    assert found == AnswerSpeed(4.5, 0.5, 0.04)


def test_an_answer_that_came_as_a_whole_has_a_time_per_token_only() -> None:
    assert answer_speed(request(10.0, (14.0, 400)), 100, 14.0) == AnswerSpeed(4.0, None, 0.04)
    assert answer_speed(request(10.0, (14.0, 40)), 10, 14.0) == AnswerSpeed(4.0), "too few tokens"
    assert answer_speed(request(10.0), 0, 14.0) == AnswerSpeed(4.0), "tokens that are not known"
    assert answer_speed(RequestProgress(), 100, 14.0) is None, "it was not sent"


def test_no_more_than_one_call_in_twenty_gets_a_second_one() -> None:
    allowance, taken = HedgeAllowance(), 0
    for call in range(1, 1001):
        allowance.add_call()
        if allowance.left:
            allowance.take()
            taken += 1
        assert taken <= 0.05 * call
    assert taken == 50


def test_few_second_calls_are_saved_up() -> None:
    allowance, taken = HedgeAllowance(), 0
    for _ in range(1000):
        allowance.add_call()
    while allowance.left:
        allowance.take()
        taken += 1
    assert taken == 5


@pytest.fixture
def times() -> AnswerTimes:
    """Answers that began after 0.5 to 0.69 s, and came at 20 to 39 ms per token."""
    made = AnswerTimes()
    for n in range(LEAST):
        made.add(AnswerSpeed(5.0, 0.5 + n / 100, 0.02 + n / 1000))
    return made


def test_an_answer_that_has_not_begun_is_late_after_most_others_had(times: AnswerTimes) -> None:
    assert times.late_at(request(10.0), 9.0, 4.0, 0.95) == pytest.approx(10.68)
    assert times.late_at(RequestProgress(), 9.0, 4.0, 0.5) == pytest.approx(9.59), "from when it began to connect"


def test_an_answer_is_late_by_its_tokens_and_not_by_its_length(times: AnswerTimes) -> None:
    late = request(10.0, (10.5, 40), (30.0, 400))  # 100 tokens
    assert times.late_at(late, 9.0, 4.0, 0.95) == pytest.approx(10.5 + 100 * 0.038)
    long = request(10.0, (10.5, 40), (30.0, 4000))  # 1,000 tokens
    assert times.late_at(long, 9.0, 4.0, 0.95) == pytest.approx(10.5 + 1000 * 0.038)
    begun = request(10.0, (10.5, 4))
    assert times.late_at(begun, 9.0, 4.0, 0.95) == pytest.approx(10.5 + 20 * 0.038), "one token says nothing yet"


def test_answers_that_came_as_a_whole_are_compared_by_their_whole_time() -> None:
    made = AnswerTimes()
    for n in range(LEAST):
        made.add(AnswerSpeed(5.0 + n, None, 0.02))
    assert made.late_at(request(10.0), 10.0, 4.0, 0.95) == pytest.approx(10.0 + 23.0)
    assert made.late_at(request(10.0, (10.5, 40)), 10.0, 4.0, 0.95) is None, "none came in pieces before"


def test_a_few_answers_say_nothing() -> None:
    made = AnswerTimes()
    for _ in range(LEAST - 1):
        made.add(AnswerSpeed(5.0, 0.5, 0.02))
    assert made.late_at(request(10.0), 10.0, 4.0, 0.95) is None
