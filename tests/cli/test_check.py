"""`check` against the deck, and what is said of bad lines of a tasks file."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import QUICK, Deck

DECK = """
agentdeck: 1
providers: { openai: { type: openai, key: "${env.NO_SUCH_KEY}" } }
models: { m: { provider: openai, id: x } }
tiers: { execution: m }
"""
PROMPT = """
agentdeck: 1
name: p
limits: { openai: { requests: 5/min } }
agents: { a: { prompt: "Hi." } }
"""


def test_limits_of_a_provider_that_the_deck_does_not_have(deck: Deck) -> None:
    deck.write("w.yaml", PROMPT.replace("openai:", "opnai:"))
    assert deck("check", "w.yaml").returncode == 0  # without a deck nothing can be said
    deck.write("deck.yaml", DECK)
    done = deck("check", "w.yaml")
    assert done.returncode == 2
    assert "w.yaml:4:11: limits: opnai is not a provider in" in done.stdout
    assert "did you mean openai?" in done.stdout
    deck.write("w.yaml", PROMPT)
    assert deck("check", "w.yaml").stdout == "w.yaml: ok\n"  # the key is a matter of the shell that runs it


@pytest.mark.parametrize(("key", "told"), [("tier: reasoning", "reasoning"), ("model: n", "n")])
def test_a_prompt_that_names_what_the_deck_does_not_have(deck: Deck, key: str, told: str) -> None:
    deck.write("deck.yaml", DECK)
    deck.write("w.yaml", PROMPT.replace('prompt: "Hi."', f'prompt: "Hi.", {key}'))
    done = deck("check", "w.yaml")
    assert done.returncode == 2
    assert told in done.stdout


def test_bad_lines_that_are_left_out_are_named(deck: Deck) -> None:
    deck.write("quick.yaml", QUICK)
    lines = ['{"word": "x"}', "nope", '{"word": 3}', "[]", '{"word": "y"}', "{}"]
    deck.write("t.jsonl", "\n".join(lines) + "\n")
    done = deck("run", "quick.yaml", "--tasks", "t.jsonl", "--skip-bad")
    assert "t.jsonl: 4 bad lines left out\n  t.jsonl:2: not JSON" in done.stderr
    for told in (
        "t.jsonl:3: word is",
        "t.jsonl:4: not a JSON object but a list",
        "t.jsonl:6: needs the input word",
    ):
        assert told in done.stderr
    assert "2 tasks done" in done.stderr


def test_many_bad_lines_are_counted(deck: Deck) -> None:
    deck.write("quick.yaml", QUICK)
    text = "\n".join(["nope"] * 30 + [json.dumps({"word": "x"})])
    for done in (
        deck("run", "quick.yaml", "--tasks", deck.write("t.jsonl", text), "--skip-bad"),
        deck("run", "quick.yaml", "--tasks", "-", "--skip-bad", stdin=text),
    ):
        assert "30 bad lines left out" in done.stderr
        assert ":20: not JSON" in done.stderr
        assert ":21: not JSON" not in done.stderr
        assert "… and 10 more" in done.stderr
