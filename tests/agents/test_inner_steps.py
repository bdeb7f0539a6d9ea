"""What happens inside an attempt of a framework's object: recorded, counted, answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentdeck import Question, RunBlocked, Workflow, open_store
from agentdeck.agents.frameworks.framework import Asked, CallInput, Ended, Result, Started, Text, Used
from agentdeck.agents.inner_record import MOST
from agentdeck.agents.plain_data import LONGEST_EXCERPT
from agentdeck.documents.document import plain
from agentdeck.documents.step import Step
from agentdeck.engine import launch
from agentdeck.errors import UsageError
from agentdeck.insight.limits import limits
from agentdeck.insight.step import place_of_failure, recorded_story
from agentdeck.operations.step_page import page, step_document
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.views.inner_steps import MOST_NAMES, OTHERS
from agentdeck.views.run_view import RunView
from agentdeck.views.view_snapshot import restored_view, snapshot_of
from tests.agents.scripted import Script, write_scripted
from tests.api.test_questions import first_question
from tests.plugin_packages import installed

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    write_scripted(tmp_path)
    with installed(tmp_path, monkeypatch):
        yield


def workflow(play: Any, **settings: Any) -> tuple[Workflow, Script]:
    made, script = Workflow("inside", inputs={"n": {"type": "integer", "default": 1}}), Script(play)
    made.agent(script, name="review", **{"retry": 1, **settings})
    return made, script


class Recorded:
    """A run as its store has it."""

    def __init__(self, made: Workflow, db: Path) -> None:
        reader = Reader(db)
        (row,) = reader.runs()
        self.events = [event for _, event in reader.events(row.run)]
        self.lines = [line.text for line in reader.logs(row.run) if line.step == "review"]
        reader.close()
        self.view = RunView(made.definition)
        for seq, event in enumerate(self.events, 1):
            self.view.apply(seq, event)

    def of(self, *kinds: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]


def two_levels(given: CallInput) -> Iterator[Any]:
    yield Started("a", "", "write", "node", {"topic": "tea"})
    yield Started("b", "a", "model/x", "model", "prompt")
    yield Text("b", "Hot\nwater")
    yield Used("b", "gpt", 10, 4, 2)
    yield Ended("b", "Hot water")
    yield Ended("a", {"text": "Hot water"})
    yield Started("c", "", "check", "node")
    yield Used("", "gpt", 1, 1)
    yield Result({"text": "Hot water"})


async def test_inner_steps_are_recorded_with_their_place_their_values_and_their_tokens(tmp_path: Path) -> None:
    made, _ = workflow(two_levels)
    result = await made.run(db=tmp_path / "a.db")
    assert result.output == {"text": "Hot water"}
    run = Recorded(made, tmp_path / "a.db")
    write, model, check = run.of(ev.InnerStarted)
    assert (write.inner, write.name, write.parent, write.kind) == (1, "write", 0, "node")
    assert write.inputs == {"topic": "tea"}
    assert (model.inner, model.name, model.parent, check.inner, check.parent) == (2, "model∕x", 1, 3, 0)
    first, second = run.of(ev.InnerEnded)
    assert (first.inner, first.output, second.inner, second.output) == (2, "Hot water", 1, {"text": "Hot water"})
    assert (first.usage.tokens_in, first.usage.tokens_out, first.usage.cached_in) == (10, 4, 2)
    (ended,) = run.of(ev.StepSucceeded)
    assert (ended.usage.tokens_in, ended.usage.tokens_out) == (11, 5)
    assert run.lines[:2] == ["model∕x: Hot", "model∕x: water"]


async def test_inner_steps_are_counted_below_their_agent_and_not_twice(tmp_path: Path) -> None:
    made, _ = workflow(two_levels)
    await made.run(db=tmp_path / "a.db")
    view = Recorded(made, tmp_path / "a.db").view
    assert list(view.agents) == ["review"]
    assert view.agents["review"].tokens_in == 11
    assert list(view.inner) == ["review/write", "review/check", "review/write/model∕x"]
    assert view.inner["review/write/model∕x"].tokens_in == 10
    counts = view.inner["review/check"].counts
    assert (counts["running"], counts["cancelled"]) == (0, 1), "it had not ended when the attempt did"
    assert view.steps() == {**dict.fromkeys(view.steps(), 0), "done": 1}
    assert not view.inner_steps.live


async def test_a_failure_is_that_of_the_inner_step_and_of_the_attempt(tmp_path: Path) -> None:
    def play(given: CallInput) -> Iterator[Any]:
        yield Started("a", "", "write", "node")
        yield Used("a", "gpt", 7, 1)
        yield Ended("a", error="ValueError: no tea")
        yield ValueError("no tea")

    made, _ = workflow(play)
    result = await made.run(db=tmp_path / "a.db", check=False)
    assert result.state == "failed"
    run = Recorded(made, tmp_path / "a.db")
    (ended,), (failed,) = run.of(ev.InnerEnded), run.of(ev.AttemptFailed)
    assert ended.fault.message == "ValueError: no tea"
    assert failed.usage.tokens_in == 7, "what a failed attempt used is paid as well"
    assert run.view.inner["review/write"].counts["failed"] == 1


async def test_a_cancelled_attempt_keeps_what_it_used(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def stay() -> None:
        started.set()
        await asyncio.sleep(60)

    made, _ = workflow(lambda given: [Started("a", "", "write"), Used("a", "gpt", 7, 1), stay])
    async with made.start(db=tmp_path / "a.db") as run:
        await started.wait()
        await run.cancel()
    recorded = Recorded(made, tmp_path / "a.db")
    assert recorded.view.agents["review"].tokens_in == 7
    assert recorded.view.inner["review/write"].counts["cancelled"] == 1


async def test_large_values_and_too_many_steps_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentdeck.agents.inner_record.MOST", 50)

    def play(given: CallInput) -> Iterator[Any]:
        for number in range(60):
            yield Started(str(number), "", "loop", "node", "x" * 5000)
            yield Ended(str(number), {"text": "y" * 50_000})
        yield Result(None)

    made, _ = workflow(play)
    await made.run(db=tmp_path / "a.db")
    run = Recorded(made, tmp_path / "a.db")
    assert len(run.of(ev.InnerStarted)) == len(run.of(ev.InnerEnded)) == 50
    assert all(len(one.inputs) == LONGEST_EXCERPT + 1 for one in run.of(ev.InnerStarted))
    assert all(len(one.output) <= LONGEST_EXCERPT for one in run.of(ev.InnerEnded))
    assert run.lines[-1] == "… 10 more inner steps are not recorded"
    assert MOST > 10_000


def test_names_and_memory_are_bounded() -> None:
    view = RunView()
    events: list[Any] = [ev.RunStarted(0.0, "r", "w", "", {}, {}), ev.TaskOpened(0.0, "1", {})]
    events.append(ev.StepStarted(0.0, "1", "a", "a", 1, 0.0))
    for number in range(1, 10_001):
        events.append(ev.InnerStarted(1.0, "1", "a", 1, number, f"n{number}", max(0, number - 1) % 3))
        events.append(ev.InnerEnded(2.0, "1", "a", 1, number))
    for seq, event in enumerate(events, 1):
        view.apply(seq, event)
    assert len(view.inner) == MOST_NAMES + 1
    assert view.inner[f"a/{OTHERS}"].counts["done"] == 10_000 - MOST_NAMES
    assert view.inner_steps.live == {("1", "a"): {}}


async def test_a_view_is_restored_in_the_middle_of_inner_steps(tmp_path: Path) -> None:
    made, _ = workflow(two_levels)
    await made.run(db=tmp_path / "a.db")
    events = Recorded(made, tmp_path / "a.db").events
    for cut in range(1, len(events)):
        view = RunView(made.definition)
        for seq, event in enumerate(events[:cut], 1):
            view.apply(seq, event)
        restored = restored_view(made.definition, snapshot_of(view))
        for seq, event in enumerate(events[cut:], cut + 1):
            view.apply(seq, event)
            restored.apply(seq, event)
        assert snapshot_of(restored) == snapshot_of(view)


# Questions ------------------------------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "integer"}, "note": {"type": "string"}, "kind": {"enum": ["a", "b"]}},
    "required": ["amount"],
}


def interrupted(given: CallInput) -> Iterator[Any]:
    if not given.answers:
        yield Started("a", "", "gate", "node")
        yield Used("a", "gpt", 3, 1)
        yield Asked("q1", "How much?", SCHEMA, {"draft": "tea"})
        yield Asked("q2", "Sure?", {"type": "boolean"})
    else:
        yield Result(dict(given.answers))


async def test_questions_end_the_attempt_and_another_one_gets_the_answers(tmp_path: Path) -> None:
    seen: list[Question] = []

    def answers(question: Question) -> Any:
        seen.append(question)
        return {"amount": 3} if question.text == "How much?" else True

    made, script = workflow(interrupted)
    result = await made.run(answers=answers, db=tmp_path / "a.db")
    assert result.output == {"q1": {"amount": 3}, "q2": True}
    assert [one.text for one in seen] == ["How much?", "Sure?"]
    assert seen[0].shown == {"draft": "tea"}
    assert seen[0].fields["amount"].required
    assert seen[0].fields["kind"].choices == ["a", "b"]
    assert script.calls[0].thread == script.calls[1].thread
    run = Recorded(made, tmp_path / "a.db")
    assert [event.attempt for event in run.of(ev.StepStarted)] == [1, 2]
    first, second = run.of(ev.StepAnswered)
    assert (first.question, first.fields, first.how) == (
        "q1",
        {"amount": 3, "note": None, "kind": None},
        "person",
    )
    assert second.fields == {"answer": True}
    agent = run.view.agents["review"]
    assert (agent.questions, agent.counts["done"], agent.tokens_in) == (0, 1, 3)
    assert agent.waiting["approval"] >= 0.0
    assert "asks: How much?" in run.lines


async def test_a_step_that_asks_holds_no_worker_and_shows_that_it_asks(tmp_path: Path) -> None:
    made, _ = workflow(interrupted)
    made.add("other", python="tests.agents.test_inner_steps:nothing")
    async with made.start(db=tmp_path / "a.db", workers=1, wait=True) as run:
        async for event in run.events():
            if event.kind == "step_succeeded":
                break
        assert (await first_question(run)).step == "review"
        view = Recorded(made, tmp_path / "a.db").view
        assert view.open["1"].steps["review"].display_state == "asking"
        assert view.agents["review"].display_counts["asking"] == 1
        (workers,) = [one for one in limits(view, view.now) if one.name == "workers"]
        assert workers.use == 0
        await run.answer("review", {"amount": 1})
        await run.answer("review", False)
        result = await run.result()
        assert result.steps["review"].output == {"q1": {"amount": 1}, "q2": False}


def nothing() -> None:
    pass


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({}, "needs a value for amount"),
        ({"amount": "much"}, "amount of review is 'much', not an integer"),
        ({"amount": 1, "colour": "red"}, "has no field colour"),
        ({"amount": 1, "kind": "c"}, "not one of a, b"),
        (False, "not answered with no; cancel the step"),
    ],
)
async def test_an_answer_that_does_not_fit_is_refused(tmp_path: Path, answer: Any, why: str) -> None:
    made, _ = workflow(interrupted)
    async with made.start(db=tmp_path / "a.db", wait=True) as run:
        await first_question(run)
        with pytest.raises(UsageError, match=why):
            await run.answer("review", answer)
        await run.cancel()


async def test_yes_answers_what_a_plain_yes_answers(tmp_path: Path) -> None:
    def play(given: CallInput) -> Iterator[Any]:
        if given.answers:
            yield Result(given.answers["q"])
        else:
            yield Asked("q", "Go on?")

    made, _ = workflow(play)
    given = launch.Launch(made.definition, tmp_path, functions=made.functions, db=tmp_path / "a.db", yes=True)
    await launch.run(given)
    (answered,) = Recorded(made, tmp_path / "a.db").of(ev.StepAnswered)
    assert answered.how == "yes"


async def test_a_question_survives_the_process_and_the_answer_goes_to_the_same_thread(tmp_path: Path) -> None:
    made, script = workflow(interrupted)
    with pytest.raises(RunBlocked, match="review asks a question: 1 step waits") as raised:
        await made.run(db=tmp_path / "a.db")
    assert "review amount=… --task 1" in str(raised.value)
    assert "agentdeck approve" not in str(raised.value)
    assert "--yes" not in str(raised.value)
    async with open_store(tmp_path / "a.db") as store:
        (found,) = await store.runs()

    def answers(question: Question) -> Any:
        return {"amount": 9} if question.text == "How much?" else True

    async with made.resume(found.run, db=tmp_path / "a.db", answers=answers) as run:
        result = await run.result()
    assert result.output == {"q1": {"amount": 9}, "q2": True}
    assert script.calls[0].thread == script.calls[-1].thread


async def test_a_function_without_arguments_may_make_the_object(tmp_path: Path) -> None:
    made = Workflow("inside")
    made.add("review", python="tests.agents.test_inner_steps:make", retry=1)
    made.add("later", python="tests.agents.test_inner_steps:make_later", retry=1)
    result = await made.run(db=tmp_path / "a.db")
    assert {name: step.output for name, step in result.steps.items()} == {"review": "made", "later": "made"}


def make() -> Script:
    return Script(lambda given: [Result("made")])


async def make_later() -> Script:
    return make()


async def test_an_ending_without_a_result_is_an_error() -> None:
    made, _ = workflow(lambda given: [Started("a", "", "write")])
    result = await made.run(check=False)
    assert result.error is not None
    assert "ended without a result" in result.error.message


async def test_the_page_and_the_document_of_a_step_show_what_was_inside(tmp_path: Path) -> None:
    def play(given: CallInput) -> Iterator[Any]:
        yield from list(two_levels(given))[:-1]
        yield Started("d", "c", "tool", "tool", {"q": [1, 2]})
        yield Ended("d", error="ValueError: no tea")
        yield ValueError("no tea")

    made, _ = workflow(play)
    await made.run(db=tmp_path / "a.db", check=False)
    reader = Reader(tmp_path / "a.db")
    (row,) = reader.runs()
    story = recorded_story(reader, row.run, "1", "review")
    lines = [" ".join(line.split()) for line in page(story)]
    assert "failed in check › tool: exception: ValueError: no tea" in lines
    assert "4 inner steps, 1 failed" in lines
    (tool,) = (at for at, line in enumerate(lines) if " tool failed after " in line)
    assert lines[tool].endswith(" · ValueError: no tea")
    assert lines[tool + 1] == 'in {"q": [1, 2]}'
    (attempt,) = Step.model_validate(plain(step_document(story))).attempts
    assert (attempt.inside, attempt.inner_count) == ("check › tool", 4)
    assert [(one.name, one.parent, one.state) for one in attempt.inner] == [
        ("write", 0, "done"), ("model∕x", 1, "done"), ("check", 0, "cancelled"), ("tool", 3, "failed")
    ]  # fmt: skip
    assert place_of_failure(reader, row.run, "1", "review") == "check › tool"
    few = recorded_story(reader, row.run, "1", "review", inner=1)
    assert "; the last 3 are shown; more: --inner 20000" in "\n".join(page(few))
    reader.close()
