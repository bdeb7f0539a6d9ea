"""While steps wait for the disk, more tasks are opened, where a worker is free again before the disk answers."""

from __future__ import annotations

import heapq
from typing import NamedTuple

import pytest

from agentdeck.agents.python import Python
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.workflow.model import Agent, Definition

WORKERS = 8
TASKS = 100
NEEDS: dict[str, tuple[str, ...]] = {
    "extract": (),
    "check": ("extract",),
    "ship": ("extract",),
    "done": ("check", "ship"),
}


class Played(NamedTuple):
    """How long it took, and the most tasks that were open."""

    seconds: float
    open: int


def play(step_seconds: float, commit_seconds: float) -> Played:
    """Execute the tasks on a disk that takes so long for each commit, and commits all that waits together."""
    definition = Definition("w", {name: Agent(name, Python("m:f"), needs=above) for name, above in NEEDS.items()})
    scheduler = Scheduler(Program(definition), workers=WORKERS, gated=True)
    due: list[tuple[float, int, ev.Event | ev.Signal]] = [(0.0, 0, ev.RunStarted(0.0, "r", "w", "", {}, {}))]
    number = opened = written = most = 0
    writing = False
    at = 0.0
    while due:
        at, _, first = heapq.heappop(due)
        todo = [first]
        writing = writing and not isinstance(first, ev.Committed)
        while todo:
            for action in scheduler.handle(todo.pop(0)):
                number += 1
                if isinstance(action, act.StartAttempt):
                    one, end = action.started, at + step_seconds
                    done = ev.StepSucceeded(end, one.task, one.step, one.attempt)
                    heapq.heappush(due, (end, number, done))
                elif isinstance(action, act.PullTask):
                    opened += 1
                    more = opened <= TASKS
                    todo.append(ev.TaskOpened(at, str(opened), {}) if more else ev.TasksExhausted(at, TASKS))
        most = max(most, scheduler.state.open_tasks)
        if not writing and scheduler.state.seq > written:
            written, writing = scheduler.state.seq, True
            heapq.heappush(due, (at + commit_seconds, number, ev.Committed(at + commit_seconds, written)))
    assert scheduler.state.status == "done"
    return Played(at, most)


def test_a_slow_disk_has_more_to_write_at_once() -> None:
    played = play(0.0001, 0.004)
    assert WORKERS + 1 < played.open <= 2 * WORKERS + 1
    assert played.seconds < 0.15  # 0.2 with a task for each worker


@pytest.mark.parametrize("commit_seconds", [0.0, 0.0003, 0.004])
def test_tasks_of_long_steps_end_early_as_ever(commit_seconds: float) -> None:
    """A worker that takes another task is missing when the disk has answered."""
    assert play(1.0, commit_seconds).open <= WORKERS + 1
