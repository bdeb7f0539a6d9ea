"""What a person asks of a run: limits, haste, joins released, approvals answered, steps reopened."""

from __future__ import annotations

from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.events import AUTO
from agentdeck.scheduler.reopen import below, chain
from agentdeck.scheduler.state import OPEN, WAITING
from agentdeck.scheduler.timers import Timers
from agentdeck.workflow.model import Approve


class Steered(Timers):
    """The part of the machine that an operator steers. What makes no sense any more changes nothing."""

    def _on_turned(self, event: ev.LimitChanged | ev.RunUnpaused) -> None:
        self._record(event)
        if isinstance(event, ev.LimitChanged) and event.name.endswith(".max_parallel"):
            self._reason_parked()
        if event.who == AUTO:
            self.open_pools()
        else:
            self.open_all()

    def _on_hurried(self, event: ev.TaskHurried) -> None:
        if event.task in self.tasks:
            self._record(event)

    def _on_released(self, event: ev.StepReleased) -> None:
        step = self._open_step(event.task, event.step)
        if step is not None and step.state == WAITING and step.arrived:
            self._record(event)

    def _on_answered(self, event: ev.StepAnswered) -> None:
        step = self._open_step(event.task, event.step)
        if step is not None and step.state == OPEN and isinstance(step.acting.agent.does, Approve):
            self._record(event)

    def _on_skip(self, event: ev.SkipAsked) -> None:
        step = self._open_step(event.task, event.step)
        if step is not None and not step.ended:
            why = f"skipped by {event.who}" if event.who else "skipped"
            self._stop(step, event.at, why)
            if not step.ended:
                self._record(ev.StepSkipped(event.at, event.task, event.step, why, self._used(step)))

    def _on_reopened(self, event: ev.StepReopened) -> None:
        """Whatever of it still runs is cancelled first, so that the log tells how each attempt ended."""
        if self.cancelling:
            return
        links = chain(self, event.task, event.step)
        for task, step in links:
            nested = step is not links[-1][1]
            while live := [one for one in below(step) if not one.ended]:
                self._cancel(live[0], event.at, f"{event.step} goes again")
            self._end_cancelled(event.at)
            was = "" if task.id in self.tasks else task.ended
            again = {one.key: one.state for one in below(step)}
            inputs = None if nested else event.inputs
            self._record(ev.StepReopened(event.at, task.id, step.key, event.who, inputs, was, again, nested))
            for key in again:
                one = self.found(task.id, key)
                self._keen.discard(one)  # whatever it had asked for is given back
                if one.letter and not nested:
                    self._actions.append(act.UpdateLetters(task.id, key, "retried"))
        self._finished = self._finished and not links

    def _end_cancelled(self, at: float) -> None:
        """End the tasks nested in steps that have just been cancelled, before another takes their name."""
        for task in list(self.emptied):
            holder = self._open_step(*task.parent) if task.parent is not None else None
            if holder is not None and holder.ended:
                self._end_task(task, at)
                self.closed[task.id] = task
