"""How recorded events change steps: their attempts start, end, are lost or deferred, and the steps end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agentdeck.errors import STOPPING
from agentdeck.limits.budget import NO_HOLD
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import output_of
from agentdeck.scheduler.joins import Joins
from agentdeck.scheduler.program import Rule, auto_timeout
from agentdeck.scheduler.provider_queues import ProviderQueues
from agentdeck.scheduler.questions import value_of
from agentdeck.scheduler.ready_queue import ReadyQueue
from agentdeck.scheduler.run_state import Pending, RunState
from agentdeck.scheduler.sequential_lanes import SequentialLanes
from agentdeck.scheduler.state import (
    BETWEEN,
    CANCELLED,
    DEFERRED,
    DONE,
    FAILED,
    HELD,
    OPEN,
    RUNNING,
    SKIPPED,
    Step,
)
from agentdeck.scheduler.timers import Timers


@dataclass(slots=True, eq=False)
class StepFold:
    """Applies the events of single steps. Whatever ends an attempt releases what it held.

    `historic`: the attempts ended long ago. What they used was settled then, and their durations were measured
    then, so the accounts and the adaptive timeouts stay as they are.
    """

    _state: RunState
    _queue: ReadyQueue
    _timers: Timers
    _joins: Joins
    _pending: Pending
    _lanes: SequentialLanes
    _providers: ProviderQueues
    _historic: bool

    def handlers(self) -> dict[type, Callable[[Any], None]]:
        """The method for each type of event."""
        return {
            ev.StepStarted: self.started,
            ev.AttemptPlaced: _nothing,
            ev.ReservationGrew: self.reservation_grew,
            ev.StepSucceeded: self.succeeded,
            ev.AttemptFailed: self.attempt_failed,
            ev.AttemptLost: self.attempt_lost,
            ev.AttemptDeferred: self.attempt_deferred,
            ev.AttemptAsked: self.attempt_asked,
            ev.InnerStarted: _nothing,
            ev.InnerEnded: _nothing,
            ev.StepRetrying: self.retrying,
            ev.StepFellBack: self.fell_back,
            ev.StepRepeated: self.repeated,
            ev.StepExpanded: self.expanded,
            ev.StepDone: self.done,
            ev.StepFailed: self.failed,
            ev.StepSkipped: self.skipped,
            ev.StepCancelled: self.cancelled,
            ev.StepReleased: self.released,
            ev.StepAnswered: self.answered,
            ev.StepWaited: self.waited,
        }

    # Attempts

    def started(self, event: ev.StepStarted) -> None:
        state = self._state
        step = state.step(event.task, event.step)
        rule = step.acting
        step.attempt = event.attempt
        step.started_at = event.at
        # The end of a backoff is not recorded: this event tells when the step became ready.
        step.ready_at = event.ready
        step.wait = step.backoff = step.wait_reason = step.until = None
        if event.model or event.reserved_tokens:
            step.held = ev.hold_of(event)
            state.accounts.hold(event.task, step.held)
        if rule.slot:
            state.move(step, RUNNING)
            state.running.add(step)
            state.calling += rule.is_call
            rule.live += 1
            if rule.uses:
                state.resources.take(rule.uses)
            if rule.attempt_timeout is not None:
                due = event.at + rule.attempt_timeout
                if due < self._timers.next_due:
                    self._timers.next_due = due
        else:
            state.move(step, OPEN)
            within = getattr(rule.agent.does, "within", None)
            if within is not None:
                self._timers.add(event.at + within, "answer", step, event.attempt)

    def release(self, step: Step, usage: ev.Usage | None = None, lost: bool = True) -> None:
        """The attempt of a step holds nothing any more. Without `usage`, what it likely used counts as used if it
        is `lost`."""
        if self._historic:
            step.held = None
        elif step.held is not None or usage is not None:
            self._settle(step, usage, lost)
        if step in self._state.running:
            self._state.running.discard(step)
            self._state.calling -= step.acting.is_call
            if self._lanes.lanes:
                self._lanes.leave(step)
            step.acting.live -= 1
            if step.acting.uses:
                self._state.resources.release(step.acting.uses)

    def _settle(self, step: Step, usage: ev.Usage | None, lost: bool) -> None:
        if step.held is not None:
            self._providers.open_released()
        held, step.held = step.held or NO_HOLD, None
        self._state.accounts.settle(step.task.id, held, usage, lost=lost)

    def reservation_grew(self, event: ev.ReservationGrew) -> None:
        step = self._state.step(event.task, event.step)
        before, step.held = step.held or NO_HOLD, ev.hold_of(event)
        self._state.accounts.grow(event.task, before, step.held)

    def succeeded(self, event: ev.StepSucceeded) -> None:
        step = self._state.step(event.task, event.step)
        self.release(step, event.usage, not event.reused)
        if step.acting.durations is not None and not event.reused and not self._historic:
            self._measure(step.acting, event.at - step.started_at, event.at)
        if step.acting.learns and not event.reused and not self._historic:
            self._learn(step, event.at - step.started_at)
        step.output = event.output
        if step.rule.rounds and step.item < 0:
            self._state.move(step, BETWEEN)
            self._pending.undecided.append(step)
        else:
            self._joins.end_step(step, DONE, event.at)

    def _learn(self, step: Step, seconds: float) -> None:
        """Order the steps of a first run by the durations of those that have ended. In a run of one task, most
        agents have run when that is known."""
        state = self._state
        if state.given != 1 and step.task.program.measure(step.acting, seconds):
            state.add_up_work()
            state.look_ahead()
            self._queue.reorder()

    def _measure(self, rule: Rule, seconds: float, at: float) -> None:
        """Set an adaptive timeout by the last attempts that ended well."""
        assert rule.durations is not None
        rule.durations.append(seconds)
        found = auto_timeout(rule.durations) if rule.auto else None
        if found is not None:
            if rule.attempt_timeout is None or found < rule.attempt_timeout:
                self._timers.next_due = min(self._timers.next_due, at)
            rule.attempt_timeout = found

    def attempt_failed(self, event: ev.AttemptFailed) -> None:
        step = self._state.step(event.task, event.step)
        self.release(step, event.usage, event.fault.kind == "timeout")
        step.fault = event.fault
        step.tries += event.fault.kind not in STOPPING
        self._state.move(step, BETWEEN)

    def attempt_lost(self, event: ev.AttemptLost) -> None:
        step = self._state.step(event.task, event.step)
        self.release(step, event.usage)
        step.losses += event.why != ""
        self._queue.requeue(step, event.at)

    def attempt_deferred(self, event: ev.AttemptDeferred) -> None:
        """The `queue` timeout goes on: the step has not done any work."""
        step = self._state.step(event.task, event.step)
        self.release(step, lost=False)
        self._state.move(step, DEFERRED)
        self._queue.start_wait(step, event.at)
        step.wait_reason = event.reason, event.at
        queue = step.rule.agent.timeout.queue
        if queue is not None:
            self._timers.add(event.at + queue, "queue", step, event.at)

    def attempt_asked(self, event: ev.AttemptAsked) -> None:
        step = self._state.step(event.task, event.step)
        self.release(step, event.usage, lost=False)
        step.questions, step.answers = list(event.questions), {}
        self._state.move(step, OPEN)

    # Between attempts

    def retrying(self, event: ev.StepRetrying) -> None:
        step = self._state.step(event.task, event.step)
        self._state.move(step, HELD)
        step.until = event.until
        step.tier_up = event.tier_up
        step.backoff = {event.reason: event.until - event.at}
        self._timers.add(event.until, "backoff", step, event.until)

    def waited(self, event: ev.StepWaited) -> None:
        step = self._state.step(event.task, event.step)
        step.wait_reason = event.reason, event.at

    def fell_back(self, event: ev.StepFellBack) -> None:
        step = self._state.step(event.task, event.step)
        step.acting = step.task.program.rules[step.task.program.index[event.agent]]
        step.tries = step.losses = 0
        self._queue.requeue(step, event.at)

    def repeated(self, event: ev.StepRepeated) -> None:
        step = self._state.step(event.task, event.step)
        step.previous = step.output
        step.round = event.round
        step.tries = step.losses = 0
        step.answers = None
        if step.arrivals:
            step.arrivals.pop(0)
        self._queue.requeue(step, event.at)

    def expanded(self, event: ev.StepExpanded) -> None:
        group = self._state.step(event.task, event.step)
        task = group.task
        self._state.move(group, OPEN)
        items: list[Step] = []
        for i in range(event.size):
            step = Step(task, group.rule, f"{group.key}[{i}]")
            step.item, step.group = i, group
            if task.past:
                step.attempt = task.past.get(f"{task.id}/{step.key}", 0)
            task.extra[step.key] = step
            items.append(step)
        group.items, group.items_left = items, event.size
        self._state.work += (event.size - 1) * group.rule.work
        for step in items:
            self._queue.make_ready(step, event.at, gate=False)

    def released(self, event: ev.StepReleased) -> None:
        self._joins.start(self._state.step(event.task, event.step), event.at)

    # Ends

    def done(self, event: ev.StepDone) -> None:
        step = self._state.step(event.task, event.step)
        if step.items is not None:
            step.output = [item.output for item in step.items]
        self._joins.end_step(step, DONE, event.at)

    def failed(self, event: ev.StepFailed) -> None:
        step = self._state.step(event.task, event.step)
        self.release(step, event.usage)
        step.fault = event.fault
        step.letter |= event.letter
        self._joins.end_step(step, FAILED, event.at, tolerated=event.tolerated)

    def skipped(self, event: ev.StepSkipped) -> None:
        step = self._state.step(event.task, event.step)
        self.release(step, event.usage)
        self._joins.end_step(step, SKIPPED, event.at)

    def cancelled(self, event: ev.StepCancelled) -> None:
        step = self._state.step(event.task, event.step)
        self.release(step, event.usage)
        self._joins.end_step(step, CANCELLED, event.at)

    def answered(self, event: ev.StepAnswered) -> None:
        step = self._state.step(event.task, event.step)
        if event.question:
            self._answer(step, event)
            return
        step.output = output_of(event)
        self._joins.end_step(step, DONE, event.at)

    def _answer(self, step: Step, event: ev.StepAnswered) -> None:
        """Keep the answer to a question. After the last one the step goes on with another attempt."""
        assert step.questions is not None
        assert step.answers is not None
        step.answers[event.question] = value_of(step.questions.pop(0), event)
        if not step.questions:
            step.questions = None
            self._queue.requeue(step, event.at)


def _nothing(event: Any) -> None:
    """What happens inside an attempt changes no state."""
