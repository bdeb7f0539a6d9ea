"""Going again: a step that has ended, and what depended on it, in the same task.

`chain` works out what goes again, and `reopen` applies it to a fold. Attempts go on counting; everything else of
a step begins anew. A task that has ended and left memory is brought back by `past` first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.joins import GO, judge
from agentdeck.scheduler.state import CANCELLED, DONE, ENDED, FAILED, OPEN, SKIPPED, WAITING, Step, Task
from agentdeck.workflow.model import Dispatch

if TYPE_CHECKING:
    from agentdeck.scheduler.fold import Fold


# What goes again ----------------------------------------------------------------------------------------------


def chain(fold: Fold, task: str, key: str) -> list[tuple[Task, Step]]:
    """The steps to reopen, outermost first: those that hold the nested task, then the step itself.

    Empty where the step cannot go again: it has not ended, is no longer part of its task, or is not known.
    """
    found = fold.tasks.get(task) or fold.closed.get(task)
    step = found.step(key) if found is not None else None
    if found is None or step is None or not step.ended or unchosen(step):
        return []
    links = [(found, step)]
    while found.id not in fold.tasks and found.parent is not None:
        above = fold.tasks.get(found.parent[0]) or fold.closed.get(found.parent[0])
        holder = above.step(found.parent[1]) if above is not None else None
        if above is None or holder is None or not holder.ended:
            return []
        links.insert(0, (above, holder))
        found = above
    return links


def unchosen(step: Step) -> bool:
    """Whether a dispatch that stands chose another agent than this one."""
    for index in step.rule.needs:
        above = step.task.steps[index]
        if above is not None and isinstance(above.rule.agent.does, Dispatch) and above.state == DONE:
            chosen = above.output.get("chosen") if isinstance(above.output, dict) else None
            if step.rule.index in above.rule.targets and chosen != step.key:
                return True
    return False


def below(step: Step) -> list[Step]:
    """The step, the group it is an item of, and everything that has come after it, in this order. What still
    waits has used nothing of it and is left out, with all that comes after.

    Of what comes after, a join with `rest: cancel` waits for all its needs anew: those that were cancelled go
    again too, and what only fed them."""
    task = step.task
    if step.group is not None and not step.group.ended:
        return [step]
    found = [step] if step.group is None else [step, step.group]
    first = found[-1]
    todo = [first]
    seen = {first.rule.index}
    pruned: set[Step] = set()
    for above in todo:
        if above is not first and (above.rule.join.rest == "cancel" or above in pruned):
            for index in above.rule.needs:
                need = task.steps[index]
                if need is not None and need.state == CANCELLED and index not in seen:
                    seen.add(index)
                    todo.append(need)
                    found.append(need)
                    pruned.add(need)
        for index in above.rule.dependents:
            after = task.steps[index]
            if after is None or index in seen or after.state == WAITING:
                continue
            standing = unchosen(after) and not any(
                i in seen for i in after.rule.needs if isinstance(task.program.rules[i].agent.does, Dispatch)
            )
            if not standing:
                seen.add(index)
                todo.append(after)
                found.append(after)
    return found


# Applying it --------------------------------------------------------------------------------------------------


def reopen(fold: Fold, event: ev.StepReopened) -> None:
    """Bring the task back if it had ended, reset the steps in `again`, and let go what can."""
    task = fold.tasks.get(event.task)
    if task is None:
        task = fold.tasks[event.task] = fold.closed.pop(event.task)
        if task.parent is None:
            fold.top += 1
            fold.failed_tasks -= task.ended == FAILED
            fold.cancelled_tasks -= task.ended == CANCELLED
    if event.inputs:
        task.inputs = {**task.inputs, **event.inputs}
    if fold.state in ENDED:
        fold.state = "running"
    root = fold.found(event.task, event.step)
    group = root.group
    steps = [fold.found(event.task, key) for key in event.again or ()]
    for step in steps:
        if step is group or (step is root and event.nested):
            _open_again(fold, step)
        else:
            _forget(fold, step)
    if group is not None:
        group.left += 1
    for one in task.steps:
        if one is not None:
            _recount(one, anew=one in steps)
    anew = {step.rule.index for step in steps if step.item < 0}
    for step in steps:
        if step.state != WAITING:
            continue
        alone = step is root and step.attempt and anew.isdisjoint(step.rule.needs)
        if step.item >= 0 or (alone and judge(step) != GO):
            fold._make_ready(step, event.at, gate=True)
        else:
            fold._join(step, event.at)


def _open_again(fold: Fold, step: Step) -> None:
    """Others end it: its items, or a nested task."""
    if step.group is None:
        step.task.left += 1
    step.output = step.fault = None
    fold._busy(step, OPEN)


def _forget(fold: Fold, step: Step) -> None:
    """As it was before it began, but for the number of its attempts and a letter that may still be closed."""
    task = step.task
    if step.group is None:
        task.left += 1
    for item in step.items or ():
        task.past[f"{task.id}/{item.key}"] = item.attempt
        step.letter |= item.letter | _bury(fold, task.past, f"{task.id}/{item.key}")
        del task.extra[item.key]
    step.letter |= _bury(fold, task.past, f"{task.id}/{step.key}")
    step.acting = step.rule
    step.tries = step.tier_up = step.left = 0
    step.round = 1
    step.output = step.previous = step.fault = None
    step.until = step.clock = step.total_at = None
    step.wait = step.waits = step.items = step.arrivals = None
    step.since = fold._ticket + 1
    fold._busy(step, WAITING)


def _bury(fold: Fold, past: dict[str, int], nested: str) -> bool:
    """Forget a nested task that has ended, all but its attempts. Whether it has a letter."""
    task = fold.closed.pop(nested, None)
    if task is None:
        return False
    letter = False
    for step in fold._steps_of(task):
        past[f"{nested}/{step.key}"] = step.attempt
        letter |= step.letter | _bury(fold, past, f"{nested}/{step.key}")
    return letter


def _recount(step: Step, *, anew: bool) -> None:
    """How its needs ended, counted afresh."""
    step.arrived = step.absent = step.tolerated = step.broken = 0
    for index in step.rule.needs:
        need = step.task.steps[index]
        if need is None or not need.ended:
            continue
        if need.state == DONE:
            step.arrived += 1
            if anew and step.rule.join.kind == "progressive":
                step.arrivals = [*(step.arrivals or ()), index]
        elif need.state == SKIPPED:
            step.absent += 1
        elif need.state == FAILED and need.rule.agent.on_error.action == "continue":
            step.tolerated += 1
        else:
            step.broken += 1
