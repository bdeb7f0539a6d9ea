"""What the prompts of a launch would use, before anything is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentdeck.insight.launch_forecast import Used, prompting, request_bound, used_by
from agentdeck.workflow.deck import Deck, Model, Provider
from agentdeck.workflow.loader import loads
from agentdeck.workflow.model import ProviderLimits, Rate

ASKS = loads(
    """
agentdeck: 1
name: asks
limits: { it: { requests: 30/min } }
agents:
  a: { prompt: "Say it in one sentence, please.", max_output: 100 }
  b: { prompt: "And again: ${a}", tier: reasoning, max_output: 100 }
"""
).definition
DECK = Deck(
    providers={
        "it": Provider("simulated", limits=ProviderLimits(requests=Rate(60, 60.0))),
        "other": Provider("simulated", limits=ProviderLimits(output_tokens=Rate(1000, 10.0))),
    },
    models={"small": Model("it", "small", (1.0, 10.0)), "large": Model("other", "large", (5.0, 50.0))},
    tiers={"execution": ("small",), "reasoning": ("large",)},
)


def test_without_a_deck_nobody_knows() -> None:
    assert prompting(ASKS, Deck(), 100, {}).usd is None


def test_the_rate_that_takes_longest_is_named() -> None:
    """The workflow tightens the deck's 60 to 30: 300 calls need ten minutes, but for the first window."""
    found = prompting(ASKS, DECK, 300, {})
    assert (found.seconds, found.limit) == (540.0, "it.requests")
    found = prompting(ASKS, DECK, 300, {"b": Used(1.0, 10, 500)})
    assert (found.seconds, found.limit) == (1490.0, "other.output_tokens")


def test_a_rate_that_is_spaced_out_has_only_its_burst_at_once() -> None:
    """30 a minute, one every two seconds."""
    limits = ProviderLimits(requests=Rate(60, 60.0, 5))
    deck = replace(DECK, providers={**DECK.providers, "it": Provider("simulated", limits=limits)})
    assert prompting(ASKS, deck, 300, {}).seconds == (300 - 5) * 2.0
    assert request_bound(ASKS, deck, 300) == ((300 - 5) * 2.0, "it.requests")
    assert request_bound(ASKS, deck, 3) == (0.0, "")


def test_dollars_are_guessed_by_length_and_known_by_what_was_used() -> None:
    guess = prompting(ASKS, DECK, 1000, {}).usd
    assert guess is not None
    assert guess[0] < guess[1] == pytest.approx(1.0 + 5.0, rel=0.05)
    seen = {"a": Used(1.0, 100, 20), "b": Used(0.5, 200, 40)}
    known = prompting(ASKS, DECK, 1000, seen).usd
    assert known == pytest.approx((0.3 + 1.5,) * 2)


def test_a_price_that_is_not_known_is_no_price() -> None:
    models = {**DECK.models, "large": Model("other", "nobody-knows-it")}
    assert prompting(ASKS, Deck(providers=DECK.providers, models=models, tiers=DECK.tiers), 10, {}).usd is None


def test_what_an_earlier_run_used() -> None:
    agents = {"a": {"attempts": 20, "tokens_in": 400, "tokens_out": 100}, "b": {"attempts": 0}}
    assert used_by({"agents": agents}, 10) == {"a": Used(2.0, 20.0, 5.0)}
