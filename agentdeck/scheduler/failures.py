"""Retries, fallbacks and final failures."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from agentdeck.errors import STOPPING, Fault
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.cancellation import CALLER_ENDED, Cancellation
from agentdeck.scheduler.joins import SKIP
from agentdeck.scheduler.recorder import Recorder
from agentdeck.scheduler.run_state import Pending, RunState
from agentdeck.scheduler.scope import scope_of
from agentdeck.scheduler.state import CANCELLED, FAILED, Step


@dataclass(slots=True, eq=False)
class Failures:
    """Decides what follows when an attempt fails, and when a join can never be satisfied."""

    _state: RunState
    _pending: Pending
    _recorder: Recorder
    _cancellation: Cancellation

    def attempt_failed(self, step: Step, event: ev.AttemptFailed) -> None:
        """Record the failure, and in this order: retry (a tier up where asked for), fall back, fail."""
        self._cancellation.end_calls(step, event.at, CALLER_ENDED)
        self._recorder.record(event)
        rule, fault = step.acting, event.fault
        refused = fault.retry is False  # by the workflow's own rule
        retry = None if refused else self._retry_at_once(step, event) or self._retry_later(step, event)
        if retry is not None:
            self._recorder.record(retry)
        elif rule.fallback is not None and rule is step.rule and fault.kind != "needs":
            self._recorder.record(ev.StepFellBack(event.at, event.task, event.step, rule.fallback.name))
        else:
            self.fail(step, event.at, fault)

    def _retry_at_once(self, step: Step, event: ev.AttemptFailed) -> ev.StepRetrying | None:
        """A retry without a delay, where the reservation of the next attempt waits as long as it has to: the
        provider may not be called now, or the budget has no room."""
        rule, fault = step.acting, event.fault
        if not rule.metered:
            return None
        elsewhere = fault.kind in STOPPING or (
            fault.kind in ("context", "forbidden") and fault.retry_after is not None
        )
        more = step.tries < rule.attempts
        no_budget = fault.kind == "budget" and more
        rate_limited = fault.kind == "rate_limit" and fault.retry_after is not None and more
        if not (elsewhere or rate_limited or no_budget):
            return None
        reason = "budget" if no_budget else "cooldown"
        return ev.StepRetrying(event.at, event.task, event.step, event.at, reason, step.tier_up)

    def _retry_later(self, step: Step, event: ev.AttemptFailed) -> ev.StepRetrying | None:
        """A retry after a random delay below an exponential ceiling, or after the delay that the provider asked
        for if that is longer. The delay is derived from the attempt, so a replay gives the same one."""
        rule, fault = step.acting, event.fault
        if not fault.retryable or step.tries >= rule.attempts:
            return None
        retry = rule.agent.retry
        ceiling = min(retry.max_delay, retry.delay * retry.factor ** (step.tries - 1))
        seed = f"{self._state.run}/{event.task}/{event.step}/{event.attempt}"
        delay, reason = Random(seed).random() * ceiling, "backoff"
        if fault.retry_after is not None and fault.retry_after > delay:
            delay, reason = fault.retry_after, "cooldown"
        tier_up = step.tier_up + (retry.escalate and fault.kind == "invalid")
        return ev.StepRetrying(event.at, event.task, event.step, event.at + delay, reason, tier_up)

    def fail(self, step: Step, at: float, fault: Fault, *, letter: bool = True) -> None:
        """End a step as failed for good. With `letter`, keep its inputs as a dead letter. A call never becomes
        one: the attempt that made it gets the error."""
        letter = letter and not step.rule.is_call
        self._cancellation.cancel_inside(step, at, fault.message)
        task, key = step.task.id, step.key
        if letter:
            scope = scope_of(step, self._state.run)
            inputs = {name: value for name, value in scope.items() if not name.startswith("__")}
            self._recorder.request(act.SaveLetter(at, task, key, step.acting.name, fault, inputs, step.attempt))
        tolerated = step.rule.agent.on_error.action == "continue"
        usage = self._recorder.usage_of(step)
        self._recorder.record(ev.StepFailed(at, task, key, fault, tolerated, letter, usage))

    def join_failed(self, step: Step, verdict: str, at: float) -> None:
        """End a step whose join can never be satisfied: skipped, cancelled or failed, as its needs were."""
        task, key = step.task.id, step.key
        if verdict == SKIP:
            self._recorder.record(ev.StepSkipped(at, task, key, "all its needs were skipped"))
            return
        needs = [step.task.steps[i] for i in step.rule.needs]
        bad = [need for need in needs if need is not None and need.state in (FAILED, CANCELLED)]
        if bad and all(need.state == CANCELLED for need in bad):
            self._recorder.record(ev.StepCancelled(at, task, key, f"{bad[0].key} was cancelled"))
            return
        if step.rule.join.rest == "cancel":
            self._pending.unneeded.append(step)
        names = ", ".join(need.key for need in bad)
        self.fail(step, at, Fault("needs", f"{names} failed"), letter=False)
