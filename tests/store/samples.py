"""Events for the store's tests."""

from __future__ import annotations

from agentdeck.scheduler.events import Event, StepStarted, StepSucceeded, TaskEnded, TaskOpened
from agentdeck.store.runs import NewRun


def order(task: int) -> list[Event]:
    """The twelve events of one task of five steps."""
    at, name = 1_789_000_000.0 + task, f"t{task}"
    events: list[Event] = [TaskOpened(at, name, {"id": task})]
    for step in ("extract", "payment", "inventory", "shipping", "confirm"):
        events.append(StepStarted(at, name, step, step, 1, at))
        events.append(StepSucceeded(at, name, step, 1, {"ok": True, "text": "x" * (task % 7 * 100)}))
    return [*events, TaskEnded(at, name, "done")]


def new_run(run: str, started: float = 1_789_000_000.0, workflow: str = "order") -> NewRun:
    return NewRun(run, workflow, "i" * 64, started)
