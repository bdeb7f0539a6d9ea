"""Plays the scheduler on a virtual clock: every attempt succeeds after the seconds of its agent."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import NamedTuple

from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.workflow.model import Definition


class Played(NamedTuple):
    """When a run ended, and when its tasks did on average."""

    makespan: float
    mean_end: float


def play(
    definition: Definition,
    known: Mapping[str, float],
    takes: Mapping[str, float],
    workers: int,
    tasks: int = 1,
    order: tuple[str, ...] = (),
) -> Played:
    """Run so many tasks. The scheduler knows the seconds `known` of agents, which take `takes`, and starts steps
    in a searched `order`, if there is one. What ends at the same moment is handled together."""
    scheduler = Scheduler(Program(definition, known), run="order", workers=workers)
    now, opened, count, ended = 0.0, 0, 0, 0.0
    ends: list[tuple[float, int, ev.StepStarted]] = []
    todo: list[ev.Event | ev.Signal] = [
        ev.RunStarted(0.0, "order", definition.name, "", {}, {}, tasks=tasks, order=order)
    ]
    while True:
        while todo:
            for action in scheduler.handle(todo.pop(0)):
                match action:
                    case act.StartAttempt(started):
                        count += 1
                        heappush(ends, (now + takes[started.agent], count, started))
                    case act.PullTask():
                        opened += 1
                        more = opened <= tasks
                        todo.append(
                            ev.TaskOpened(now, str(opened), {}) if more else ev.TasksExhausted(now, tasks)
                        )
                    case act.Record(ev.TaskEnded()):
                        ended += now
                    case act.Finish():
                        return Played(now, ended / tasks)
        now, together = ends[0][0], list[ev.Event]()
        while ends and ends[0][0] == now:
            done = heappop(ends)[2]
            together.append(ev.StepSucceeded(now, done.task, done.step, done.attempt))
        todo.append(ev.Batch(now, tuple(together)))
