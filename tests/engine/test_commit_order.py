"""A step starts only once the results that it reads are on disk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agentdeck import Workflow
from agentdeck.engine import engine
from agentdeck.engine.launch import Launch, run
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.workflow.loader import loads


def test_what_a_step_reads_is_on_disk_before_it_starts(tmp_path: Path) -> None:
    workflow, reader = Workflow("chain"), Reader(tmp_path / "a.db")
    found: list[list[str]] = []

    async def look() -> None:
        events = reader.events(event_run(reader))
        found.append([event.step for _, event in events if isinstance(event, ev.StepSucceeded)])

    for n in range(60):
        workflow.agent(name=f"a{n}", needs=[f"a{n - 1}"] if n else [])(look)
    launch = Launch(workflow.definition, tmp_path, functions=workflow.functions, db=tmp_path / "a.db")
    outcome = asyncio.run(run(launch))
    assert outcome.state == "done"
    assert found == [[f"a{before}" for before in range(n)] for n in range(60)]
    reader.close()


def test_thousands_of_expansions_need_no_deep_recursion(tmp_path: Path) -> None:
    """Each step waits for a commit, and none runs an agent."""
    text = "agentdeck: 1\nname: w\ninputs: { l: { type: list, default: [] } }\n"
    text += "agents:\n  a: { each: inputs.l, simulate: 1ms }\n"
    text += "  b: { each: a, needs: a, simulate: 1ms }\n  c: { each: b, needs: b, simulate: 1ms }\n"
    rows: list[dict[str, Any]] = [{} for _ in range(600)]
    outcome = asyncio.run(run(Launch(loads(text).definition, tmp_path, {}, rows, 4, db=tmp_path / "a.db")))
    assert (outcome.state, outcome.view.tasks.done) == ("done", 600)


def test_no_more_tasks_than_workers_are_open_while_the_disk_is_far_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results that wait for the disk are in memory: the tasks that are postponed come when it has caught up."""
    monkeypatch.setattr(engine, "CROWDED", -1)
    steps = "  a: { simulate: 0 }\n  b: { simulate: 0, needs: a }\n  c: { simulate: 0, needs: b }\n"
    definition = loads(f"agentdeck: 1\nname: w\nagents:\n{steps}").definition
    rows: list[dict[str, Any]] = [{} for _ in range(40)]
    outcome = asyncio.run(run(Launch(definition, tmp_path, {}, rows, 4, db=tmp_path / "a.db")))
    assert (outcome.state, outcome.view.tasks.done) == ("done", 40)
    reader, most, open_ = Reader(tmp_path / "a.db"), 0, 0
    for _, event in reader.events(outcome.run):
        open_ += isinstance(event, ev.TaskOpened) - isinstance(event, ev.TaskEnded)
        most = max(most, open_)
    reader.close()
    assert most == 4


def event_run(reader: Reader) -> str:
    (row,) = reader.runs()
    return row.run
