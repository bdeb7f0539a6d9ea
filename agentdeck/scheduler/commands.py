"""What an operator asks of a run: limits, priority, releases, answers, steps skipped or reopened.

A command that no longer makes sense, such as one for a step that has ended, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.cancellation import Cancellation
from agentdeck.scheduler.expansion import Expansion
from agentdeck.scheduler.provider_queues import ProviderQueues
from agentdeck.scheduler.questions import approval_of, asks, current
from agentdeck.scheduler.ready_queue import ReadyQueue
from agentdeck.scheduler.recorder import Recorder
from agentdeck.scheduler.reopen import affected, chain
from agentdeck.scheduler.reservations import Reservations
from agentdeck.scheduler.run_state import Pending, RunState
from agentdeck.scheduler.state import WAITING, Step, Task


@dataclass(slots=True, eq=False)
class Commands:
    """Checks the commands of an operator against the state, and records what they mean."""

    _state: RunState
    _queue: ReadyQueue
    _providers: ProviderQueues
    _pending: Pending
    _recorder: Recorder
    _cancellation: Cancellation
    _reservations: Reservations
    _expansion: Expansion

    def limit_changed(self, event: ev.LimitChanged) -> None:
        self._recorder.record(event)
        if event.name.endswith(".max_parallel"):
            self._queue.update_parked_reasons()
        if event.who == ev.AUTO:
            self._providers.open_released()
        else:
            self._providers.open_all()

    def unpause(self, event: ev.RunUnpaused) -> None:
        self._recorder.record(event)
        self._providers.open_all()

    def hurry(self, event: ev.TaskHurried) -> None:
        if event.task in self._state.tasks:
            self._recorder.record(event)

    def release(self, event: ev.StepReleased) -> None:
        step = self._state.find(event.task, event.step)
        if step is not None and step.state == WAITING and step.arrived:
            self._recorder.record(event)

    def answer(self, event: ev.StepAnswered) -> None:
        step = self._state.find(event.task, event.step)
        if step is None or approval_of(step) is None:
            return
        question = current(step)
        if event.question == ("" if question is None else question["id"]):
            self._recorder.record(event)
            if step.questions:
                self._recorder.record(asks(event.at, step))

    def skip(self, event: ev.SkipAsked) -> None:
        step = self._state.find(event.task, event.step)
        if step is not None and not step.ended:
            why = f"skipped by {event.who}" if event.who else "skipped"
            self._cancellation.stop(step, event.at, why)
            if not step.ended:
                usage = self._recorder.usage_of(step)
                self._recorder.record(ev.StepSkipped(event.at, event.task, event.step, why, usage))

    # Reopening

    def reopen(self, event: ev.StepReopened) -> bool:
        """Reopen a step and all that used its result. Returns whether anything was reopened."""
        if self._cancellation.of_run:
            return False
        links = chain(self._state, event.task, event.step)
        for task, step in links:
            self._reopen(task, step, event, nested=step is not links[-1][1])
        return bool(links)

    def _reopen(self, task: Task, step: Step, event: ev.StepReopened, *, nested: bool) -> None:
        """Steps that still run are cancelled first, so that the log says how each attempt ended."""
        while live := [one for one in affected(step) if not one.ended]:
            self._cancellation.cancel(live[0], event.at, f"{event.step} runs again")
        self._end_cancelled_tasks(event.at)
        was = "" if task.id in self._state.tasks else task.ended
        again = {one.key: one.state for one in affected(step)}
        inputs = None if nested else event.inputs
        self._recorder.record(ev.StepReopened(event.at, task.id, step.key, event.who, inputs, was, again, nested))
        for key in again:
            one = self._state.step(task.id, key)
            self._reservations.withdraw(one)
            if one.letter and not nested:
                self._recorder.request(act.UpdateLetters(task.id, key, "retried"))

    def _end_cancelled_tasks(self, at: float) -> None:
        """End the tasks nested in steps that were just cancelled, before another task takes their id."""
        for task in list(self._pending.finished):
            holder = self._state.find(*task.parent) if task.parent is not None else None
            if holder is not None and holder.ended:
                self._expansion.end_task(task, at)
                self._state.restore({task.id: task})
        for task in self._expansion.end_abandoned(at):
            self._state.restore({task.id: task})
