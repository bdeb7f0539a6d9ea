"""CrewAI and Semantic Kernel without their packages: what the adapters know by themselves. `make test-frameworks`
tests them with the packages, in interpreters of their own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentdeck.agents.frameworks.crewai import CrewAI, InnerSteps
from agentdeck.agents.frameworks.crewai_questions import State
from agentdeck.agents.frameworks.framework import CallInput, Ended, Started, Text
from agentdeck.agents.frameworks.known import framework_of
from agentdeck.agents.frameworks.semantic_kernel import SemanticKernel, StreamedText, function_named

pytestmark = pytest.mark.anyio


def made(name: str, module: str, **attributes: Any) -> Any:
    """An object of a class that is derived from one of this name in this module."""
    base = type(name, (), {"__module__": module, **attributes})
    return type("Own", (base,), {"__module__": "shop"})()


@pytest.mark.parametrize(
    ("found", "framework"),
    [
        (made("Crew", "crewai.crew"), CrewAI),
        (made("Flow", "crewai.flow.runtime"), CrewAI),
        (made("Agent", "crewai.agent.core", run=print), CrewAI),
        (made("Kernel", "semantic_kernel.kernel", invoke=print), SemanticKernel),
        (made("KernelFunction", "semantic_kernel.functions.kernel_function", __call__=print), SemanticKernel),
        (made("Agent", "semantic_kernel.agents.agent"), SemanticKernel),
    ],
)
def test_objects_are_known_by_their_class(found: Any, framework: type[Any]) -> None:
    assert isinstance(framework_of(found), framework)


def test_objects_of_other_packages_are_not() -> None:
    for name, module in (("Crew", "crewai_tools.crew"), ("Task", "crewai.task"), ("Kernel", "shop")):
        assert not CrewAI().recognises(made(name, module))
        assert not SemanticKernel().recognises(made(name, module))


# Events of CrewAI


def event(type_: str, event_id: str, parent: str | None = None, **more: Any) -> Any:
    return SimpleNamespace(
        **{"type": type_, "event_id": event_id, "parent_event_id": parent, "started_event_id": None, **more}
    )


def test_what_is_not_shown_belongs_to_the_step_around_it() -> None:
    steps, user, internal = InnerSteps(False), object(), type("E", (), {"is_crewai_internal": True})()
    assert steps.convert(user, event("crew_kickoff_started", "1", crew_name="press")) == []
    assert steps.convert(user, event("task_started", "2", "1", task_name="draft")) == [
        Started("2", "", "draft", "task", None)
    ]
    agent = SimpleNamespace(role="Writer")
    begun = event("agent_execution_started", "3", "2", agent=agent, agent_role=None, task_prompt="write")
    assert steps.convert(user, begun) == [Started("3", "2", "Writer", "agent", "write")]
    assert steps.convert(internal, event("flow_started", "4", "3", flow_name="AgentExecutor")) == []
    call = event("llm_call_started", "5", "4", model="m", call_id="c", messages=[{"role": "user"}])
    assert steps.convert(user, call) == [Started("5", "3", "m", "model", [{"role": "user"}])]
    chunk = event("llm_stream_chunk", "6", "5", call_id="c", chunk="he", tool_call=None)
    assert steps.convert(user, chunk) == [Text("5", "he")]
    failed = event("llm_call_failed", "7", "4", started_event_id="5", error="no quota")
    assert steps.convert(user, failed) == [Ended("5", None, "no quota")]
    ended = event("flow_finished", "8", "3", started_event_id="4", result="x")
    assert steps.convert(internal, ended) == []
    ended = event("task_completed", "9", "1", started_event_id="2", output=SimpleNamespace(raw="text"))
    assert steps.convert(user, ended) == [Ended("2", "text")]


def test_a_method_that_has_asked_is_not_shown_as_executed_again() -> None:
    steps = InnerSteps(True)
    first, second = (event("method_execution_started", name, method_name=name) for name in ("check", "finish"))
    kinds = [one.kind for begun in (first, second) for one in steps.convert(None, begun)]  # type: ignore[union-attr]
    assert kinds == ["feedback", "method"]


# Questions of CrewAI


async def test_a_question_that_was_not_recorded_is_asked_again_and_answers_are_kept(tmp_path: Path) -> None:
    given = CallInput({}, thread="t", checkpoints=str(tmp_path / "c.db"))
    assert (await State.load(given)).question is None
    question = {"id": "ask who 1", "question": "Who?", "schema": {"type": "string"}, "shows": None}
    await State(question, repeats=True, answers={"ask who 0": "x"}).save(given)
    state = await State.load(given)
    assert state.waits_for_another({})
    assert state.asked().question == "Who?"
    assert not state.waits_for_another({"ask who 1": "me"})
    state.take({"ask who 1": "me"})
    assert state.answers == {"ask who 0": "x", "ask who 1": "me"}
    await state.drop(given)
    assert (await State.load(given)).question is None


# Functions of Semantic Kernel


def kernel(**plugins: list[str]) -> Any:
    return SimpleNamespace(
        plugins={
            plugin: SimpleNamespace(
                name=plugin, functions={name: SimpleNamespace(name=name) for name in functions}
            )
            for plugin, functions in plugins.items()
        }
    )


def test_a_function_of_a_kernel_is_named_unless_it_is_the_only_one() -> None:
    two = kernel(text=["count"], writer=["short", "count"])
    assert function_named(kernel(text=["count"]), None).name == "count"
    for name in ("writer.short", "writer-short", "short"):
        assert function_named(two, name).name == "short"
    for wanted, what in (
        (None, "3 functions"),
        ("count", "2 functions named count"),
        ("x", "no functions named x"),
    ):
        with pytest.raises(LookupError, match=rf"has {what}; name one in `with: .*text.count, writer.short"):
            function_named(two, wanted)


def test_a_streamed_answer_is_the_text_after_the_last_call_of_a_function() -> None:
    text = StreamedText()
    for attempt, role, content in ((0, "assistant", "let me see"), (0, "tool", "3"), (1, "assistant", "it is ")):
        text.add(SimpleNamespace(function_invoke_attempt=attempt, role=role, content=content))
    text.add(SimpleNamespace(function_invoke_attempt=1, role=SimpleNamespace(value="assistant"), content="three"))
    assert text.all() == "it is three"
