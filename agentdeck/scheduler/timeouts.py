"""What happens when time passes: backoffs end, joins and approvals are overdue, steps exceed their timeouts."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentdeck.errors import Fault
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import TIMEOUT, complete
from agentdeck.scheduler.failures import Failures
from agentdeck.scheduler.joins import NEVER, START, evaluate
from agentdeck.scheduler.provider_queues import ProviderQueues
from agentdeck.scheduler.ready_queue import ReadyQueue
from agentdeck.scheduler.recorder import Recorder
from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.state import DEFERRED, READY, RUNNING, Step
from agentdeck.scheduler.timers import INFINITE, Timers
from agentdeck.scheduler.waits import PLACE
from agentdeck.workflow.model import PLACE_LIMIT, Approve
from agentdeck.workflow.units import show_amount, show_duration


@dataclass(slots=True, eq=False)
class Timeouts:
    """Handles `TimerFired`. `deadline` is when the next one is wanted."""

    _state: RunState
    _queue: ReadyQueue
    _timers: Timers
    _providers: ProviderQueues
    _recorder: Recorder
    _failures: Failures
    #: Attempts that the engine was asked to expire and has not reported yet: task, step, number.
    _expired: set[tuple[str, str, int]] = field(default_factory=set, init=False)

    @property
    def deadline(self) -> float:
        """The next moment at which something is due, infinite where nothing is."""
        due = self._timers.first
        return min(due, self._providers.opens_at) if self._providers.queues else due

    def expects_change(self) -> bool:
        """Whether something will change without an operator: a backoff, a timeout, a queue that opens by itself,
        another run that holds the `once` key of a step."""
        if self._providers.will_open() or self._timers.any_active():
            return True
        return any(step.state == DEFERRED for step in self._state.unended())

    def fire(self, event: ev.TimerFired) -> None:
        """Handle everything that is due."""
        at = event.at
        while (timer := self._timers.pop(at)) is not None:
            kind, step = timer
            timeout = step.rule.agent.timeout
            if kind == "backoff":
                self._queue.end_backoff(step, at)
            elif kind == "join":
                self._end_join(step, at)
            elif kind == "queue":
                self._fail(step, at, kind, self._not_started(step))
            elif kind == "total":
                self._fail(step, at, kind, f"not done within {timeout.total:g} s in total")
            else:
                self._answer(step, at)
        if self._timers.next_due <= at:
            self._end_overdue_attempts(at)
        self._providers.open_due(at)

    def _not_started(self, step: Step) -> str:
        """Why a step exceeds its `queue` timeout: it names the place that it has waited for."""
        state, within = self._state, step.rule.agent.timeout.queue
        assert within is not None
        if step.state != READY or step.wait is None or step.wait.aside != PLACE:
            return f"not started within {within:g} s"
        place = step.acting.agent.place
        waited = f"waited {show_duration(within)} for the place {place}"
        if (closed := state.closed_places.get(place)) is not None:
            return f"{waited}: it is out of reach: {closed.why}"
        slots = state.resources.by_name[f"{PLACE_LIMIT}.{place}"]
        if not slots.limit:
            return f"{waited}: its slots were set to 0"
        return f"{waited}: all of its slots are in use ({show_amount(slots.limit)})"

    def _end_join(self, step: Step, at: float) -> None:
        """`within` of a join is over: go on with what has arrived if it is enough, else fail."""
        verdict = evaluate(step, overdue=True)
        join = step.rule.join
        if verdict == START:
            self._recorder.record(ev.StepReleased(at, step.task.id, step.key, "clock"))
        elif verdict == NEVER:
            what = f"{step.arrived} of {len(step.rule.needs)} arrived within {join.within:g} s"
            self._failures.fail(step, at, Fault("join", what, clock="within"))

    def _answer(self, step: Step, at: float) -> None:
        """An approval was not answered in time: take the answer that the workflow names for that."""
        does = step.acting.agent.does
        assert isinstance(does, Approve)
        approved = does.otherwise == "approve"
        fields, defaults = complete(does, {})
        answered = ev.StepAnswered(at, step.task.id, step.key, approved, fields, "", TIMEOUT, None, defaults)
        self._recorder.record(answered)

    def _fail(self, step: Step, at: float, clock: str, what: str) -> None:
        """`queue` and `total` are final: no further attempt could meet them."""
        if step.state == RUNNING:
            self._recorder.request(act.CancelAttempt(step.task.id, step.key, step.attempt, what))
        self._failures.fail(step, at, Fault("timeout", f"{what} ({clock} timeout)", clock=clock))

    def _end_overdue_attempts(self, at: float) -> None:
        """End the attempts that exceed their timeout, and find when the next one could."""
        late = []
        due = INFINITE
        for step in self._state.running:
            timeout = step.acting.attempt_timeout
            if timeout is None:
                continue
            if step.started_at + timeout <= at:
                late.append(step)
            else:
                due = min(due, step.started_at + timeout)
        self._timers.expect_timeout(due)
        for step in sorted(late, key=lambda s: (s.started_at, s.task.age, s.rule.index, s.item)):
            self._expire(step, at)
        if self._expired:
            self._expired &= {(step.task.id, step.key, step.attempt) for step in late}

    def _expire(self, step: Step, at: float) -> None:
        """End an attempt that exceeds its timeout. The retry rule of its agent, if there is one, is asked by the
        engine, which reports the failure then."""
        key = step.task.id, step.key, step.attempt
        if key in self._expired:
            return
        what = f"no answer within {step.acting.attempt_timeout:g} s (attempt timeout)"
        fault, usage = Fault("timeout", what, clock="attempt"), self._recorder.usage_of(step)
        if step.acting.agent.retry.on is None:
            self._recorder.request(act.CancelAttempt(*key, what))
            self._failures.attempt_failed(step, ev.AttemptFailed(at, *key, fault, usage))
        else:
            self._expired.add(key)
            self._recorder.request(act.ExpireAttempt(*key, fault, usage))
