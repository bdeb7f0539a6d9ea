"""What is held back for company reaches the disk, whatever happens to the run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from agentdeck import Workflow
from agentdeck.engine.launch import Launch, Watch, run
from agentdeck.engine.run_control import RunControl
from agentdeck.scheduler import events as ev
from agentdeck.store.log import MemoryLog, TableWrite
from agentdeck.store.reader import Reader
from agentdeck.workflow.loader import loads
from tests.observing import EventCollector

WORK = """
agentdeck: 1
name: w
agents:
  quick: { simulate: { takes: 1ms, returns: 1 } }
  slow: { simulate: { takes: 60s } }
"""


def test_a_result_is_kept_where_the_run_is_broken_off_at_once(tmp_path: Path) -> None:
    async def scene() -> None:
        workflow = Workflow("w")
        workflow.add("slow", simulate="60s")

        @workflow.agent
        async def quick() -> int:
            asyncio.get_running_loop().call_soon(running.cancel)  # comes before the commit of the result
            return 1

        launch = Launch(workflow.definition, tmp_path, functions=workflow.functions, db=tmp_path / "a.db")
        running = asyncio.create_task(run(launch))
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scene())
    assert [event.step for event in recorded(tmp_path / "a.db") if isinstance(event, ev.StepSucceeded)] == [
        "quick"
    ]


def test_a_result_that_nobody_waits_for_is_kept_soon(tmp_path: Path) -> None:
    async def scene() -> None:
        loop, committed = asyncio.get_running_loop(), asyncio.Event()

        def see(event: ev.Event) -> None:
            if isinstance(event, ev.StepSucceeded):
                loop.call_soon_threadsafe(committed.set)

        launch = Launch(loads(WORK).definition, tmp_path, db=tmp_path / "a.db")
        running = asyncio.create_task(run(launch, Watch([EventCollector(see)])))
        await committed.wait()
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(asyncio.wait_for(scene(), 10))


def test_the_view_has_what_is_held_back(tmp_path: Path) -> None:
    workflow, control, found = Workflow("w"), RunControl(), list[dict[str, int]]()

    @workflow.agent
    async def first() -> int:
        return 1

    @workflow.agent
    async def second(first: int) -> int:
        assert control.engine is not None
        found.append(control.engine.view.steps())
        return first

    launch = Launch(workflow.definition, tmp_path, functions=workflow.functions)
    asyncio.run(run(launch, Watch(control=control)))
    assert [(steps["done"], steps["running"]) for steps in found] == [(1, 1)]


def test_a_busy_run_does_not_hold_back_more_and_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The timer that lets go of what is held is late where all workers are busy."""
    sizes: list[int] = []
    append = MemoryLog.append

    def seen(
        log: MemoryLog, run: str, first: int, events: Sequence[ev.Event], also: Sequence[TableWrite] = ()
    ) -> None:
        sizes.append(len(events))
        append(log, run, first, events, also)

    monkeypatch.setattr(MemoryLog, "append", seen)
    workflow = Workflow("busy")
    workflow.agent(name="a")(nothing)
    tasks: list[dict[str, int]] = [{} for _ in range(5000)]
    asyncio.run(run(Launch(workflow.definition, tmp_path, {}, tasks, 64, workflow.functions)))
    assert sum(sizes) > 4 * len(tasks)
    assert max(sizes) < len(tasks)


async def nothing() -> int:
    return 1


def recorded(db: Path) -> list[ev.Event]:
    reader = Reader(db)
    (row,) = reader.runs()
    events = [event for _, event in reader.events(row.run)]
    reader.close()
    return events
