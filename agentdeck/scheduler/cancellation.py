"""Cancelling steps, tasks and runs, and needs that no step waits for any more."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.recorder import Recorder
from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.state import OPEN, RUNNING, WAITING, Step

#: Why calls end with the attempt that made them.
CALLER_ENDED = "the attempt that made the call has ended"


@dataclass(slots=True, eq=False)
class Cancellation:
    """Ends steps that have not ended, with everything inside them. `of_run` is set once the whole run has been
    cancelled in this process."""

    _state: RunState
    _recorder: Recorder
    of_run: bool = field(default=False, init=False)

    def requested(self, event: ev.CancelAsked) -> None:
        """Cancel the run, a task or a step. With `now`, processes get no time to end by themselves."""
        self._cancel_requested(event)
        if event.now:
            self._recorder.cancel_at_once()

    def _cancel_requested(self, event: ev.CancelAsked) -> None:
        state = self._state
        why = f"cancelled by {event.who}" if event.who else "cancelled"
        if event.step:
            step = state.find(event.task, event.step)
            if step is not None and not step.ended:
                self.cancel(step, event.at, why)
            return
        if not event.task:
            self.of_run = True
            if not state.exhausted:
                self._recorder.record(ev.TasksExhausted(event.at, state.opened, cut=True))
        for task in list(state.tasks.values()):
            if not event.task or task.id == event.task or task.id.startswith(event.task + "/"):
                for step in task.all_steps():
                    if not step.ended:
                        self.cancel(step, event.at, why)

    def cancel(self, step: Step, at: float, why: str) -> None:
        """End a step that has not ended, with its attempt and everything inside it."""
        self.stop(step, at, why)
        if not step.ended:
            usage = self._recorder.usage_of(step)
            self._recorder.record(ev.StepCancelled(at, step.task.id, step.key, why, usage))

    def stop(self, step: Step, at: float, why: str) -> None:
        """Stop the step's attempt, and end everything inside the step."""
        if step.state == RUNNING or (step.state == OPEN and step.items is None):
            self._recorder.request(act.CancelAttempt(step.task.id, step.key, step.attempt, why))
        self.cancel_inside(step, at, why)

    def cancel_inside(self, step: Step, at: float, why: str) -> None:
        """End the items of a step, its calls, and the steps of the task nested in it."""
        for item in step.items or ():
            if not item.ended:
                self.cancel(item, at, why)
        self.end_calls(step, at, why)
        nested = self._state.tasks.get(f"{step.task.id}/{step.key}")
        if nested is not None:
            for inner in nested.all_steps():
                if not inner.ended:
                    self.cancel(inner, at, why)

    def end_calls(self, step: Step, at: float, why: str) -> None:
        """End the calls of an attempt that ends: nothing waits for their answers any more."""
        for call in list(step.calls.values()) if step.calls else ():
            for inner in call.all_steps():
                if not inner.ended:
                    self.cancel(inner, at, why)

    def cancel_unneeded(self, step: Step, at: float) -> None:
        """`rest: cancel`: end the needs that no other step waits for, and what only they need."""
        task = step.task
        for index in step.rule.needs:
            need = task.steps[index]
            if need is None or need.ended or need.rule.leaf:
                continue
            others = (task.steps[i] for i in need.rule.dependents)
            if any(o is not None and o.state == WAITING for o in others):
                continue
            self.cancel(need, at, f"{step.key} started without it")
            self.cancel_unneeded(need, at)
