"""When a step may start, given how its needs ended."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agentdeck.scheduler.ready_queue import ReadyQueue
from agentdeck.scheduler.run_state import Pending, RunState
from agentdeck.scheduler.state import BETWEEN, DONE, FAILED, OPEN, SKIPPED, WAITING, Step
from agentdeck.workflow.model import Join

#: Verdicts on a join: start the step, wait, skip it (all its needs were skipped), or it can never be satisfied.
START, WAIT, SKIP, NEVER = "start", "wait", "skip", "never"


def evaluate(step: Step, *, overdue: bool = False) -> str:
    """The verdict on the step's join. `overdue`: `within` is over, so that `min` needs are enough.

    Prior art for a quorum with a floor: speculative joins in dataflow engines. The rule here is our own.
    """
    total = len(step.rule.needs)
    if step.arrived == total:
        return START
    if step.absent == total:
        return SKIP
    join = step.rule.join
    arrived, due = step.arrived, total - step.absent
    pending = due - arrived - step.tolerated - step.broken
    if join.kind == "progressive":
        # Each arrival starts a round of its own; the join fails only where nothing arrives at all.
        return START if arrived else WAIT if pending else NEVER
    if join.kind == "all" and join.within is None:
        return NEVER if step.broken else WAIT if pending else START
    return _evaluate_quorum(step, pending, overdue)


def _evaluate_quorum(step: Step, pending: int, overdue: bool) -> str:
    join, arrived, due = step.rule.join, step.arrived, len(step.rule.needs) - step.absent
    goal = goal_of(join, due)
    floor = floor_of(join, goal)
    if arrived >= goal or (join.kind == "all" and arrived + step.tolerated >= due):
        return START
    if arrived >= floor and (overdue or not pending):
        return START
    if arrived + pending < floor or overdue:
        return NEVER
    return WAIT


def goal_of(join: Join, due: int) -> int:
    """How many arrivals start the step at once; `due` are the needs that were not skipped."""
    if join.kind in ("any", "progressive"):
        return 1
    if join.quorum is None or isinstance(join.quorum, int):
        return due if join.quorum is None else join.quorum
    return max(1, math.ceil(join.quorum * due - 1e-9))


def floor_of(join: Join, goal: int) -> int:
    """The fewest arrivals that are enough: `min`, else 1 where `within` is set, else the goal itself."""
    if join.min is not None:
        return min(join.min, goal)
    return 1 if join.within is not None else goal


def recount(step: Step, *, fresh: bool) -> None:
    """Count again how the needs of a step ended. `fresh`: the step has not consumed any arrival."""
    step.arrived = step.absent = step.tolerated = step.broken = 0
    for index in step.rule.needs:
        need = step.task.steps[index]
        if need is None or not need.ended:
            continue
        if need.state == DONE:
            step.arrived += 1
            if fresh and step.rule.join.kind == "progressive":
                step.arrivals = [*(step.arrivals or ()), index]
        elif need.state == SKIPPED:
            step.absent += 1
        elif need.state == FAILED and need.rule.agent.on_error.action == "continue":
            step.tolerated += 1
        else:
            step.broken += 1


@dataclass(slots=True, eq=False)
class Joins:
    """Ends steps, counts that in the steps that need them, and starts those whose join is satisfied."""

    _state: RunState
    _queue: ReadyQueue
    _pending: Pending

    def end_step(self, step: Step, outcome: str, at: float, *, tolerated: bool = False) -> None:
        """The step does not run again unless it is reopened."""
        state = self._state
        state.move(step, outcome)
        step.end_seq = state.seq
        if step.items is None:
            state.work -= step.rule.work
        if step.letter and outcome == DONE:
            step.letter = False
            self._pending.recovered.append(step)
        task = step.task
        group = step.group
        if group is not None:
            group.items_left -= 1
            if group.items_left == 0 and group.state == OPEN:
                self._pending.undecided.append(group)
            return
        task.left -= 1
        if task.left == 0:
            self._pending.finished.append(task)
        for index in step.rule.dependents:
            below = task.steps[index]
            if below is not None:
                self._count(below, step, outcome, tolerated)
                if below.state == WAITING:
                    self.update(below, at)
                elif below.state == BETWEEN and below not in self._pending.undecided:
                    self._pending.undecided.append(below)

    def _count(self, below: Step, need: Step, outcome: str, tolerated: bool) -> None:
        if outcome == DONE:
            below.arrived += 1
            if below.rule.join.kind == "progressive":
                if below.arrivals is None:
                    below.arrivals = []
                below.arrivals.append(need.rule.index)
        elif outcome == SKIPPED:
            below.absent += 1
        elif tolerated:
            below.tolerated += 1
        else:
            below.broken += 1

    def update(self, step: Step, at: float) -> None:
        """Start a waiting step if its join is satisfied, or note that it never will be."""
        verdict = evaluate(step)
        if verdict == START:
            self.start(step, at)
        elif verdict != WAIT:
            self._pending.unsatisfiable.append((step, verdict))

    def start(self, step: Step, at: float) -> None:
        """The step goes on with the needs that have arrived."""
        if step.rule.join.rest == "cancel":
            self._pending.unneeded.append(step)
        self._queue.make_ready(step, at, gate=True)
