"""A fold with one open task, for tests of single parts of the scheduler."""

from __future__ import annotations

from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.recorder import Recorder
from agentdeck.scheduler.state import Step
from agentdeck.workflow.model import Agent, Budget
from tests.scheduler.driver import definition


def opened(*agents: Agent, budget: Budget | None = None, tasks: int = 1, gated: bool = False) -> Fold:
    """A fold with so many tasks open."""
    fold = Fold(Program(definition(*agents, budget=budget)), run="r", gated=gated)
    for number in range(1, tasks + 1):
        fold.apply(ev.TaskOpened(0.0, str(number), {}))
    return fold


def step(fold: Fold, key: str, task: str = "1") -> Step:
    return fold.state.step(task, key)


def start(fold: Fold, *keys: str, task: str = "1", at: float = 0.0) -> None:
    for key in keys:
        one = step(fold, key, task)
        fold.apply(ev.StepStarted(at, task, key, one.acting.name, one.attempt + 1, one.ready_at))


def succeed(fold: Fold, *keys: str, task: str = "1", at: float = 1.0, output: object = None) -> None:
    """Start and end these steps well."""
    for key in keys:
        start(fold, key, task=task, at=at)
        fold.apply(ev.StepSucceeded(at, task, key, step(fold, key, task).attempt, output))


def recorded(recorder: Recorder) -> list[ev.Event]:
    """What was recorded, without other actions."""
    return [action.event for action in recorder.actions if isinstance(action, act.Record)]
