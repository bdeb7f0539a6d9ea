"""How steps end other than well: attempts fail, steps are cancelled, joins come to nothing.

Whatever else the machine does ends in one of these.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from agentdeck.errors import STOPPING, Fault
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.joins import SKIP
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.scope import scope_of
from agentdeck.scheduler.state import CANCELLED, FAILED, OPEN, RUNNING, WAITING, Step


def _unknown(task: str, step: str, attempt: int) -> ev.Usage | None:
    return None


class Failing(Fold):
    """The part of the machine that ends steps which cannot go on. `_actions` are what the event at hand asks
    for, so far. `usage_so_far` tells what an attempt under way (task, step, number) has used: the machine asks
    when it ends the attempt itself, and records the answer with the end, so that the log alone gives the same
    state."""

    def __init__(self, program: Program, **options: Any) -> None:
        super().__init__(program, **options)
        self._actions: list[act.Action] = []
        self._finished = False
        self.usage_so_far: Callable[[str, str, int], ev.Usage | None] = _unknown

    def _record(self, event: ev.Event) -> None:
        self._actions.append(act.Record(event))
        self.apply(event)

    # Failures

    def _failed(self, step: Step, event: ev.AttemptFailed) -> None:
        """In this order: retry (a tier up where asked), fallback, then fail or continue."""
        at, fault = event.at, event.fault
        self._record(event)
        rule = step.acting
        retry = rule.agent.retry
        elsewhere = fault.kind in STOPPING or (
            fault.kind in ("context", "forbidden") and fault.retry_after is not None
        )
        held_back = fault.kind == "rate_limit" and fault.retry_after is not None and step.tries < rule.attempts
        short = fault.kind == "budget" and step.tries < rule.attempts
        if rule.metered and (elsewhere or held_back or short):
            # No step calls its provider now, or the budget has no room: it asks again, and waits where it must.
            reason = "budget" if short else "cooldown"
            self._record(ev.StepRetrying(at, event.task, event.step, at, reason, step.tier_up))
        elif fault.retryable and step.tries < rule.attempts:
            ceiling = min(retry.max_delay, retry.delay * retry.factor ** (step.tries - 1))
            wait = Random(f"{self.run}/{event.task}/{event.step}/{event.attempt}").random() * ceiling
            reason = "backoff"
            if fault.retry_after is not None and fault.retry_after > wait:
                wait, reason = fault.retry_after, "cooldown"
            tier_up = step.tier_up + (retry.escalate and fault.kind == "invalid")
            self._record(ev.StepRetrying(at, event.task, event.step, at + wait, reason, tier_up))
        elif rule.fallback is not None and step.acting is step.rule and fault.kind != "needs":
            self._record(ev.StepFellBack(at, event.task, event.step, rule.fallback.name))
        else:
            self._fail_for_good(step, at, fault)

    def _fail_for_good(self, step: Step, at: float, fault: Fault, *, letter: bool = True) -> None:
        self._cancel_inside(step, at, fault.message)
        tolerated = step.rule.agent.on_error.action == "continue"
        if letter:
            scope = scope_of(step, self.run)
            inputs = {name: value for name, value in scope.items() if not name.startswith("__")}
            self._actions.append(
                act.SaveLetter(at, step.task.id, step.key, step.acting.name, fault, inputs, step.attempt)
            )
        self._record(ev.StepFailed(at, step.task.id, step.key, fault, tolerated, letter, self._used(step)))

    def _give_up(self, step: Step, verdict: str, at: float) -> None:
        if verdict == SKIP:
            why = "all it needs was skipped"
            self._record(ev.StepSkipped(at, step.task.id, step.key, why))
            return
        bad = [
            s for i in step.rule.needs if (s := step.task.steps[i]) is not None and s.state in (FAILED, CANCELLED)
        ]
        if bad and all(s.state == CANCELLED for s in bad):
            self._record(ev.StepCancelled(at, step.task.id, step.key, f"{bad[0].key} was cancelled"))
            return
        names = ", ".join(s.key for s in bad)
        if step.rule.join.rest == "cancel":
            self.pruning.append(step)
        self._fail_for_good(step, at, Fault("needs", f"{names} failed"), letter=False)

    # Cancelling

    def _on_cancel(self, event: ev.CancelAsked) -> None:
        self._cancel_asked(event)
        if event.now:
            self._actions = [
                action._replace(now=True) if type(action) is act.CancelAttempt else action
                for action in self._actions
            ]

    def _cancel_asked(self, event: ev.CancelAsked) -> None:
        why = f"cancelled by {event.who}" if event.who else "cancelled"
        if event.step:
            step = self._open_step(event.task, event.step)
            if step is not None and not step.ended:
                self._cancel(step, event.at, why)
            return
        if not event.task:
            self.cancelling = True
            if not self.exhausted:
                self._record(ev.TasksExhausted(event.at, self.opened, cut=True))
        for task in list(self.tasks.values()):
            if not event.task or task.id == event.task or task.id.startswith(event.task + "/"):
                for step in self._steps_of(task):
                    if not step.ended:
                        self._cancel(step, event.at, why)

    def _cancel(self, step: Step, at: float, why: str) -> None:
        """End a step that has not ended, whatever it does, with all that hangs under it."""
        self._stop(step, at, why)
        if not step.ended:
            self._record(ev.StepCancelled(at, step.task.id, step.key, why, self._used(step)))

    def _used(self, step: Step) -> ev.Usage | None:
        """What the attempt that is being ended has used, where something is held for it."""
        return None if step.held is None else self.usage_so_far(step.task.id, step.key, step.attempt)

    def _stop(self, step: Step, at: float, why: str) -> None:
        """Stop its attempt, and end all that hangs under it."""
        if step.state == RUNNING or (step.state == OPEN and step.items is None):
            self._actions.append(act.CancelAttempt(step.task.id, step.key, step.attempt, why))
        self._cancel_inside(step, at, why)

    def _cancel_inside(self, step: Step, at: float, why: str) -> None:
        """End the items of a step and the task nested in it."""
        for item in step.items or ():
            if not item.ended:
                self._cancel(item, at, why)
        nested = self.tasks.get(f"{step.task.id}/{step.key}")
        if nested is not None:
            for inner in self._steps_of(nested):
                if not inner.ended:
                    self._cancel(inner, at, why)

    def _prune(self, step: Step, at: float) -> None:
        """`rest: cancel`: needs that nobody else waits for any more are cancelled, and what only fed them."""
        task = step.task
        for index in step.rule.needs:
            need = task.steps[index]
            if need is None or need.ended or need.rule.leaf:
                continue
            others = (task.steps[i] for i in need.rule.dependents)
            if any(o is not None and o.state == WAITING for o in others):
                continue
            self._cancel(need, at, f"{step.key} went on without it")
            self._prune(need, at)

    def _open_step(self, task: str, key: str) -> Step | None:
        found = self.tasks.get(task)
        return found.step(key) if found is not None else None
