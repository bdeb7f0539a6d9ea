"""Selects the task and the view from which `why` explains a step."""

from __future__ import annotations

from agentdeck.errors import UsageError
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.state import ENDED
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Definition


def step_task(view: RunView, step: str) -> str:
    """The task whose step to explain when the operator names none: the oldest open task in which the step has
    not ended, else a task in which it failed, else the task that ended last."""

    def open_in(task: str) -> bool:
        found = view.open[task].steps.get(step)
        return not view.open[task].graph.prefix and (found is None or found.state not in ENDED)

    first = next((task for task in view.open if open_in(task)), None)
    if first is not None:
        return first
    for name, task in view.failed.items():
        if not task.graph.prefix and (at := task.steps.get(step)) is not None and at.state == "failed":
            return name
    return view.recent[-1].task if view.recent else next(iter(view.open), "1")


def task_view(reader: Reader, row: RunRow, definition: Definition, task: str) -> RunView:
    """A view of one ended task, from its own events; the task stays in `open`, with its final state. A run view
    drops ended tasks. Raises UsageError if the run has no such task."""
    view, state = RunView(definition), ""
    for seq, event in reader.events(row.run):
        of = getattr(event, "task", "")
        if isinstance(event, ev.TaskEnded) and of == task:
            state = event.state  # applying the event would remove the task from the view
        elif not of or of == task or of.startswith(task + "/"):
            view.apply(seq, event)
    if not state:
        raise UsageError(f"{row.run} has no task {task}; see `agentdeck events {row.run}`")
    view.open[task].state = state
    return view
