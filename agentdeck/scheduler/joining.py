"""What the end of a step means for those that need it: the fold of joins."""

from __future__ import annotations

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.board import Board
from agentdeck.scheduler.joins import GO, NEVER, SKIP, WAIT, judge
from agentdeck.scheduler.state import BETWEEN, DONE, OPEN, SKIPPED, WAITING, Step


class Joining(Board):
    """The part of the fold that tells of ends and lets joins go."""

    def _end(self, step: Step, state: str, at: float, *, tolerated: bool = False) -> None:
        """The step will not run again unless it is reopened; tell everybody who needs it."""
        self._busy(step, state)
        step.end_seq = self.seq
        if step.letter and state == DONE:
            step.letter = False
            self.mended.append(step)
        task = step.task
        group = step.group
        if group is not None:
            group.left -= 1
            if group.left == 0 and group.state == OPEN:
                self.between.append(group)
            return
        task.left -= 1
        if task.left == 0:
            self.emptied.append(task)
        for index in step.rule.dependents:
            below = task.steps[index]
            if below is None:
                continue
            if state == DONE:
                below.arrived += 1
                if below.rule.join.kind == "progressive":
                    self._arrival(below, step.rule.index)
            elif state == SKIPPED:
                below.absent += 1
            elif tolerated:
                below.tolerated += 1
            else:
                below.broken += 1
            if below.state == WAITING:
                self._join(below, at)
            elif below.state == BETWEEN and below not in self.between:
                self.between.append(below)

    def _arrival(self, below: Step, index: int) -> None:
        if below.arrivals is None:
            below.arrivals = []
        below.arrivals.append(index)

    def _join(self, step: Step, at: float) -> None:
        verdict = judge(step)
        if verdict == WAIT:
            return
        if verdict == GO:
            if step.rule.join.rest == "cancel":
                self.pruning.append(step)
            self._make_ready(step, at, gate=True)
        elif verdict in (NEVER, SKIP):
            self.doomed.append((step, verdict))

    def _step_released(self, event: ev.StepReleased) -> None:
        step = self.found(event.task, event.step)
        if step.rule.join.rest == "cancel":
            self.pruning.append(step)
        self._make_ready(step, event.at, gate=True)
