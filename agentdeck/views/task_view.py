"""The tasks of a run that the view remembers, and their steps."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.views.agent_totals import GraphTotals, RunTotals
from agentdeck.views.step_transitions import StepView

#: Ended tasks that are kept as one row each.
RECENT = 200
#: Ended tasks with a failed step that are kept with all their steps, as far as these are not too many.
KEPT_FAILED = 1000
KEPT_STEPS = 50_000


@dataclass(slots=True, eq=False)
class TaskView:
    """A task with the steps that the log has named. `partial`: the task had been forgotten and was reopened, so
    its other steps are counted already."""

    id: str
    opened: float
    graph: GraphTotals
    parent: tuple[str, str] | None
    state: str = "running"
    ended: float | None = None
    fault: Fault | None = None
    steps: dict[str, StepView] = field(default_factory=dict)
    partial: bool = False

    @property
    def display_state(self) -> str:
        """Its state as screens show it: `asking` where no step runs and one asks the operator."""
        states = {step.display_state for step in self.steps.values()} if self.state == "running" else ()
        return "asking" if "asking" in states and "running" not in states else self.state


class TaskRow(NamedTuple):
    """What is kept of a task that ended."""

    task: str
    state: str
    opened: float
    ended: float
    attempts: int
    error: str = ""

    @property
    def display_state(self) -> str:
        return self.state


@dataclass(slots=True, eq=False)
class TaskCounts:
    """Counts of the run's own tasks; nested ones are not among them.

    `given` is the number of tasks the run was launched with, None where they were not counted. `total` is None
    until no more are opened; then it is the number of all tasks, with those that were never started. `at_least`:
    there may have been more, as the run was cancelled before its source ended.
    """

    given: int | None = None
    total: int | None = None
    at_least: bool = False
    opened: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0

    def add(self, state: str, number: int) -> None:
        if state == "done":
            self.done += number
        elif state == "failed":
            self.failed += number
        elif state == "cancelled":
            self.cancelled += number

    @property
    def ended(self) -> int:
        return self.done + self.failed + self.cancelled

    @property
    def never_started(self) -> int | None:
        """The number of tasks that a run which opens no more never opened; None where that is not known."""
        if self.total is None:
            return None if self.given is None else max(0, self.given - self.opened)
        return None if self.at_least else max(0, self.total - self.opened)


class TaskViews:
    """The tasks that are remembered: `open` ones; `failed` ones, which ended with a failed step and can be opened
    again; and in `recent` one row for each of the last that ended. All but the open ones are bounded."""

    def __init__(self, totals: RunTotals) -> None:
        self.open: dict[str, TaskView] = {}
        self.failed: dict[str, TaskView] = {}
        self.recent: deque[TaskRow] = deque(maxlen=RECENT)
        self._totals = totals
        self.kept_steps = 0

    def add(self, task: str, at: float, graph: GraphTotals, parent: tuple[str, str] | None) -> TaskView | None:
        """Open a task. Returns the failed one of the same name that it replaces: its step was reopened."""
        earlier = self.failed.pop(task, None)
        if earlier is not None:
            self.kept_steps -= len(earlier.steps)
        graph.opened += 1
        self.open[task] = TaskView(task, at, graph, parent)
        return earlier

    def add_call(self, event: ev.TaskOpened, graph: GraphTotals) -> None:
        """Open a call through the gateway, a task with one step. Which agents its graph has is not known before
        they are called, so each of their steps is counted by itself."""
        task = self.open[event.task] = TaskView(event.task, event.at, graph, event.parent)
        agent = self._totals.agent(graph, event.called, has_steps=False)
        agent.counts["waiting"] += 1
        task.steps[event.called] = StepView(event.called, agent, "waiting", event.at)

    def task(self, task: str, at: float) -> TaskView:
        """The task, open again if it had ended. One that is not remembered is added as it is named."""
        view = self.open.get(task)
        if view is None:
            view = self.failed.pop(task, None) or TaskView(task, at, self._totals.graphs[""], None)
            self.kept_steps -= len(view.steps)
            view.state, view.ended, view.fault = "running", None, None
            self.open[task] = view
        return view

    def step(self, task: TaskView, key: str) -> StepView:
        """The step of a task, added when the log first names it."""
        step = task.steps.get(key)
        if step is None:
            name, state = key, "waiting"
            if key[-1:] == "]":
                name = key.partition("[")[0]
            agent = self._totals.agent(task.graph, name)
            if name is not key:
                group = task.steps.get(name)
                state = "ready"
                if task.partial:
                    state = "done"  # it is counted so, from when it was remembered
                elif group is not None and group.seen < group.size:
                    group.seen += 1
                else:
                    agent.counts["ready"] += 1
            step = task.steps[key] = StepView(key, agent, state, task.opened)
        return step

    def end(self, task: TaskView) -> None:
        """Forget an ended task, unless it has a failed step: the last KEPT_FAILED of those stay."""
        del self.open[task.id]
        if task.parent is None and task.ended is not None:
            attempts = 0
            for step in task.steps.values():
                attempts += step.attempts
            error = task.fault.message if task.fault else ""
            self.recent.append(TaskRow(task.id, task.state, task.opened, task.ended, attempts, error))

    def keep_failed(self, task: TaskView) -> None:
        if self.kept_steps + len(task.steps) > KEPT_STEPS:
            task.steps = {}
        self.kept_steps += len(task.steps)
        self.failed[task.id] = task
        if len(self.failed) > KEPT_FAILED:
            self.kept_steps -= len(self.failed.pop(next(iter(self.failed))).steps)

    def recount_kept_steps(self) -> None:
        """Count the kept steps again, after failed tasks were restored."""
        self.kept_steps = sum(len(task.steps) for task in self.failed.values())

    def drop_row(self, task: str) -> None:
        """Remove the row of a task that is open again."""
        row = next((row for row in reversed(self.recent) if row.task == task), None)
        if row:
            self.recent.remove(row)
