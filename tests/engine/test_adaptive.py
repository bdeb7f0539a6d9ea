"""`mode: adaptive` over runs: what one run learnt of the size of its tasks, the next one goes by."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from agentdeck.engine.launch import Launch, Watch, run
from agentdeck.scheduler import events as ev
from agentdeck.workflow.loader import loads
from tests.observing import EventCollector
from tests.virtual_clock import LoopClock, virtual

WORK = """
agentdeck: 1
name: sized
mode: adaptive
agents:
  a: { simulate: TAKES }
  b: { simulate: TAKES }
  c: { needs: [a, b], simulate: TAKES }
"""


def played(folder: Path, takes: str, db: Path | None = None, tasks: int = 1) -> tuple[list[str], int]:
    """What was said of the mode, and how many steps of a task went at once at most."""
    collector = EventCollector()

    async def main() -> None:
        definition = loads(WORK.replace("TAKES", takes)).definition
        launch = Launch(definition, folder, {}, [{} for _ in range(tasks)], 8, db=db)
        await run(launch, Watch([collector]), LoopClock())

    anyio.run(main, backend_options=virtual())
    log = collector.events
    live: dict[str, int] = {}
    most = 0
    for event in log:
        if isinstance(event, ev.StepStarted):
            live[event.task] = live.get(event.task, 0) + 1
            most = max(most, live[event.task])
        elif isinstance(event, ev.StepSucceeded):
            live[event.task] -= 1
    return [event.text for event in log if isinstance(event, ev.Noted)], most


def test_the_next_run_goes_by_what_was_seen(tmp_path: Path) -> None:
    said, most = played(tmp_path, "1ms", tmp_path / "runs.db")
    assert said == [
        "adaptive: the steps of a task run in parallel: no earlier task of this workflow was measured"
    ]
    assert most == 2
    said, most = played(tmp_path, "1ms", tmp_path / "runs.db")
    assert said == [
        "adaptive: the steps of a task run one after another: a task is 3 ms of work (the only one measured), "
        "under 100 ms"
    ]
    assert most == 1


@pytest.mark.parametrize(("takes", "single"), [("10ms", True), ("400ms", False)])
def test_a_run_of_many_tasks_finds_out_by_itself(tmp_path: Path, takes: str, single: bool) -> None:
    said, _ = played(tmp_path, takes, tasks=60)
    assert ("one after another: a task is 30 ms of work (p50 of 5), under 100 ms" in " ".join(said)) is single
    assert len(said) == 1 + single
