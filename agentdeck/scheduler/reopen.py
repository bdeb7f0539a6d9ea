"""Reopening: a step that has ended runs again, and with it what depended on it, in the same task.

`chain` and `affected` return what runs again; `Reopener` applies that to the state. The number of attempts goes
on; everything else of a step is reset. A task that has ended and was dropped from memory is rebuilt first
(`rebuild_task`).
"""

from __future__ import annotations

from dataclasses import dataclass

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.joins import START, Joins, evaluate, recount
from agentdeck.scheduler.ready_queue import ReadyQueue
from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.state import CANCELLED, DONE, ENDED, FAILED, OPEN, WAITING, Step, Task
from agentdeck.workflow.model import Dispatch

# What runs again ----------------------------------------------------------------------------------------------


def chain(state: RunState, task: str, key: str) -> list[tuple[Task, Step]]:
    """The steps to reopen, outermost first: those that contain the nested task, then the step itself.

    Empty where the step cannot be reopened: it has not ended, a dispatch chose another agent, or it is unknown.
    """
    found = state.tasks.get(task) or state.closed.get(task)
    step = found.step(key) if found is not None else None
    if found is None or step is None or not step.ended or not_chosen(step):
        return []
    links = [(found, step)]
    while found.id not in state.tasks and found.parent is not None:
        above = state.tasks.get(found.parent[0]) or state.closed.get(found.parent[0])
        holder = above.step(found.parent[1]) if above is not None else None
        if above is None or holder is None or not holder.ended:
            return []
        links.insert(0, (above, holder))
        found = above
    return links


def not_chosen(step: Step) -> bool:
    """Whether a dispatch that is done chose another agent than this one."""
    for index in step.rule.needs:
        above = step.task.steps[index]
        if above is not None and isinstance(above.rule.agent.does, Dispatch) and above.state == DONE:
            chosen = above.output.get("chosen") if isinstance(above.output, dict) else None
            if step.rule.index in above.rule.targets and chosen != step.key:
                return True
    return False


def affected(step: Step) -> list[Step]:
    """The step, the group that it is an item of, and all steps that used its result, in this order. A step that
    still waits has used nothing and is left out, with all that depends on it.

    A join with `rest: cancel` waits for all its needs again: those that were cancelled run again too, and the
    steps that only they need."""
    task = step.task
    if step.group is not None and not step.group.ended:
        return [step]
    found = [step] if step.group is None else [step, step.group]
    first = found[-1]
    todo = [first]
    seen = {first.rule.index}
    cancelled: set[Step] = set()
    for above in todo:
        if above is not first and (above.rule.join.rest == "cancel" or above in cancelled):
            needs = _cancelled_needs(above, seen)
            cancelled.update(needs)
            todo += needs
            found += needs
        for index in above.rule.dependents:
            after = task.steps[index]
            if after is not None and index not in seen and after.state != WAITING and not _stays(after, seen):
                seen.add(index)
                todo.append(after)
                found.append(after)
    return found


def _cancelled_needs(step: Step, seen: set[int]) -> list[Step]:
    found = []
    for index in step.rule.needs:
        need = step.task.steps[index]
        if need is not None and need.state == CANCELLED and index not in seen:
            seen.add(index)
            found.append(need)
    return found


def _stays(step: Step, seen: set[int]) -> bool:
    """Whether a dispatch that does not run again chose another agent than this one."""
    rules = step.task.program.rules
    dispatched = any(i in seen and isinstance(rules[i].agent.does, Dispatch) for i in step.rule.needs)
    return not dispatched and not_chosen(step)


# Applying it --------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Reopener:
    """Applies `StepReopened`: returns the task if it has ended, resets its steps in `again`, and starts those
    whose joins are satisfied."""

    _state: RunState
    _queue: ReadyQueue
    _joins: Joins

    def reopen(self, event: ev.StepReopened) -> None:
        state = self._state
        task = state.tasks.get(event.task) or self._reopen_task(event.task)
        if event.inputs:
            task.inputs = {**task.inputs, **event.inputs}
        if state.status in ENDED:
            state.status = "running"
        root = state.step(event.task, event.step)
        group = root.group
        steps = [state.step(event.task, key) for key in event.again or ()]
        for step in steps:
            if step is group or (step is root and event.nested):
                self._open(step)
            else:
                self._reset(step)
        if group is not None:
            group.items_left += 1
        for one in task.steps:
            if one is not None:
                recount(one, fresh=one in steps)
        again = {step.rule.index for step in steps if step.item < 0}
        for step in steps:
            if step.state == WAITING:
                alone = step is root and step.attempt and again.isdisjoint(step.rule.needs)
                if step.item >= 0 or (alone and evaluate(step) != START):
                    self._queue.make_ready(step, event.at, gate=True)
                else:
                    self._joins.update(step, event.at)

    def _reopen_task(self, name: str) -> Task:
        state = self._state
        task = state.tasks[name] = state.closed.pop(name)
        if task.parent is None:
            state.open_tasks += 1
            state.failed_tasks -= task.ended == FAILED
            state.cancelled_tasks -= task.ended == CANCELLED
        return task

    def _open(self, step: Step) -> None:
        """The step waits for its items, or for the task nested in it."""
        if step.group is None:
            step.task.left += 1
        step.output = step.fault = None
        self._state.move(step, OPEN)

    def _reset(self, step: Step) -> None:
        """Set the step to its state before it began, except the number of its attempts and an open letter."""
        task = step.task
        self._state.work += step.rule.work
        if step.group is None:
            task.left += 1
        for item in step.items or ():
            task.past[f"{task.id}/{item.key}"] = item.attempt
            step.letter |= item.letter | self._drop_nested(task.past, f"{task.id}/{item.key}")
            del task.extra[item.key]
        step.letter |= self._drop_nested(task.past, f"{task.id}/{step.key}")
        step.acting = step.rule
        step.tries = step.tier_up = step.items_left = step.losses = 0
        step.round = 1
        step.output = step.previous = step.fault = None
        step.questions = step.answers = None
        step.until = step.join_since = step.total_at = None
        step.ready_at = 0.0
        step.wait = step.wait_reason = step.backoff = step.items = step.arrivals = None
        step.valid_from = self._queue.last_ticket + 1
        self._state.move(step, WAITING)

    def _drop_nested(self, past: dict[str, int], name: str) -> bool:
        """Drop a nested task that has ended, except its numbers of attempts. Returns whether it has a letter."""
        task = self._state.closed.pop(name, None)
        if task is None:
            return False
        letter = False
        for step in task.all_steps():
            past[f"{name}/{step.key}"] = step.attempt
            letter |= step.letter | self._drop_nested(past, f"{name}/{step.key}")
        return letter
