"""The names that expressions and templates of a step can read."""

from __future__ import annotations

from agentdeck.scheduler.state import DONE, FAILED, Step, Task
from agentdeck.workflow.expressions import Scope
from agentdeck.workflow.model import Data


def scope_of(step: Step, run: str) -> dict[str, Data]:
    """Inputs, every result upstream by name, `needs` in order of declaration, and the step's own `item` and
    `previous`. An absent result is null, and left out of `needs`. The order never depends on arrival."""
    task, rule = step.task, step.rule
    steps = task.steps
    scope: dict[str, Data] = {"inputs": task.inputs, "run": {"id": run}, "task": _task(task)}
    for i in rule.upstream:
        above = steps[i]
        if above is not None:
            scope[above.key] = above.output
    scope["needs"] = {s.key: s.output for i in rule.needs if (s := steps[i]) is not None and s.state == DONE}
    scope["previous"] = step.previous
    if step.item >= 0 and step.group is not None:
        scope["item"] = items_of(step.group, run)[step.item]
    elif rule.join.kind == "progressive" and step.arrivals:
        scope["item"] = task.at(step.arrivals[0]).output
    if rule.reports or step.acting.reports:
        report(scope, task, rule.upstream, rule.needs)
    return scope


def _task(task: Task) -> dict[str, Data]:
    """The inputs of the task, and its `id`: always the number that the engine gave it, which is unique in the
    run. An input named `id` is read as `inputs.id`. If it replaced the number, `once: "pay-${task.id}"` of two
    tasks with equal inputs would be one key."""
    return {**task.inputs, "id": task.id}


def report(scope: dict[str, Data], task: Task, upstream: tuple[int, ...], needs: tuple[int, ...]) -> None:
    """Add what `missing()`, `status()` and `error()` read."""
    seen = [s for i in upstream if (s := task.steps[i]) is not None]
    scope["__missing__"] = [s.key for i in needs if (s := task.steps[i]) is not None and s.state != DONE]
    scope["__status__"] = {s.key: s.state for s in seen}
    scope["__error__"] = {s.key: s.fault.message for s in seen if s.state == FAILED and s.fault is not None}


def evaluate_items(group: Step, run: str) -> Data:
    """The value of the group's `each`, where null counts as no items. It depends on recorded results alone, so it
    is not recorded. `previous` of the group, which has no rounds, caches it."""
    if isinstance(group.previous, list):
        return group.previous
    assert group.rule.each is not None
    scope = scope_of(group, run)
    scope["previous"] = None
    items = group.rule.each.evaluate(scope)
    if items is None:
        items = []
    if isinstance(items, list):
        group.previous = items
    return items


def items_of(group: Step, run: str) -> list[Data]:
    """The items of an expanded group."""
    items = evaluate_items(group, run)
    assert isinstance(items, list)
    return items


def output_scope(task: Task, run: str) -> Scope:
    """The names that the `output` of a workflow can read, once all steps of the task have ended."""
    program = task.program
    scope: dict[str, Data] = {"inputs": task.inputs, "run": {"id": run}, "task": _task(task)}
    for step in task.steps:
        if step is not None:
            scope[step.key] = step.output
    if program.reports:
        everyone = tuple(range(len(program.rules)))
        report(scope, task, everyone, everyone)
    return scope


def leaf_results(task: Task) -> Data:
    """The result of a task whose workflow has no `output`: that of the agents that no other agent needs."""
    leaves = [task.at(i) for i in task.program.leaves]
    if len(leaves) == 1:
        return leaves[0].output
    return {step.key: step.output for step in leaves if step.state == DONE}
