"""Where inside an attempt something happens, the tree of inner steps, and how they are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agentdeck.agents.simulate import Simulate
from agentdeck.errors import Fault
from agentdeck.insight.formatting import seconds
from agentdeck.insight.step import attempt_line, step_story
from agentdeck.insight.why import explain
from agentdeck.operations.step_page import step_document
from agentdeck.scheduler import events as ev
from agentdeck.views.inner_place import InnerPlaces
from agentdeck.views.inner_steps import MOST_IN_ALL
from agentdeck.views.run_view import RunView
from agentdeck.views.step_story import StepStory
from agentdeck.views.task_timeline import mark_asking, task_timeline
from agentdeck.workflow.model import Agent, Definition

DEFINITION = Definition("w", {"review": Agent("review", Simulate(1.0))})
TEA = Fault("exception", "ValueError: no tea")


def begin() -> list[ev.Event]:
    return [
        ev.RunStarted(0.0, "r", "w", "", {}, {"workers": 4}),
        ev.TaskOpened(0.0, "1", {}),
        ev.StepStarted(0.0, "1", "review", "review", 1, 0.0),
    ]


def start(at: float, number: int, name: str, parent: int = 0, *, kind: str = "") -> ev.InnerStarted:
    return ev.InnerStarted(at, "1", "review", 1, number, name, parent, kind, {"n": number})


def end(at: float, number: int, fault: Fault | None = None, attempt: int = 1, **more: Any) -> ev.InnerEnded:
    return ev.InnerEnded(at, "1", "review", attempt, number, None if fault else "fine", fault, **more)


def view_of(events: list[ev.Event]) -> RunView:
    view = RunView(DEFINITION)
    for seq, event in enumerate(events, 1):
        view.apply(seq, event)
    return view


def why(events: list[ev.Event], now: float) -> str:
    return explain(view_of(events), DEFINITION, "1", "review", now).text


def in_model() -> list[ev.Event]:
    return [*begin(), start(1.0, 1, "critic"), start(2.0, 2, "model", 1, kind="model")]


def test_why_names_what_runs_inside_and_since_when() -> None:
    assert why(in_model(), 14.0).startswith("running for 14 s, attempt 1")
    assert "; in critic › model for 12 s" in why(in_model(), 14.0)
    branches = [*in_model(), start(3.0, 3, "writer")]
    assert "; in writer for 11 s and 1 more" in why(branches, 14.0)
    assert "critic" not in why([*in_model(), end(3.0, 2), end(3.0, 1)], 14.0)


def failures() -> Iterator[tuple[list[ev.Event], str]]:
    """What happened before an attempt failed with TEA, and where that was."""
    yield [*in_model(), end(3.0, 2, TEA), end(3.0, 1, TEA)], "critic › model"
    yield [*in_model(), end(3.0, 2, Fault("exception", "KeyError: 1")), end(3.0, 1, TEA)], "critic"
    yield in_model(), "critic › model"
    yield [*in_model(), end(3.0, 2, Fault("exception", "KeyError: 1")), end(3.0, 1)], ""
    yield [*begin(), start(1.0, 1, "tool"), end(2.0, 1, Fault("exception", "KeyError: 1"))], "tool"
    yield begin(), ""


def test_a_failure_names_the_inner_step_in_all_views() -> None:
    for before, place in failures():
        text = f"in {place}: " if place else ""
        failed = ev.AttemptFailed(4.0, "1", "review", 1, TEA)
        final = ev.StepFailed(4.0, "1", "review", TEA, letter=True)
        view = view_of([*before, failed, final])
        assert view.open["1"].steps["review"].inside == place
        assert explain(view, DEFINITION, "1", "review", 5.0).text == (
            f"failed after 1 attempt: {text}ValueError: no tea"
        )
        assert [one.text for one in view.timeline] == [
            f"attempt 1: {text}ValueError: no tea", f"{text}ValueError: no tea"
        ]  # fmt: skip
        story = step_story(DEFINITION, [*before, failed, final], "1", "review")
        assert (story.inside, story.attempts[0].inside) == (place, place)
        assert f"{text}exception: ValueError: no tea" in attempt_line(story.attempts[0], seconds)
        places = InnerPlaces()
        for event in (*before, failed):
            places.apply(event)
        assert places.of(final) == place
        places.apply(ev.TaskEnded(5.0, "1", "failed"))
        assert places.of(final) == ""


def test_the_place_belongs_to_the_fault() -> None:
    again = ev.StepStarted(5.0, "1", "review", "review", 2, 4.0)
    events = [*in_model(), ev.AttemptFailed(4.0, "1", "review", 1, TEA), again]
    assert why(events, 6.0).endswith("the attempt before failed: in critic › model: ValueError: no tea")
    other = ev.AttemptFailed(7.0, "1", "review", 2, Fault("exception", "KeyError: 1"))
    assert view_of([*events, other]).open["1"].steps["review"].inside == ""
    late = ev.StepFailed(7.0, "1", "review", Fault("timeout", "no time left"))
    assert step_story(DEFINITION, [*events, late], "1", "review").inside == ""


def test_a_story_has_the_inner_steps_as_a_tree() -> None:
    used = ev.Usage(10, 4, usd=0.5, model="gpt")
    events = [
        *in_model(), end(3.0, 2, usage=used), start(3.0, 3, "model", 1), end(3.5, 3, usage=used), end(4.0, 1),
        start(4.0, 4, "check"), ev.StepSucceeded(5.0, "1", "review", 1, "x"),
    ]  # fmt: skip
    (attempt,) = step_story(DEFINITION, events, "1", "review").attempts
    assert [(depth, node.name, node.state, node.seconds) for depth, node in attempt.inner.nodes()] == [
        (0, "critic", "done", 3.0), (1, "model", "done", 1.0), (1, "model", "done", 0.5),
        (0, "check", "cancelled", 1.0),
    ]  # fmt: skip
    critic = next(node for _, node in attempt.inner.nodes())
    assert critic.usage == ev.Usage(20, 8, None, 1.0, None, "gpt"), "what ran inside it counts"
    assert (critic.inputs, critic.output) == ({"n": 1}, "fine")


def test_an_inner_step_that_asks_was_not_cancelled() -> None:
    events = [*in_model(), ev.AttemptAsked(4.0, "1", "review", 1, ({"id": "q", "text": "Go on?"},))]
    story = step_story(DEFINITION, events, "1", "review")
    assert [node.state for _, node in story.attempts[0].inner.nodes()] == ["asked", "asked"]
    assert [one.state for one in step_document(story).attempts[0].inner] == ["asked", "asked"]


def test_a_story_holds_the_newest_inner_steps_and_those_that_failed() -> None:
    story = StepStory(DEFINITION, "1", "review", inner=5)
    events: list[ev.Event] = [*begin(), start(0.0, 1, "graph")]
    for number in range(2, 2002):
        events += [start(1.0, number, "node", 1), end(2.0, number, TEA if number == 7 else None)]
    for event in events:
        story.apply(event)
    tree = story.attempts[0].inner
    assert [node.number for _, node in tree.nodes()] == [1, 7, 1997, 1998, 1999, 2000, 2001]
    assert (tree.count, tree.failed, tree.left_out) == (2001, 1, 1994)


def test_names_of_all_levels_are_bounded() -> None:
    events = begin()
    for number in range(1, 2001):
        events.append(start(1.0, number, f"n{number}", number - number % 40))
    assert len(view_of(events).inner) <= MOST_IN_ALL + 40


def asked() -> list[ev.Event]:
    question = {"id": "q", "text": "How much?"}
    return [
        *begin(),
        ev.AttemptAsked(3.0, "1", "review", 1, (question,)),
        ev.Noted(3.0, "How much?", "1", "review", {"asks": "How much?", "question": "q"}),
    ]


def test_why_says_what_a_step_asks() -> None:
    assert why(asked(), 10.0) == "waits for an answer for 7.0 s to: How much?"
    found = explain(view_of(asked()), DEFINITION, "1", "review", 10.0)
    assert (found.state, found.reason) == ("running", "approval")


def test_a_question_is_drawn_from_when_it_was_asked() -> None:
    (row,) = mark_asking(task_timeline(enumerate(asked()), "1"), {"review"})
    assert row.state == "asking"
    assert [(span.kind, span.since, span.until) for span in row.spans] == [
        ("asked", 0.0, 3.0), ("asking", 3.0, None)
    ]  # fmt: skip
    answered = ev.StepAnswered(8.0, "1", "review", True, {"answer": 3}, question="q")
    (row,) = task_timeline(enumerate([*asked(), answered]), "1")
    assert [(span.kind, span.since, span.until) for span in row.spans] == [
        ("asked", 0.0, 3.0), ("approval", 3.0, 8.0)
    ]  # fmt: skip
