"""Attempts: starting them, and what their outcomes mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from agentdeck.errors import Fault
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.budget_ladder import BudgetLadder
from agentdeck.scheduler.cancellation import CALLER_ENDED, Cancellation
from agentdeck.scheduler.failures import Failures
from agentdeck.scheduler.questions import asks
from agentdeck.scheduler.ready_queue import NEWEST, ReadyQueue
from agentdeck.scheduler.recorder import Recorder
from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.state import DEFERRED, OPEN, READY, RUNNING, Step
from agentdeck.scheduler.waits import PLACE, POOL, WaitClock

#: So often an attempt is made again that its place has lost.
RESUBMITTED: Final = 3


@dataclass(slots=True, eq=False)
class Attempts:
    """Records that attempts start and asks the engine to execute them; records how they ended. What comes from an
    attempt that no longer counts, because it was cancelled or is overdue, is ignored."""

    _state: RunState
    _queue: ReadyQueue
    _clock: WaitClock
    _recorder: Recorder
    _cancellation: Cancellation
    _failures: Failures
    _ladder: BudgetLadder
    #: How long the last attempts took that ended well.
    mean_seconds: float = field(default=0.0, init=False)

    # Starting

    def start(self, step: Step, at: float, reserved: ev.Reserved | None = None, savings: str = "") -> None:
        """Start the next attempt of a ready step, with what was reserved for it. `savings` says what a low budget
        changed."""
        started = self._started(step, at, step.attempt + 1)
        if step.acting.uses:
            started = started._replace(uses=dict(step.acting.agent.uses))
        number = 0
        if reserved is not None:
            number = reserved.ask
            started = started._replace(
                model=reserved.model,
                reserved_tokens=reserved.tokens,
                reserved_usd=reserved.usd,
                eased=savings,
                likely_in=reserved.likely_in,
                likely_out=reserved.likely_out,
                likely_usd=reserved.likely_usd,
            )
        recorder = self._recorder
        recorder.record(started)
        recorder.actions.append(act.StartAttempt(started, step.acting.agent.timeout.idle, number))

    def _started(self, step: Step, at: float, attempt: int) -> ev.StepStarted:
        """The event of an attempt that starts now, with the time that the step has waited, by reason."""
        wait = step.wait
        return ev.StepStarted(
            at,
            step.task.id,
            step.key,
            step.acting.name,
            attempt,
            step.ready_at,
            step.backoff if wait is None else self._clock.waits(wait, step.ready_at, step.backoff),
            step.round,
            step.tier_up,
        )

    # Outcomes

    def succeeded(self, event: ev.StepSucceeded) -> None:
        step = self._live(event.task, event.step, event.attempt)
        if step is not None:
            if step.calls:
                self._cancellation.end_calls(step, event.at, CALLER_ENDED)
            self.mean_seconds += NEWEST * (event.at - step.started_at - self.mean_seconds)
            self._recorder.record(event)

    def failed(self, event: ev.AttemptFailed) -> None:
        step = self._live(event.task, event.step, event.attempt)
        if step is not None:
            self._failures.attempt_failed(step, event)

    def lost(self, event: ev.AttemptLost) -> None:
        """Make an attempt again that its place has lost, unless that has happened too often."""
        step = self._live(event.task, event.step, event.attempt)
        if step is None:
            return
        if step.losses < RESUBMITTED:
            self._cancellation.end_calls(step, event.at, CALLER_ENDED)
            self._recorder.record(event)
            return
        fault = Fault("place", f"{event.why}; this is the {step.losses + 1}th attempt that was lost")
        failed = ev.AttemptFailed(event.at, event.task, event.step, event.attempt, fault, event.usage)
        self._failures.attempt_failed(step, failed)

    def deferred(self, event: ev.AttemptDeferred) -> None:
        step = self._live(event.task, event.step, event.attempt)
        if step is not None:
            self._recorder.record(event)
            self._queue.set_aside(step, event.reason)

    def asked(self, event: ev.AttemptAsked) -> None:
        step = self._live(event.task, event.step, event.attempt)
        if step is not None:
            self._cancellation.end_calls(step, event.at, CALLER_ENDED)
            self._recorder.record(event)
            self._recorder.record(asks(event.at, step))

    def within(self, event: ev.AttemptPlaced | ev.InnerStarted | ev.InnerEnded) -> None:
        """Record what happens to an attempt while it runs."""
        if self._live(event.task, event.step, event.attempt) is not None:
            self._recorder.record(event)

    def deferral_ended(self, event: ev.DeferralEnded) -> None:
        step = self._state.find(event.task, event.step)
        if step is not None and step.state == DEFERRED and step.attempt == event.attempt:
            self._queue.end_deferral(step)

    def reservation_grew(self, event: ev.ReservationGrew) -> None:
        step = self._live(event.task, event.step, event.attempt)
        if step is not None and step.held is not None:
            self._recorder.record(event)
            self._ladder.update(event.task, event.at)

    def _live(self, task: str, key: str, attempt: int) -> Step | None:
        """The step, if this attempt of it is still the one that counts."""
        found = self._state.tasks.get(task)
        step = found.step(key) if found is not None else None
        if step is None or step.attempt != attempt or step.state not in (RUNNING, OPEN):
            return None
        return step

    # Another process goes on with the run

    def resume(self, event: ev.RunResumed) -> None:
        """Record the resumption. Attempts that held a worker are lost; those that hold none are requested again,
        and deferred steps check again what they wait for."""
        state = self._state
        self._queue.commit(state.seq)
        closed = dict(state.closed_places)
        self._recorder.record(event)
        for step in state.unended():
            if step.state == READY and step.wait is not None and step.wait.spent is None:
                # What the step waited for in the process before is known as far as the log tells.
                reason, since = step.wait_reason or (POOL, step.ready_at)
                if (place := closed.get(step.acting.agent.place)) is not None:
                    reason, since = PLACE, max(step.ready_at, place.since + event.idle)
                step.wait.add(POOL, since - step.ready_at)
                step.wait.add(reason, event.at - since)
        for step in sorted(state.running, key=lambda s: (s.task.age, s.rule.index, s.item)):
            if not step.rule.is_call:
                self._lose_calls(step, event.at)
                self._lose(step, event.at)
        for step in list(state.unended()):
            if step.state == DEFERRED:
                self._queue.end_deferral(step)
            nested = f"{step.task.id}/{step.key}" in state.tasks
            if step.questions:
                self._recorder.record(asks(event.at, step))
            elif step.state == OPEN and step.items is None and not nested:
                # An approval, or a sub-workflow whose task was not opened.
                self._recorder.request(act.StartAttempt(self._started(step, event.at, step.attempt)))

    def _lose_calls(self, step: Step, at: float) -> None:
        """End the calls of an attempt that is lost: its process waited for them, and is gone too."""
        for call in step.calls.values() if step.calls else ():
            for inner in call.all_steps():
                if inner.state == RUNNING:
                    self._lose(inner, at)
        self._cancellation.end_calls(step, at, CALLER_ENDED)

    def _lose(self, step: Step, at: float) -> None:
        """Record that the process of an attempt is gone. All that is known of its use is what was reserved; 0
        stands for what was unknown (no price, or a log of an earlier version)."""
        usage = None
        if (hold := step.held) is not None:
            usage = ev.Usage(
                hold.likely_in or None, hold.likely_out or None, usd=hold.likely[1] or None, estimated=True
            )
        self._recorder.record(ev.AttemptLost(at, step.task.id, step.key, step.attempt, usage))
