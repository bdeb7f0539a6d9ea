"""What is reserved for a prompt: by its length and what was seen, never by the short answers alone."""

from __future__ import annotations

from agentdeck.engine.prompt_estimate import PromptEstimates
from agentdeck.limits.reservations import Amounts
from agentdeck.limits.token_estimates import LEAST, MANY, OUTPUT, SEEN
from agentdeck.scheduler.events import Usage
from agentdeck.scheduler.program import Rule
from agentdeck.workflow.model import Agent, Prompt

RULE = Rule(Agent("a", Prompt("${inputs.text}")), 0, 1.0, 1.0)
SCOPE = {"inputs": {"text": "x" * 399}}  # a hundred tokens, as far as can be told


def seen(estimates: PromptEstimates, *answers: int, tokens_in: int = 100) -> None:
    for answer in answers:
        estimates.ended(RULE, estimates.began(RULE), Usage(tokens_in, answer), 100)


def test_nothing_is_known_at_first() -> None:
    assert PromptEstimates().of(RULE, SCOPE, 300) == (Amounts(1, 100, 300), Amounts(0, 50, 0), 100)
    assert PromptEstimates().of(RULE, SCOPE, None).want == Amounts(1, 100, OUTPUT)


def test_answers_of_one_length_are_soon_known_and_others_late() -> None:
    even, odd = PromptEstimates(), PromptEstimates()
    seen(even, *[40] * LEAST, tokens_in=150)
    assert even.of(RULE, SCOPE, 300) == (Amounts(1, 150, 40), Amounts(0, 0, 0), 100)
    seen(odd, *[10, 10, 400] * (MANY // 3))
    assert odd.of(RULE, SCOPE, 1000).want.tokens_out == 1000
    seen(odd, 10)
    assert odd.of(RULE, SCOPE, 1000) == (Amounts(1, 100, 400), Amounts(0, 0, 390), 100)
    assert odd.of(RULE, SCOPE, 300).want.tokens_out == 300


def test_short_answers_that_end_first_wait_for_the_long_ones() -> None:
    estimates = PromptEstimates()
    long = estimates.began(RULE)
    seen(estimates, *[20] * 50)
    assert estimates.of(RULE, SCOPE, 1000).want.tokens_out == 1000
    estimates.ended(RULE, long, Usage(100, 25), 100)
    assert estimates.of(RULE, SCOPE, 1000).want.tokens_out == 20


def test_one_that_takes_for_ever_does_not_hold_up_what_is_learnt() -> None:
    estimates = PromptEstimates()
    stuck = estimates.began(RULE)
    seen(estimates, *[20] * (SEEN + 1))
    assert estimates.of(RULE, SCOPE, 1000).want.tokens_out == 20
    estimates.ended(RULE, stuck, None, 100)
    seen(estimates, *[20] * SEEN)
    assert estimates.of(RULE, SCOPE, 1000).want.tokens_out == 20
