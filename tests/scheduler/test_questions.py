"""Questions of attempts: asked one after the other, answered before the step goes on."""

from __future__ import annotations

from typing import Any

import pytest

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.questions import as_approval, by_decision, value_of
from agentdeck.scheduler.state import OPEN, RUNNING
from agentdeck.workflow.model import Data, Type
from tests.scheduler.driver import Player, agent, definition

BOOLEAN: dict[str, Data] = {"id": "q2", "text": "Sure?", "schema": {"type": "boolean"}}
FREE: dict[str, Data] = {"id": "q1", "text": "How much?"}


def asking() -> Player:
    player = Player(definition(agent("a"), agent("b")), workers=1, plan=lambda started: (5.0, None))
    player.send(ev.AttemptAsked(1.0, "1", "a", 1, (FREE, BOOLEAN)))
    return player


def answer(at: float, question: str, value: Data) -> ev.StepAnswered:
    return ev.StepAnswered(at, "1", "a", True, {"answer": value}, "ada", "person", question=question)


def asked(player: Player) -> list[Data]:
    return [event.data["question"] for event in player.log if isinstance(event, ev.Noted) and event.data]


def test_the_worker_is_free_while_a_step_asks() -> None:
    player = asking()
    state = player.scheduler.state
    assert (state.step("1", "a").state, state.step("1", "b").state) == (OPEN, RUNNING)
    assert asked(player) == ["q1"]


def test_each_question_is_asked_after_the_answer_to_the_one_before_and_then_the_step_goes_on() -> None:
    player = asking()
    player.send(answer(2.0, "q2", True))
    assert not [one for one in player.log if isinstance(one, ev.StepAnswered)], "that one is not asked yet"
    player.send(answer(2.0, "q1", 7))
    assert asked(player) == ["q1", "q2"]
    player.send(answer(3.0, "q2", True))
    step = player.scheduler.state.step("1", "a")
    assert step.answers == {"q1": 7, "q2": True}
    player.play(20)
    assert step.attempt == 2
    assert step.tries == 0
    assert step.ended


def test_a_resumed_run_asks_again_and_knows_the_answers() -> None:
    player = asking()
    player.send(answer(2.0, "q1", 7))
    player.crash()
    assert asked(player) == ["q1", "q2", "q2"]
    assert player.scheduler.state.step("1", "a").answers == {"q1": 7}


def test_a_step_that_asks_can_be_cancelled() -> None:
    player = asking()
    player.send(ev.CancelAsked(2.0, "1", "a"))
    assert player.scheduler.state.step("1", "a").state == "cancelled"


OBJECT = {"type": "object", "properties": {"n": {"type": "integer"}, "s": {"type": "string"}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("schema", "fields", "defaults"),
    [
        (None, {"answer": Type("any")}, {}),
        ({"type": "boolean", "default": True}, {"answer": Type("boolean")}, {"answer": True}),
        ({"enum": ["a", "b"]}, {"answer": Type("choice", ("a", "b"))}, {}),
        ({"type": ["string", "null"]}, {"answer": Type("any")}, {}),
        ({"type": "array"}, {"answer": Type("list")}, {}),
        ({"type": "object"}, {"answer": Type("object")}, {}),
        (OBJECT, {"n": Type("integer"), "s": Type("string")}, {"s": None}),
        ("nonsense", {"answer": Type("any")}, {}),
        ({"properties": {"n": 3}}, {"n": Type("any")}, {"n": None}),
    ],
)
def test_a_schema_gives_the_fields_of_the_answer(schema: Any, fields: Any, defaults: Any) -> None:
    found = as_approval({"text": "?", "schema": schema})
    assert (dict(found.fields), dict(found.defaults)) == (fields, defaults)


def test_the_agent_gets_an_object_without_what_was_not_given_or_the_one_value() -> None:
    answered = ev.StepAnswered(0.0, "1", "a", True, {"n": 3, "s": None}, defaults=("s",), question="q")
    assert value_of({"text": "?", "schema": OBJECT}, answered) == {"n": 3}
    assert value_of({"text": "?"}, answer(0.0, "q", [1])) == [1]


def test_a_plain_yes_or_no_answers_what_it_can() -> None:
    assert by_decision(BOOLEAN, False) == {"answer": False}
    assert by_decision(FREE, True) == {"answer": True}
    assert by_decision(FREE, False) is None
    assert by_decision({"text": "?", "schema": OBJECT}, True) is None
