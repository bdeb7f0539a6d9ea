"""Who needs a person now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from agentdeck.views.run_view import RunView

SILENT = 30.0


class AttentionItem(NamedTuple):
    """A step that needs a person, and why: asking, failed, or silent. `budget`: the whole run does."""

    why: str
    task: str
    step: str


class AttentionCounts(NamedTuple):
    """Letters to look into, approvals that wait for an answer, attempts that gave no sign of life for SILENT
    seconds; 1 for a run that its budget has paused."""

    failed: int = 0
    asking: int = 0
    silent: int = 0
    budget: int = 0


def attention_counts(
    view: RunView, now: float, heard: Callable[[str, str], float | None] | None = None
) -> AttentionCounts:
    """`heard` tells when the attempt of a task's step last said something; its start counts as well."""
    counts = {"asking": 0, "silent": 0}
    for need in _running(view, now, heard):
        counts[need.why] += 1
    return AttentionCounts(view.letters, counts["asking"], counts["silent"], int(paused_by_budget(view)))


def why_paused(view: RunView) -> str:
    """The sentence with which the run was paused; empty where it is not, or an operator did it without one."""
    if view.state != "paused":
        return ""
    return next((moment.text for moment in reversed(view.timeline) if moment.kind == "paused"), "")


def paused_by_budget(view: RunView) -> bool:
    return why_paused(view).startswith("budget")


def attention_items(
    view: RunView, now: float, heard: Callable[[str, str], float | None] | None = None
) -> Iterator[AttentionItem]:
    """Each of them that is remembered: who asks first, then what failed, then who is silent."""
    if paused_by_budget(view):
        yield AttentionItem("budget", "", "")
    running = list(_running(view, now, heard))
    yield from (need for need in running if need.why == "asking")
    for task in (*view.failed.values(), *view.open.values()):
        for step in task.steps.values():
            if step.letter:
                yield AttentionItem("failed", task.id, step.key)
    yield from (need for need in running if need.why == "silent")


def _running(
    view: RunView, now: float, heard: Callable[[str, str], float | None] | None
) -> Iterator[AttentionItem]:
    for (task, step), started in view.running.items():
        open_ = view.open.get(task)
        agent = open_.steps[step].agent if open_ is not None and step in open_.steps else None
        if agent is not None and agent.asks:
            yield AttentionItem("asking", task, step)
        elif agent is not None and not agent.uses_worker:
            continue  # it waits for its sub-workflow, whose steps are looked at themselves
        elif now - started.at > SILENT:
            last = heard(task, step) if heard else None
            if now - max(started.at, last or 0.0) > SILENT:
                yield AttentionItem("silent", task, step)
