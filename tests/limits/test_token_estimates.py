"""How long an answer under way will become, by those that were seen."""

from __future__ import annotations

from math import inf

import pytest

from agentdeck.limits.token_estimates import MEMORY, RATES, TRUSTED, AnswerLengths, OutputRates


def test_an_answer_may_be_as_long_as_allowed_until_enough_were_seen() -> None:
    lengths = AnswerLengths()
    for _ in range(TRUSTED - 1):
        lengths.add(10)
    assert lengths.expect(0, 1000) == (1000.0, 0.0)
    lengths.add(10)
    likely, spread = lengths.expect(0, 1000)
    assert likely == pytest.approx((TRUSTED * 10 + 1000) / (TRUSTED + 1)), (
        "one more is counted, as long as may be"
    )
    assert spread > 0


def test_what_was_said_tells_which_answers_it_is_like() -> None:
    lengths = AnswerLengths()
    for n in range(100):
        lengths.add(500 if n % 10 == 0 else 20)
    assert lengths.expect(0, 1000)[0] < 100
    assert lengths.expect(21, 1000)[0] == pytest.approx((10 * 500 + 1000) / 11)
    assert lengths.expect(501, 1000) == (1000.0, 0.0), "longer than any that was seen"
    assert lengths.expect(0, 30)[0] < 30, "none becomes longer than is allowed"


def test_old_answers_are_forgotten() -> None:
    lengths = AnswerLengths()
    for length in [*[900] * MEMORY, *[10] * MEMORY]:
        lengths.add(length)
    assert lengths.longest == 10


def test_tokens_come_as_fast_as_the_fastest_answer_did_and_a_little_more() -> None:
    rates = OutputRates()
    for n in range(RATES):
        assert rates.most == inf
        rates.add(100, 2.0 + n)
    assert rates.most == pytest.approx(55)
    rates.add(2, 0.001)
    assert rates.most == pytest.approx(55), "a short answer says nothing of that"
