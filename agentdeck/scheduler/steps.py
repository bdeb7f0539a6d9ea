"""The fold of what is told of steps: their attempts begin, end, are lost, wait and go again; how they ended."""

from __future__ import annotations

from agentdeck.errors import STOPPING
from agentdeck.limits.budget import NO_HOLD
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.adaptive_timeout import auto_timeout
from agentdeck.scheduler.approvals import output_of
from agentdeck.scheduler.joining import Joining
from agentdeck.scheduler.program import Rule
from agentdeck.scheduler.state import (
    BETWEEN,
    CANCELLED,
    DEFERRED,
    DONE,
    FAILED,
    HELD,
    OPEN,
    READY,
    RUNNING,
    SKIPPED,
    Step,
)


class Steps(Joining):
    """The part of the fold that is about single steps. Whatever ends an attempt gives back what it held."""

    def _step_started(self, event: ev.StepStarted) -> None:
        step = self.found(event.task, event.step)
        rule = step.acting
        step.attempt = event.attempt
        step.started_at = event.at
        step.wait = step.waits = step.told = None
        if event.model or event.reserved_tokens:
            step.held = ev.hold_of(event)
            self.accounts.hold(event.task, step.held)
        if rule.slot:
            self._busy(step, RUNNING)
            self.running.add(step)
            rule.live += 1
            if rule.attempt_timeout is not None:
                due = event.at + rule.attempt_timeout
                if due < self.next_due:
                    self.next_due = due
        else:
            self._busy(step, OPEN)
            does = rule.agent.does
            within = getattr(does, "within", None)
            if within is not None:
                self._timer(event.at + within, "answer", step, event.attempt)

    def _paid(self, step: Step, usage: ev.Usage | None, lost: bool) -> None:
        held, step.held = step.held or NO_HOLD, None
        self.accounts.settle(step.task.id, held, usage, lost=lost)

    def _freed(self, step: Step, usage: ev.Usage | None = None, lost: bool = True) -> None:
        """Its attempt holds nothing any more. Without `usage`, what it likely used counts as used if `lost`."""
        if step.held is not None or usage is not None:
            self._paid(step, usage, lost)
        if step in self.running:
            self.running.discard(step)
            if self.rows:
                self._leave(step)
            step.acting.live -= 1

    def _reservation_grew(self, event: ev.ReservationGrew) -> None:
        step = self.found(event.task, event.step)
        before, step.held = step.held or NO_HOLD, ev.hold_of(event)
        self.accounts.grow(event.task, before, step.held)

    def _step_succeeded(self, event: ev.StepSucceeded) -> None:
        step = self.found(event.task, event.step)
        self._freed(step, event.usage, not event.reused)
        if step.acting.times is not None and not event.reused:
            self._timed(step.acting, event.at - step.started_at, event.at)
        step.output = event.output
        if step.rule.rounds and step.item < 0:
            self._busy(step, BETWEEN)
            self.between.append(step)
        else:
            self._end(step, DONE, event.at)

    def _attempt_failed(self, event: ev.AttemptFailed) -> None:
        step = self.found(event.task, event.step)
        self._freed(step, event.usage, event.fault.kind == "timeout")
        step.fault = event.fault
        step.tries += event.fault.kind not in STOPPING
        self._busy(step, BETWEEN)

    def _attempt_lost(self, event: ev.AttemptLost) -> None:
        step = self.found(event.task, event.step)
        self._freed(step, event.usage)
        self._busy(step, READY)
        self._ready_from(step, event.at)
        self._push(step)

    def _attempt_deferred(self, event: ev.AttemptDeferred) -> None:
        """The `queue` clock goes on: the step has not started its work."""
        step = self.found(event.task, event.step)
        self._freed(step, lost=False)
        self._busy(step, DEFERRED)
        self._ready_from(step, event.at)
        step.told = event.reason, event.at
        queue = step.rule.agent.timeout.queue
        if queue is not None:
            self._timer(event.at + queue, "queue", step, event.at)

    def _step_retrying(self, event: ev.StepRetrying) -> None:
        step = self.found(event.task, event.step)
        self._busy(step, HELD)
        step.until = event.until
        step.tier_up = event.tier_up
        step.waits = {event.reason: event.until - event.at}
        self._timer(event.until, "backoff", step, event.until)

    def _step_waited(self, event: ev.StepWaited) -> None:
        step = self.found(event.task, event.step)
        step.told = event.reason, event.at

    def _timed(self, rule: Rule, seconds: float, at: float) -> None:
        """A clock that sets itself: by the last attempts that ended well."""
        assert rule.times is not None
        rule.times.append(seconds)
        found = auto_timeout(rule.times) if rule.auto else None
        if found is not None:
            if rule.attempt_timeout is None or found < rule.attempt_timeout:
                self.next_due = min(self.next_due, at)
            rule.attempt_timeout = found

    def _step_fell_back(self, event: ev.StepFellBack) -> None:
        step = self.found(event.task, event.step)
        step.acting = step.task.program.rules[step.task.program.index[event.agent]]
        step.tries = 0
        self._busy(step, READY)
        self._ready_from(step, event.at)
        self._push(step)

    def _step_repeated(self, event: ev.StepRepeated) -> None:
        step = self.found(event.task, event.step)
        step.previous = step.output
        step.round = event.round
        step.tries = 0
        if step.arrivals:
            step.arrivals.pop(0)
        self._busy(step, READY)
        self._ready_from(step, event.at)
        self._push(step)

    def _step_expanded(self, event: ev.StepExpanded) -> None:
        group = self.found(event.task, event.step)
        task = group.task
        self._busy(group, OPEN)
        items: list[Step] = []
        for i in range(event.size):
            step = Step(task, group.rule, f"{group.key}[{i}]")
            step.item, step.group = i, group
            if task.past:
                step.attempt = task.past.get(f"{task.id}/{step.key}", 0)
            task.extra[step.key] = step
            items.append(step)
        group.items, group.left = items, event.size
        for step in items:
            self._make_ready(step, event.at, gate=False)

    def _step_done(self, event: ev.StepDone) -> None:
        step = self.found(event.task, event.step)
        if step.items is not None:
            step.output = [item.output for item in step.items]
        self._end(step, DONE, event.at)

    def _step_failed(self, event: ev.StepFailed) -> None:
        step = self.found(event.task, event.step)
        self._freed(step, event.usage)
        step.fault = event.fault
        step.letter |= event.letter
        self._end(step, FAILED, event.at, tolerated=event.tolerated)

    def _step_skipped(self, event: ev.StepSkipped) -> None:
        step = self.found(event.task, event.step)
        self._freed(step, event.usage)
        self._end(step, SKIPPED, event.at)

    def _step_cancelled(self, event: ev.StepCancelled) -> None:
        step = self.found(event.task, event.step)
        self._freed(step, event.usage)
        self._end(step, CANCELLED, event.at)

    def _step_answered(self, event: ev.StepAnswered) -> None:
        step = self.found(event.task, event.step)
        step.output = output_of(event)
        self._end(step, DONE, event.at)
