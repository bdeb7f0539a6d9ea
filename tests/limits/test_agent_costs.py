"""What is held for a request: always at least what it can use."""

from __future__ import annotations

from math import inf

from agentdeck.limits.budget import AgentCosts, HeldRequest, Hold, Spent

NO_BOUND = (inf, inf)
#: 1,000 bytes, 50 other tokens, at most 400 tokens of answer, $1 and $2 per million tokens.
REQUEST = HeldRequest(1000, 50, 400, 0, (1.0, 2.0))


def test_the_prompt_counts_with_half_a_token_per_byte_and_the_answer_as_a_whole() -> None:
    hold, max_output = AgentCosts().hold(REQUEST, NO_BOUND, Spent())
    assert max_output == 400
    assert (hold.tokens, hold.usd) == (550 + 400, (550 + 2 * 400) / 1_000_000)
    assert (hold.likely_in, hold.likely_out) == (251, 200), "half of the longest answer until one was recorded"


def test_the_answer_is_as_long_as_the_budget_allows_but_long_enough_to_be_of_use() -> None:
    assert AgentCosts().hold(REQUEST, (550 + 300, inf), Spent())[1] == 300
    assert AgentCosts().hold(REQUEST, (inf, (550 + 2 * 250.5) / 1_000_000), Spent())[1] == 250
    assert AgentCosts().hold(REQUEST, (0, 0), Spent())[1] == 200
    cut = REQUEST._replace(cut_at=150)
    assert AgentCosts().hold(cut, (0, 0), Spent())[1] == 300, "twice as long as the one that was cut"


def test_recorded_attempts_predict_the_next_one() -> None:
    costs = AgentCosts()
    costs.add(800, 60, 1, 1000)
    costs.add(1000, 40, 2, 1000)
    assert costs.likely(251, 400) == (900, 50)
    hold, max_output = costs.hold(REQUEST, (0, 0), Spent())
    assert max_output == 33, "the mean of three answers"
    assert hold.tokens == int(1000 * 1.25 * 0.8) + 50 + 33


def test_what_an_attempt_has_spent_stays_held() -> None:
    hold, _ = AgentCosts().hold(REQUEST, NO_BOUND, Spent(True, 2000, 100, 0.5))
    assert hold == Hold(2100 + 950, 0.5 + 0.00135, 2251, 300, max(0.000651, 0.5 + (251 + 400) / 1_000_000))
