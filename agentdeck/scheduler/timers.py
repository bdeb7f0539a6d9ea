"""What the clocks do: backoffs that are over, joins and approvals that are overdue, steps that took too long."""

from __future__ import annotations

from heapq import heappop

from agentdeck.errors import Fault
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import TIMEOUT, complete
from agentdeck.scheduler.joins import GO, NEVER, judge
from agentdeck.scheduler.metered import FOREVER
from agentdeck.scheduler.special import Special
from agentdeck.scheduler.state import DEFERRED, HELD, OPEN, READY, RUNNING, WAITING, Step
from agentdeck.workflow.model import Approve


class Timers(Special):
    """The part of the machine that is woken by time. `deadline` is when it next wants a `TimerFired`."""

    @property
    def deadline(self) -> float:
        """The next moment at which something is due; infinite when nothing is."""
        due = min(self.timers[0][0] if self.timers else FOREVER, self.next_due)
        return min(due, self._opens) if self.pools else due

    @property
    def awaits_time(self) -> bool:
        """Whether something will change without an operator: a backoff, a limit of time, a pool that opens by
        itself, a process that holds the `once` key of a step."""
        if any(pool.heap and pool.until not in (None, FOREVER) for pool in self.pools.values()):
            return True
        if any(self._counts(kind, step, token) for _, _, kind, step, token in self.timers):
            return True
        return any(step.state == DEFERRED for task in self.tasks.values() for step in self._steps_of(task))

    def _counts(self, kind: str, step: Step, token: object) -> bool:
        """Whether a timer still means something. Those of steps that have gone on stay in the heap."""
        if self.tasks.get(step.task.id) is not step.task or step.ended:
            return False
        wants = {
            "backoff": (HELD, step.until),
            "join": (WAITING, step.clock),
            "queue": (DEFERRED if step.state == DEFERRED else READY, step.ready_at),
            "answer": (OPEN, step.attempt),
            "total": (step.state, step.total_at),
        }
        return wants[kind] == (step.state, token)

    def _on_timer(self, event: ev.TimerFired) -> None:
        at = event.at
        while self.timers and self.timers[0][0] <= at:
            _, _, kind, step, token = heappop(self.timers)
            self._due(kind, step, token, at)
        if self.next_due <= at:
            self._overdue(at)
        if self.pools:
            self._open_due(at)

    def _due(self, kind: str, step: Step, token: object, at: float) -> None:
        if self.tasks.get(step.task.id) is not step.task:
            return
        if kind == "backoff":
            if step.state == HELD and step.until == token:
                step.until = None
                self._busy(step, READY)
                self._ready_from(step, at)
                self._push(step)
        elif kind == "join":
            if step.state == WAITING and step.clock == token:
                self._join_overdue(step, at)
        elif kind == "queue":
            if step.state in (READY, DEFERRED) and step.ready_at == token:
                self._clock_fired(step, at, "queue", f"not started within {step.rule.agent.timeout.queue:g} s")
        elif kind == "total":
            if not step.ended and step.total_at == token:
                self._clock_fired(
                    step, at, "total", f"not done within {step.rule.agent.timeout.total:g} s in all"
                )
        elif kind == "answer" and step.state == OPEN and step.attempt == token:
            does = step.acting.agent.does
            assert isinstance(does, Approve)
            approved = does.otherwise == "approve"
            fields, defaults = complete(does, {})
            self._record(
                ev.StepAnswered(at, step.task.id, step.key, approved, fields, "", TIMEOUT, None, defaults)
            )

    def _join_overdue(self, step: Step, at: float) -> None:
        verdict = judge(step, overdue=True)
        task, join = step.task.id, step.rule.join
        if verdict == GO:
            self._record(ev.StepReleased(at, task, step.key, "clock"))
        elif verdict == NEVER:
            what = f"{step.arrived} of {len(step.rule.needs)} arrived within {join.within:g} s"
            self._fail_for_good(step, at, Fault("join", what, clock="within"))

    def _clock_fired(self, step: Step, at: float, clock: str, what: str) -> None:
        """`queue` and `total` are final: no further attempt could meet them."""
        if step.state == RUNNING:
            self._actions.append(act.CancelAttempt(step.task.id, step.key, step.attempt, what))
        self._fail_for_good(step, at, Fault("timeout", f"{what} ({clock} clock)", clock=clock))

    def _overdue(self, at: float) -> None:
        """Attempts past their clock fail; the next moment to look is worked out from those that live.

        Looking at the running ones only, when the earliest could be due, costs nothing per attempt: there are
        never more of them than workers.
        """
        late = []
        due = FOREVER
        for step in self.running:
            timeout = step.acting.attempt_timeout
            if timeout is None:
                continue
            if step.started_at + timeout <= at:
                late.append(step)
            else:
                due = min(due, step.started_at + timeout)
        self.next_due = due
        for step in sorted(late, key=lambda s: (s.started_at, s.task.age, s.rule.index, s.item)):
            what = f"no answer within {step.acting.attempt_timeout:g} s (attempt clock)"
            self._actions.append(act.CancelAttempt(step.task.id, step.key, step.attempt, what))
            fault = Fault("timeout", what, clock="attempt")
            used = self._used(step)
            self._failed(step, ev.AttemptFailed(at, step.task.id, step.key, step.attempt, fault, used))
