"""CrewAI itself, in an interpreter of its own. `make test-frameworks`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentdeck import Question
from agentdeck.scheduler import events as ev
from tests.agents.frameworks.killed import effects
from tests.agents.frameworks.own_interpreter import OwnInterpreter
from tests.agents.test_inner_steps import Recorded

pytestmark = [pytest.mark.live, pytest.mark.anyio]
#: The import of CrewAI alone takes many seconds on a busy machine.
LONG = {"timeout": "90s"}


@pytest.fixture
def apart(tmp_path: Path) -> OwnInterpreter:
    return OwnInterpreter("crewai", tmp_path, "crews")


def tree(run: Recorded) -> list[str]:
    """The inner steps, each below the one around it: `task draft`."""
    depth = {0: -1}
    lines: list[str] = []
    for one in run.of(ev.InnerStarted):
        depth[one.inner] = depth[one.parent] + 1
        lines.append(f"{'  ' * depth[one.inner]}{one.kind} {one.name}")
    return lines


DRAFT = ["task draft", "  agent Writer", "    model made-up", "    tool count", "    model made-up"]
EDIT = ["task edit", "  agent Editor", "    model made-up"]
PROOF = ["task proof", "  agent Writer", "    model made-up"]


async def test_tasks_agents_models_and_tools_are_nested_with_text_and_tokens(apart: OwnInterpreter) -> None:
    made = apart.workflow("crew", **LONG)
    assert (await made.run(db=apart.db)).output == "the proof"
    run = Recorded(made, apart.db)
    assert tree(run) == [*DRAFT, *EDIT, *PROOF]
    totals = run.view.agents["review"]
    assert (totals.tokens_in, totals.tokens_out) == (40, 16)
    models = [one.usage for one in run.of(ev.InnerEnded) if one.usage is not None]
    assert [(one.tokens_in, one.cached_in, one.model) for one in models] == [(10, 3, "made-up")] * 4
    assert "made-up: Final Answer: the edit" in run.lines
    ended = {run.of(ev.InnerStarted)[one.inner - 1].name: one.output for one in run.of(ev.InnerEnded)}
    assert (ended["count"], ended["draft"], ended["Editor"]) == ("3", "the draft", "the edit")


async def test_a_crew_that_streams_and_one_object_that_many_tasks_call_at_once(apart: OwnInterpreter) -> None:
    made = apart.workflow("streams", **LONG)
    assert (await made.run(db=apart.db)).output == "the proof"
    assert "made-up: Final Answer: the edit" in [line.rstrip() for line in Recorded(made, apart.db).lines]
    many = apart.workflow("crew", **LONG)
    result = await many.run(db=apart.folder / "many.db", tasks=[{"topic": str(n)} for n in range(4)])
    assert [task.output async for task in result.tasks()] == ["the proof"] * 4


async def test_a_failure_names_what_failed_inside(apart: OwnInterpreter) -> None:
    made = apart.workflow("broken", **LONG)
    result = await made.run(db=apart.db, check=False)
    assert result.error is not None
    assert "no quota left" in result.error.message
    run = Recorded(made, apart.db)
    faults = {run.of(ev.InnerStarted)[one.inner - 1].kind: one.fault for one in run.of(ev.InnerEnded)}
    assert set(faults) == {"task", "agent", "model"}
    assert all("no quota left" in fault.message for fault in faults.values())


def answers(*given: str) -> Any:
    left = list(given)

    def answer(question: Question) -> Any:
        return {"answer": left.pop(0)}

    return answer


async def test_a_flow_goes_on_with_feedback_after_its_process_was_killed(apart: OwnInterpreter) -> None:
    apart.killed_while_it_asks("Review")
    with closing(sqlite3.connect(f"{apart.db}-checkpoints")) as db:
        ((flow,),) = db.execute("select flow_uuid from pending_feedback")
    assert "/1/review/" in flow  # prune deletes it with its run
    assert effects() == ["make", "check"]
    result = await apart.resumed("Review", answers("yes, but shorter"))
    assert result.output == {"text": "draft on tea!", "said": "yes, but shorter", "made": 1}
    assert effects() == ["make", "check", "finish"]
    run = Recorded(apart.workflow("Review"), apart.db)
    assert tree(run) == ["method make", "method check", "feedback check", "method finish"]
    (asked,) = run.of(ev.AttemptAsked)
    assert asked.questions[0]["text"] == "Is it good?"
    assert asked.questions[0]["shows"] == "draft on tea!"


async def test_feedback_is_assigned_to_an_outcome_and_a_flow_may_ask(apart: OwnInterpreter) -> None:
    made = apart.workflow("Routed", **LONG)
    result = await made.run(db=apart.db, answers=answers("go on", "Tea"), wait=True)
    assert result.output == "published with Tea"
    assert effects() == ["make", "model-outcome", "model-outcome"]  # the flow goes on from its feedback once more
    first, second = Recorded(made, apart.db).of(ev.AttemptAsked)
    assert first.questions[0]["text"] == "Publish? (approved, rejected)"
    assert second.questions[0]["text"] == "Which title?"


async def test_a_crew_goes_on_at_the_task_that_asked_after_its_process_was_killed(apart: OwnInterpreter) -> None:
    apart.killed_while_it_asks("asks")
    before = ["model-draft", "tool", "model-draft", "model-edit"]
    assert effects() == before
    result = await apart.resumed("asks", answers("shorter", ""))
    assert result.output == "the proof"
    assert effects() == [*before, "model-edit", "model-proof"]
    run = Recorded(apart.workflow("asks"), apart.db)
    first, second = run.of(ev.AttemptAsked)
    assert (first.questions[0]["shows"], second.questions[0]["shows"]) == ("the edit", "the edit, shorter")
    assert tree(run) == [*DRAFT, *EDIT, *EDIT, *EDIT[:2], *PROOF]


async def test_a_cancelled_crew_ends_with_its_process(apart: OwnInterpreter) -> None:
    await apart.cancelled_within(apart.workflow("slow", **LONG), "made-up")
    assert effects()[1:] == ["model-draft"]


async def test_nothing_is_sent_to_the_makers_and_nothing_is_written_into_the_home(
    apart: OwnInterpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(apart.folder / "home"))
    result = await apart.workflow("environment", **LONG).run(db=apart.db)
    assert result.output == {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false"}
    await apart.workflow("crew", **LONG).run(db=apart.folder / "b.db")
    assert (apart.folder / "b.db-checkpoints-crewai").is_dir()
    assert not list((apart.folder / "home").rglob("*.db"))
