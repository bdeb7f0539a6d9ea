"""What the steps of one task could read: inputs and the results before them, by the fold of the scheduler."""

from __future__ import annotations

from agentdeck.errors import AgentdeckError
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.scope import scope_of
from agentdeck.scheduler.state import AllTasks, Step
from agentdeck.workflow.model import Agent, Data, Definition


class RecordedTask:
    """The results of one task, after the events of it that were applied. Without a definition, and where the log
    does not fit it (the file of a sub-workflow has changed), nothing is known."""

    def __init__(self, definition: Definition | None, task: str, run: str) -> None:
        self._task = task
        self._run = run
        self._fold = Fold(Program(definition), run=run, keep=AllTasks(), historic=True) if definition else None

    def apply(self, event: ev.Event) -> None:
        """Apply an event of the task. The events of a nested task do not include those of the task that it
        belongs to, so it is folded like a task of the run."""
        if self._fold is None:
            return
        if isinstance(event, ev.TaskOpened):
            event = event._replace(parent=None)
        try:
            self._fold.apply(event)
        except (AssertionError, AttributeError, LookupError, RuntimeError):
            self._fold = None

    def step(self, key: str) -> Step | None:
        """The step, with its result; None where that is not known."""
        task = self._fold.state.tasks.get(self._task) if self._fold is not None else None
        return task.step(key) if task is not None else None

    def agent(self, name: str) -> Agent | None:
        """The agent of this name; None where nothing is known."""
        return self._fold.state.program.definition.agents.get(name) if self._fold is not None else None

    def scope(self, key: str) -> dict[str, Data] | None:
        """What the step can read now; None where that is not known."""
        step = self.step(key)
        try:
            return scope_of(step, self._run) if step is not None else None
        except (AgentdeckError, IndexError, TypeError):
            return None
