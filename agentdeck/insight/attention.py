"""The steps that need the operator now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from agentdeck.views.run_view import RunView

#: An attempt is silent after so many seconds without output.
SILENT = 30.0
#: When the attempt of a task's step last gave output; None where it has not.
LastOutput: TypeAlias = Callable[[str, str], float | None]


class AttentionItem(NamedTuple):
    """A step that needs the operator, and why: asking, failed, or silent. `budget`: the whole run does. `place`:
    the place named by `step` is out of reach."""

    why: str
    task: str
    step: str


class AttentionCounts(NamedTuple):
    """The numbers of dead letters, of approvals that wait for an answer, and of attempts without output for
    SILENT seconds; 1 for a run that its budget has paused; the number of places that are out of reach."""

    failed: int = 0
    asking: int = 0
    silent: int = 0
    budget: int = 0
    places: int = 0


def attention_counts(view: RunView, now: float, last_output: LastOutput | None = None) -> AttentionCounts:
    """How many items need attention, by kind."""
    counts = {"asking": 0, "silent": 0}
    for item in _running(view, now, last_output):
        counts[item.why] += 1
    return AttentionCounts(
        view.letters, counts["asking"], counts["silent"], int(paused_by_budget(view)), len(view.closed_places)
    )


def why_paused(view: RunView) -> str:
    """The reason for which the run is paused; empty where it is not, or where the operator gave none."""
    if view.state != "paused":
        return ""
    return view.timeline.last("paused")


def paused_by_budget(view: RunView) -> bool:
    return why_paused(view).startswith("budget")


def attention_items(view: RunView, now: float, last_output: LastOutput | None = None) -> Iterator[AttentionItem]:
    """The items that the view remembers: steps that ask first, then those that failed, then silent ones."""
    if paused_by_budget(view):
        yield AttentionItem("budget", "", "")
    yield from (AttentionItem("place", "", name) for name in view.closed_places)
    running = list(_running(view, now, last_output))
    yield from (item for item in running if item.why == "asking")
    for task in (*view.failed.values(), *view.open.values()):
        for step in task.steps.values():
            if step.letter:
                yield AttentionItem("failed", task.id, step.key)
    yield from (item for item in running if item.why == "silent")


def _running(view: RunView, now: float, last_output: LastOutput | None) -> Iterator[AttentionItem]:
    yield from _questions(view)
    for (task, step), started in view.running.items():
        open_ = view.open.get(task)
        agent = open_.steps[step].agent if open_ is not None and step in open_.steps else None
        if agent is not None and agent.asks:
            yield AttentionItem("asking", task, step)
        elif agent is not None and not agent.uses_worker:
            continue  # it waits for its sub-workflow, whose steps have items of their own
        elif now - started.at > SILENT:
            last = last_output(task, step) if last_output else None
            if now - max(started.at, last or 0.0) > SILENT:
                yield AttentionItem("silent", task, step)


def _questions(view: RunView) -> Iterator[AttentionItem]:
    """The steps whose last attempt had questions that are not answered."""
    if any(totals.questions for totals in view.agents.values()):
        for task in view.open.values():
            yield from (AttentionItem("asking", task.id, step.key) for step in task.steps.values() if step.asks)
