"""Which questions of a run wait for an answer, by its log."""

from __future__ import annotations

from typing import Any

import pytest

from agentdeck.scheduler import events as ev
from agentdeck.views.open_questions import KINDS, OpenQuestions


def asks(at: float, task: str, step: str, text: str = "?") -> ev.Noted:
    return ev.Noted(at, text, task, step, {"asks": text, "question": "q"})


def after(*events: Any) -> OpenQuestions:
    found = OpenQuestions()
    for event in events:
        assert isinstance(event, KINDS)
        found.apply(event)
    return found


def test_a_question_is_open_until_its_step_goes_on_or_ends() -> None:
    first, second = asks(1.0, "1", "a"), asks(2.0, "2", "a")
    assert list(after(first, ev.Noted(1.5, "a note"), second).asked) == [("1", "a"), ("2", "a")]
    for end in (
        ev.StepAnswered(3.0, "1", "a", True, {}),
        ev.StepSkipped(3.0, "1", "a", "by ada"),
        ev.StepCancelled(3.0, "1", "a"),
    ):
        assert list(after(first, second, end).asked) == [("2", "a")]


def test_the_end_of_a_task_is_that_of_all_below_it_and_the_end_of_the_run_of_all() -> None:
    found = after(
        asks(1.0, "1", "a"), asks(1.0, "1/a", "b"), asks(1.0, "10", "a"), ev.TaskEnded(2.0, "1", "done")
    )
    assert list(found.asked) == [("10", "a")]
    found.apply(ev.RunEnded(3.0, "cancelled"))
    assert not found.asked


def test_a_resumed_run_asks_again_and_the_question_keeps_its_time() -> None:
    found = after(asks(1.0, "1", "a"), asks(1.0, "2", "a"), ev.RunResumed(5.0), asks(5.0, "1", "a"))
    assert [event.at for event in found.asked.values()] == [1.0, 1.0]
    found.apply(asks(6.0, "1", "a", "Another?"))
    assert [event.text for event in found.asked.values()] == ["?", "Another?"]


@pytest.mark.parametrize("end", [ev.RunUnpaused(2.0), ev.RunResumed(2.0), ev.RunEnded(2.0, "failed")])
def test_a_budget_is_a_question_until_the_run_goes_on(end: Any) -> None:
    assert after(ev.RunPaused(1.0, "by ada")).budget is None
    found = after(ev.RunPaused(1.0, "budget: used up"))
    assert found.budget is not None
    found.apply(end)
    assert found.budget is None
