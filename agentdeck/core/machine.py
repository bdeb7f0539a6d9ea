"""The core: events in, actions out.

`Machine.handle(event)` checks an event against the state, records it and all that follows from it, and says what
is to be done. It never waits and never acts. The shape is that of the worker state machine of dask.distributed:
one entry, instructions as values, state changed nowhere else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from heapq import heappop
from random import Random
from typing import Any

from agentdeck.core import events as ev
from agentdeck.core.fold import AUTO, Place
from agentdeck.core.joins import GO, NEVER, SKIP, judge
from agentdeck.core.metered import Metered
from agentdeck.core.program import Program
from agentdeck.core.reopen import below, chain
from agentdeck.core.scope import output_of, scope_of, scope_of_group
from agentdeck.core.state import (
    BETWEEN,
    CANCELLED,
    DONE,
    FAILED,
    HELD,
    OPEN,
    READY,
    RUNNING,
    WAITING,
    Step,
    Task,
)
from agentdeck.errors import AgentdeckError, Fault
from agentdeck.workflow.model import Approve, Data, Dispatch

INFINITY = float("inf")


class Machine(Metered):
    """One run. `deadline` is when it next wants a `TimerFired`."""

    def __init__(
        self,
        program: Program,
        *,
        run: str = "",
        workers: int = 8,
        gated: bool = False,
        keep: Container[str] = (),
    ) -> None:
        super().__init__(program, run=run, workers=workers, gated=gated, keep=keep)
        self._finished = False
        self._handle: dict[type, Callable[[Any], None]] = {
            ev.StepSucceeded: self._on_succeeded,
            ev.AttemptFailed: self._on_attempt_failed,
            ev.TaskOpened: self._record,
            ev.TasksExhausted: self._record,
            ev.TimerFired: self._on_timer,
            ev.Committed: self._on_committed,
            ev.CancelAsked: self._on_cancel,
            ev.RunStarted: self._record,
            ev.RunResumed: self._on_resumed,
            ev.RunPaused: self._record,
            ev.RunUnpaused: self._on_turned,
            ev.RunDrained: self._record,
            ev.LimitChanged: self._on_turned,
            ev.Reserved: self._on_reserved,
            ev.Refused: self._on_refused,
            ev.TaskHurried: self._on_hurried,
            ev.StepReleased: self._on_released,
            ev.StepAnswered: self._on_answered,
            ev.StepReopened: self._on_reopened,
            ev.Together: self._on_together,
            ev.Noted: self._record,
        }

    @property
    def deadline(self) -> float:
        """The next moment at which something is due; infinite when nothing is."""
        due = min(self.timers[0][0] if self.timers else INFINITY, self.next_due)
        return min(due, self._opens) if self.pools else due

    def handle(self, event: ev.Event | ev.Signal) -> list[ev.Action]:
        """Take one event. What it asks for that makes no sense any more (an attempt that was cancelled, a step
        that has ended) changes nothing and records nothing."""
        self._actions = []
        self._handle[type(event)](event)
        self._settle(event.at)
        return self._actions

    def _record(self, event: ev.Event) -> None:
        self._actions.append(ev.Record(event))
        self.apply(event)

    # What comes in

    def _on_turned(self, event: ev.LimitChanged | ev.RunUnpaused) -> None:
        self._record(event)
        if event.who == AUTO:
            self.open_pools()
        else:
            self.open_all()

    def _on_succeeded(self, event: ev.StepSucceeded) -> None:
        step = self._live(event.task, event.step, event.attempt)
        if step is not None:
            self._record(event)

    def _on_attempt_failed(self, event: ev.AttemptFailed) -> None:
        step = self._live(event.task, event.step, event.attempt)
        if step is not None:
            self._failed(step, event)

    def _live(self, task: str, key: str, attempt: int) -> Step | None:
        """The step, if this attempt of it is still the one that counts."""
        found = self.tasks.get(task)
        step = found.step(key) if found is not None else None
        if step is None or step.attempt != attempt or step.state not in (RUNNING, OPEN):
            return None
        return step

    def _on_committed(self, event: ev.Committed) -> None:
        self.durable = max(self.durable, event.seq)
        queue = self.uncommitted
        while queue and queue[0][0] <= self.durable:
            step = queue.popleft()[1]
            if step.state != READY:
                continue
            if step.rule.special and step.acting is step.rule:
                self.special.append(step)
            else:
                self._push(step)

    def _on_resumed(self, event: ev.RunResumed) -> None:
        self.durable = self.seq
        self._on_committed(ev.Committed(event.at, self.seq))
        self._record(event)
        for step in sorted(self.running, key=lambda s: (s.task.age, s.rule.index, s.item)):
            self._record(ev.AttemptLost(event.at, step.task.id, step.key, step.attempt))
        for task in list(self.tasks.values()):
            for step in self._steps_of(task):
                nested = f"{task.id}/{step.key}" in self.tasks
                if step.state == OPEN and step.items is None and not nested:
                    self._actions.append(ev.StartAttempt(self._started(step, event.at, step.attempt)))
        self.pulling = 0
        self._finished = False

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

    def _on_together(self, event: ev.Together) -> None:
        for one in event.events:
            self._handle[type(one)](one)

    def _on_reopened(self, event: ev.StepReopened) -> None:
        """Whatever of it still runs is cancelled first, so that the log tells how each attempt ended."""
        if self.cancelling:
            return
        links = chain(self, event.task, event.step)
        for task, step in links:
            nested = step is not links[-1][1]
            while live := [one for one in below(step) if not one.ended]:
                self._cancel(live[0], event.at, f"{event.step} goes again")
            was = "" if task.id in self.tasks else task.ended
            again = {one.key: one.state for one in below(step)}
            inputs = None if nested else event.inputs
            self._record(ev.StepReopened(event.at, task.id, step.key, event.who, inputs, was, again, nested))
            for key in again:
                one = self.found(task.id, key)
                if one.letter and not nested:
                    self._actions.append(ev.SettleLetters(task.id, key, "retried"))
        self._finished = self._finished and not links

    def _open_step(self, task: str, key: str) -> Step | None:
        found = self.tasks.get(task)
        return found.step(key) if found is not None else None

    def _on_cancel(self, event: ev.CancelAsked) -> None:
        self._cancel_asked(event)
        if event.now:
            self._actions = [
                action._replace(now=True) if type(action) is ev.CancelAttempt else action
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
                self._record(ev.TasksExhausted(event.at, self.ages))
        for task in list(self.tasks.values()):
            if not event.task or task.id == event.task or task.id.startswith(event.task + "/"):
                for step in self._steps_of(task):
                    if not step.ended:
                        self._cancel(step, event.at, why)

    def _cancel(self, step: Step, at: float, why: str) -> None:
        """End a step that has not ended, whatever it does, with all that hangs under it."""
        if step.state == RUNNING or (step.state == OPEN and step.items is None):
            self._actions.append(ev.CancelAttempt(step.task.id, step.key, step.attempt, why))
        self._cancel_inside(step, at, why)
        if not step.ended:
            self._record(ev.StepCancelled(at, step.task.id, step.key, why))

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
                step.ready_at = at
                self._push(step)
        elif kind == "join":
            if step.state == WAITING and step.clock == token:
                self._join_overdue(step, at)
        elif kind == "queue":
            if step.state == READY and step.ready_at == token:
                self._clock_fired(step, at, "queue", f"not started within {step.rule.agent.timeout.queue:g} s")
        elif kind == "total":
            if not step.ended and step.total_at == token:
                self._clock_fired(
                    step, at, "total", f"not done within {step.rule.agent.timeout.total:g} s in all"
                )
        elif kind == "answer" and step.state == OPEN and step.attempt == token:
            does = step.acting.agent.does
            assert isinstance(does, Approve)
            self._record(ev.StepAnswered(at, step.task.id, step.key, does.otherwise == "approve", {}))

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
            self._actions.append(ev.CancelAttempt(step.task.id, step.key, step.attempt, what))
        self._fail_for_good(step, at, Fault("timeout", f"{what} ({clock} clock)", clock=clock))

    def _overdue(self, at: float) -> None:
        """Attempts past their clock fail; the next moment to look is worked out from those that live.

        Looking at the running ones only, when the earliest could be due, costs nothing per attempt: there are
        never more of them than workers.
        """
        late = []
        due = INFINITY
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
            self._actions.append(ev.CancelAttempt(step.task.id, step.key, step.attempt, what))
            fault = Fault("timeout", what, clock="attempt")
            self._failed(step, ev.AttemptFailed(at, step.task.id, step.key, step.attempt, fault))

    # What follows from a failure

    def _failed(self, step: Step, event: ev.AttemptFailed) -> None:
        """In this order: retry (a tier up where asked), fallback, then fail or continue."""
        at, fault = event.at, event.fault
        self._record(event)
        rule = step.acting
        retry = rule.agent.retry
        elsewhere = fault.kind in ("auth", "quota") or (fault.kind == "context" and fault.retry_after is not None)
        if rule.metered and (elsewhere or (fault.kind == "rate_limit" and step.tries < rule.attempts)):
            # Its provider is left alone by everybody now: it asks again, and goes where there is room.
            self._record(ev.StepRetrying(at, event.task, event.step, at, "cooldown", step.tier_up))
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
                ev.KeepLetter(at, step.task.id, step.key, step.acting.name, fault, inputs, step.attempt)
            )
        self._record(ev.StepFailed(at, step.task.id, step.key, fault, tolerated, letter))

    # What follows from everything

    def _settle(self, at: float) -> None:
        """Decide all that can be decided now, then start what fits; again where that dropped a step."""
        while self.doomed or self.pruning or self.special or self.between or self.emptied:
            if self.doomed:
                step, verdict = self.doomed.popleft()
                if step.state == WAITING and judge(step) == verdict:
                    self._give_up(step, verdict, at)
            elif self.pruning:
                self._prune(self.pruning.popleft(), at)
            elif self.special:
                step = self.special.popleft()
                if step.state == READY:
                    self._open(step, at)
            elif self.between:
                step = self.between.popleft()
                if step.state == BETWEEN or (step.state == OPEN and step.items is not None):
                    self._next_round(step, at)
            else:
                self._end_task(self.emptied.popleft(), at)
        while self.mended:
            step = self.mended.popleft()
            self._actions.append(ev.SettleLetters(step.task.id, step.key, "closed"))
        if not self.paused and self._start(at):
            self._settle(at)
        else:
            self._finish(at)

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

    def _open(self, step: Step, at: float) -> None:
        """A ready step that is more than an attempt: `when`, `each`, or a verb that holds no worker."""
        rule, task = step.rule, step.task.id
        try:
            if rule.when is not None and not rule.when.evaluate(scope_of(step, self.run)):
                why = f"when: {rule.agent.when} is false"
                self._record(ev.StepSkipped(at, task, step.key, why))
                return
            if rule.each is not None:
                self._expand(step, at)
                return
        except AgentdeckError as error:
            self._fail_for_good(step, at, Fault("expression", str(error)))
            return
        if rule.slot:
            self._push(step)
            return
        self._begin(step, at)
        if isinstance(rule.agent.does, Dispatch):
            self._dispatch(step, rule.agent.does, at)

    def _expand(self, step: Step, at: float) -> None:
        rule = step.rule
        assert rule.each is not None
        items = rule.each.evaluate(scope_of_group(step, self.run))
        if items is None:
            items = []
        if not isinstance(items, list):
            what = f"each: {rule.agent.each} is {type(items).__name__}, not a list"
            self._fail_for_good(step, at, Fault("expression", what))
            return
        step.previous = items
        self._record(ev.StepExpanded(at, step.task.id, step.key, len(items)))
        if not items:
            self._record(ev.StepDone(at, step.task.id, step.key))

    def _dispatch(self, step: Step, does: Dispatch, at: float) -> None:
        rule, task = step.rule, step.task.id
        assert rule.on is not None
        try:
            value = rule.on.evaluate(scope_of(step, self.run))
        except AgentdeckError as error:
            self._fail_for_good(step, at, Fault("expression", str(error)))
            return
        chosen = does.cases.get(str(value), does.otherwise)
        if chosen is None:
            known = ", ".join(does.cases)
            self._fail_for_good(step, at, Fault("expression", f"no case for {value!r}; there are {known}"))
            return
        answer = {"value": value, "chosen": chosen}
        self._record(ev.StepSucceeded(at, task, step.key, step.attempt, answer))
        for index in rule.targets:
            target = step.task.steps[index]
            if target is not None and target.key != chosen and not target.ended:
                self._record(ev.StepSkipped(at, task, target.key, f"{step.key} chose {chosen}"))

    def _next_round(self, step: Step, at: float) -> None:
        """After an attempt of a step that may run more than once, or after the last item of an `each`."""
        task, rule = step.task.id, step.rule
        if step.items is not None:
            if step.left:
                return
            bad = sum(item.state == FAILED for item in step.items)
            gone = sum(item.state == CANCELLED for item in step.items)
            if (bad or gone) and rule.agent.on_error.action != "continue":
                what = f"{bad + gone} of {len(step.items)} items failed"
                self._fail_for_good(step, at, Fault("needs", what), letter=False)
            else:
                self._record(ev.StepDone(at, task, step.key))
            return
        if rule.join.kind == "progressive":
            if step.arrivals and len(step.arrivals) > 1:
                self._record(ev.StepRepeated(at, task, step.key, step.round + 1))
            elif step.arrived + step.absent + step.tolerated + step.broken == len(rule.needs):
                self._record(ev.StepDone(at, task, step.key))
            return
        repeat = rule.agent.repeat
        assert repeat is not None
        assert rule.until is not None
        try:
            scope = {**scope_of(step, self.run), "output": step.output}
            if step.round >= repeat.max or rule.until.evaluate(scope):
                self._record(ev.StepDone(at, task, step.key))
            else:
                self._record(ev.StepRepeated(at, task, step.key, step.round + 1))
        except AgentdeckError as error:
            self._fail_for_good(step, at, Fault("expression", str(error)))

    def _end_task(self, task: Task, at: float) -> None:
        if self.tasks.get(task.id) is not task or task.left:
            return
        steps = [s for s in task.steps if s is not None]
        leaves = [task.at(i) for i in task.program.leaves]
        bad = [s for s in leaves if s.state == FAILED and s.rule.agent.on_error.action == "fail"]
        output: Data = None
        fault: Fault | None = None
        state = DONE
        if bad:
            state = FAILED
            first = next((s for s in steps if s.state == FAILED and s.fault and s.fault.kind != "needs"), bad[0])
            assert first.fault is not None
            fault = first.fault._replace(message=f"{first.key}: {first.fault.message}", detail="")
        elif any(s.state == CANCELLED for s in leaves):
            state = CANCELLED
        else:
            try:
                output = output_of(task, self.run)
            except AgentdeckError as error:
                state, fault = FAILED, Fault("expression", f"output: {error}")
        self._record(ev.TaskEnded(at, task.id, state, output, fault))
        if task.parent is not None:
            self._nested_ended(task.parent, at, state, output, fault)

    def _nested_ended(
        self, parent: tuple[str, str], at: float, state: str, output: Data, fault: Fault | None
    ) -> None:
        step = self._open_step(*parent)
        if step is None or step.state != OPEN:
            return
        if state == DONE:
            self._record(ev.StepSucceeded(at, parent[0], parent[1], step.attempt, output))
        elif state == CANCELLED:
            self._record(ev.StepCancelled(at, parent[0], parent[1], "its sub-workflow was cancelled"))
        else:
            assert fault is not None
            self._fail_for_good(step, at, Fault("needs", fault.message), letter=False)

    # Starting

    def _start(self, at: float) -> bool:
        """Start ready steps in order while there is room, then ask for more tasks. True: a step was dropped.

        A new task is asked for only when a worker has nothing to do, and while fewer than workers + 1 tasks
        are busy: so tasks end early instead of all being opened.
        """
        ready: list[Place] = self.ready
        free = self.workers - len(self.running) - len(self.asking)
        keen, dropped = self._keen, False
        while free > 0 and (ready if not self.pools else (ready := self._first())):
            place = heappop(ready)
            step = place[6]
            if step.state != READY or (keen and step in keen):
                continue
            rule = step.acting
            if rule.limit is not None and rule.live + rule.asking >= rule.limit:
                if rule.parked is None:
                    rule.parked = deque()
                rule.parked.append(step)
                continue
            if rule.careful:
                free -= self._next(step, place, at)
                dropped |= step.ended
                continue
            self._begin(step, at)
            free -= 1
        if free > 0 and not self.exhausted and not self.cancelling:
            room = min(free, self.workers + 1 - self.busy_tasks) - self.pulling
            while room > 0:
                self.pulling += 1
                room -= 1
                self._actions.append(ev.PullTask())
        return dropped

    def _begin(self, step: Step, at: float, reserved: ev.Reserved | None = None, eased: str = "") -> None:
        started = self._started(step, at, step.attempt + 1)
        ask = 0
        if reserved is not None:
            ask = reserved.ask
            started = started._replace(
                model=reserved.model,
                reserved_tokens=reserved.tokens,
                reserved_usd=reserved.usd,
                eased=eased,
            )
        self._actions.append(ev.Record(started))
        self.apply(started)
        self._actions.append(ev.StartAttempt(started, step.acting.agent.timeout.idle, ask))

    def _started(self, step: Step, at: float, attempt: int) -> ev.StepStarted:
        return ev.StepStarted(
            at,
            step.task.id,
            step.key,
            step.acting.name,
            attempt,
            step.ready_at,
            step.waits if step.told is None else self._waited(step, at),
            step.round,
            step.tier_up,
        )

    def _finish(self, at: float) -> None:
        if self._finished:
            return
        if self.exhausted and not self.tasks:
            self._finished = True
            cancelled = self.cancelling or self.cancelled_tasks
            state = FAILED if self.failed_tasks else CANCELLED if cancelled else DONE
            self._record(ev.RunEnded(at, state))
            self._actions.append(ev.Finish(state))
        elif self.state == "drained" and not self.running and not self.asking:
            self._finished = True
            self._actions.append(ev.Finish("drained"))
