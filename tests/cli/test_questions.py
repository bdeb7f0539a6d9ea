"""`agentdeck questions` and `agentdeck answer`: what runs ask, listed and answered from another process."""

from __future__ import annotations

import json
import signal
from textwrap import dedent
from typing import Any

import pytest

from tests.agents.scripted import write_scripted
from tests.cli.conftest import QUICK, Deck
from tests.waiting import until

REVIEW = """
    from agentdeck.agents.frameworks.framework import Asked, Result, Started
    from tests.agents.scripted import Script

    SCHEMA = {
        "type": "object",
        "properties": {"amount": {"type": "integer"}, "note": {"type": "string"}, "kind": {"enum": ["a", "b"]}},
        "required": ["amount"],
    }

    def form(given):
        if given.answers:
            yield Result(given.answers["q"])
        else:
            yield Asked("q", "How much, [bold]Ada[/]?", SCHEMA, {"draft": "tea"})

    def value(given):
        if given.answers:
            yield Result(given.answers["q"])
        else:
            yield Asked("q", "What now?")

    review, again = Script(form), Script(value)
"""
FLOW = """
    agentdeck: 1
    name: inside
    agents:
      review: { python: review:review, retry: 1 }
      again:  { python: review:again, retry: 1, needs: review }
      gate:   { approve: { ask: "Ship it?", fields: { why: string } }, needs: again }
"""
DEAR = """
agentdeck: 1
name: dear
budget: { tokens: 20, ladder: { 100%: ask } }
agents:
  a: { prompt: "Say it.", max_output: 20 }
  b: { prompt: "Say it.", max_output: 20, needs: a }
  c: { prompt: "Say it.", max_output: 20, needs: b }
"""


@pytest.fixture
def reviewing(deck: Deck) -> Deck:
    write_scripted(deck.folder)
    deck.env["PYTHONPATH"] = f"{deck.folder}:{deck.env['PYTHONPATH']}"
    deck.write("review.py", dedent(REVIEW))
    deck.write("flow.yaml", FLOW)
    return deck


def asked(deck: Deck, *run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(deck("questions", *run, "--json").stdout)
    return found


def ask(deck: Deck, step: str) -> dict[str, Any]:
    """The question of this step, once it is asked."""
    found: list[dict[str, Any]] = []

    def is_asked() -> bool:
        found[:] = [one for one in asked(deck) if one["step"] == step]
        return bool(found)

    until(is_asked)
    return found[0]


def test_questions_are_listed_and_answered_also_after_kill_9(reviewing: Deck) -> None:
    deck = reviewing
    process = deck.start("run", "flow.yaml", "--wait")
    question = ask(deck, "review")
    assert (question["kind"], question["task"], question["text"]) == ("question", "1", "How much, [bold]Ada[/]?")
    assert question["shown"] == {"draft": "tea"}
    assert deck("step", "last", "1", "review").stdout.splitlines()[0].endswith("review (python)  asking")
    assert question["command"] == f"agentdeck answer {question['run']} review amount=… --task 1"
    process.send_signal(signal.SIGKILL)
    process.wait()
    listed = deck("questions").stdout
    assert "review of task 1, asked " in listed
    assert "  How much, [bold]Ada[/]?\n  amount: integer\n  note: string, optional\n" in listed
    late = deck("answer", "last", "review", "amount=3")
    assert late.returncode == 1
    assert "agentdeck resume" in late.stderr
    process = deck.start("resume", "last", "--wait")
    until(lambda: deck("answer", "last", "review", "amount=3", "--by", "Grace").returncode == 0)
    assert ask(deck, "again")["text"] == "What now?"
    assert deck("answer", "last", "again", "shorter, please").returncode == 0
    gate = ask(deck, "gate")
    assert (gate["kind"], gate["fields"]["why"]["required"]) == ("approval", True)
    assert deck("answer", "last", "gate", "yes", "why=fine").returncode == 0
    assert process.wait() == 0
    steps = json.loads(deck("show", "last", "--json").stdout)["agents"]
    assert sorted(steps) == ["again", "gate", "review"]
    assert deck("why", "last", "review").stdout.startswith("review: answered by Grace (")
    assert asked(deck) == asked(deck, "last") == []
    assert deck("questions").stderr == "no questions\n"
    events = [json.loads(line) for line in deck("events", "last", "--json").stdout.splitlines()]
    answers = [event for event in events if event["event"] == "step_answered"]
    assert [one.get("question") for one in answers] == ["q", "q", None]
    assert answers[0]["fields"] == {"amount": 3, "note": None, "kind": None}
    assert answers[0]["author"]["by"] == "Grace"
    started = [event for event in events if event["event"] == "step_started" and event["step"] == "review"]
    assert [one["attempt"] for one in started] == [1, 2]


REFUSED = {
    "": "give an answer to review: yes, no or amount=… note=… kind=…",
    "three": "three is no answer to review: give yes, no, or NAME=VALUE (amount=… note=… kind=…)",
    "amount=much": "amount: ",
    "amont=3": "review has no field amont; did you mean amount?",
    "note=x": "review needs a value for amount",
    "amount=1 kind=c": "kind: 'c' is not one of a, b",
    "no": "review is not answered with no; give amount=… note=… kind=…, or cancel the step",
}


def test_an_answer_that_does_not_fit_changes_nothing(reviewing: Deck) -> None:
    process = reviewing.start("run", "flow.yaml", "--wait")
    ask(reviewing, "review")
    for words, why in REFUSED.items():
        refused = reviewing("answer", "last", "review", *words.split())
        assert refused.returncode == 2
        assert why in refused.stderr
    assert [one["step"] for one in asked(reviewing)] == ["review"]
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_what_asks_nothing_cannot_be_answered(deck: Deck) -> None:
    deck.write("quick.yaml", QUICK)
    assert deck("run", "quick.yaml", "--input", "word=x").returncode == 0
    refused = deck("answer", "last", "first", "yes")
    assert refused.returncode == 2
    assert "first of " in refused.stderr
    assert "asks nothing; see `agentdeck questions" in refused.stderr


def test_a_budget_that_is_used_up_is_a_question(deck: Deck) -> None:
    deck.write("dear.yaml", DEAR)
    process = deck.start("run", "dear.yaml", "--wait")
    until(lambda: bool(asked(deck)))
    (question,) = asked(deck)
    assert (question["kind"], question["step"]) == ("budget", "")
    assert question["text"].startswith("budget")
    assert question["command"] == f"agentdeck budget {question['run']} +AMOUNT"
    process.send_signal(signal.SIGKILL)
    process.wait()
