"""The core: events in, actions out.

`Scheduler.handle(event)` checks an event against the state, records it and all that follows from it, and returns
what is to be done. It never waits and never acts. The shape is that of dask.distributed's worker state machine:
one entry, instructions as values, state changed nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from heapq import heappop
from typing import Any

from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.board import Place
from agentdeck.scheduler.joins import judge
from agentdeck.scheduler.metered import FOREVER
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.state import (
    BETWEEN,
    CANCELLED,
    DEFERRED,
    DONE,
    FAILED,
    OPEN,
    READY,
    RUNNING,
    WAITING,
    Step,
    Task,
)
from agentdeck.scheduler.steered import Steered
from agentdeck.scheduler.waits import POOL, RunWait
from agentdeck.workflow.model import ProviderLimits


class Scheduler(Steered):
    """One run: what comes in, what follows from everything, and what starts next.

    What a single thing leads to is in the classes below: `Failing` (failures and cancelling), `Metered` (attempts
    that are reserved before they begin), `Special` (steps of more than one attempt), `Timers`, `Steered` (what a
    person asks). The state and every change of it is in `Fold`, under all of them.
    """

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
        self._handle: dict[type, Callable[[Any], None]] = {
            ev.ReservationGrew: self._on_reservation_grew,
            ev.StepSucceeded: self._on_succeeded,
            ev.AttemptFailed: self._on_attempt_failed,
            ev.AttemptDeferred: self._on_deferred,
            ev.DeferralEnded: self._on_deferral_ended,
            ev.TaskOpened: self._record,
            ev.TasksExhausted: self._on_exhausted,
            ev.TimerFired: self._on_timer,
            ev.Committed: self._on_committed,
            ev.CancelAsked: self._on_cancel,
            ev.SkipAsked: self._on_skip,
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
            ev.Batch: self._on_together,
            ev.Noted: self._record,
        }

    def handle(self, event: ev.Event | ev.Signal) -> list[act.Action]:
        """Take one event. What it asks for that makes no sense any more (an attempt that was cancelled, a step
        that has ended) changes nothing and records nothing."""
        self._actions = []
        waiting = self.waiting
        if event.at > waiting.at:
            waiting.advance(event.at)
        self._handle[type(event)](event)
        self._settle(event.at)
        full = len(self.running) + len(self.asking) >= self.workers
        waiting.state = RunWait.PAUSED if self.paused else RunWait.FULL if full else RunWait.FREE
        return self._actions

    # For the engine

    def configure_providers(self, limits: dict[str, ProviderLimits], *, reserve: bool) -> None:
        """Set the deck's provider limits, and whether prompts are reserved before they begin."""
        self.provider_limits = limits
        todo = [self.program]
        while todo:
            program = todo.pop()
            todo += program.nested.values()
            for rule in program.rules:
                rule.metered = reserve and rule.verb == "prompt"
                rule.careful |= rule.metered

    def restore_tasks(self, tasks: dict[str, Task]) -> None:
        """Add ended tasks, rebuilt from the store, so that their steps can be reopened."""
        self.closed |= {name: task for name, task in tasks.items() if name not in self.tasks}

    def queued_steps(self) -> list[Step]:
        """All ready steps that wait for a worker, a provider or a budget, each queue in its order."""
        heaps = [self.ready, *(pool.heap for pool in self.pools.values())]
        return [step for heap in heaps for step in self._queued(heap)]

    def stopped_queues(self) -> Iterator[tuple[str, str, list[Step]]]:
        """The provider (or BUDGET), the reason, and the steps of each queue that opens only when an operator
        acts."""
        for name, pool in self.pools.items():
            if pool.until == FOREVER and (steps := self._queued(pool.heap)):
                yield name, pool.why, steps

    def _queued(self, heap: list[Place]) -> list[Step]:
        """The steps of a queue in order, without the stale entries."""
        return [
            place[6]
            for place in sorted(heap)
            if place[6].state == READY
            and place[5] >= place[6].since
            and self.tasks.get(place[6].task.id) is place[6].task
        ]

    # What comes in

    def _on_succeeded(self, event: ev.StepSucceeded) -> None:
        step = self._live(event.task, event.step, event.attempt)
        if step is not None:
            self._record(event)

    def _on_reservation_grew(self, event: ev.ReservationGrew) -> None:
        step = self._live(event.task, event.step, event.attempt)
        if step is not None and step.held is not None:
            self._record(event)
            self._climb(event.task, event.at)

    def _on_attempt_failed(self, event: ev.AttemptFailed) -> None:
        step = self._live(event.task, event.step, event.attempt)
        if step is not None:
            self._failed(step, event)

    def _on_deferred(self, event: ev.AttemptDeferred) -> None:
        step = self._live(event.task, event.step, event.attempt)
        if step is not None:
            self._record(event)
            if step.wait is not None:
                step.wait.set_aside(self.waiting, event.reason)

    def _on_deferral_ended(self, event: ev.DeferralEnded) -> None:
        step = self._open_step(event.task, event.step)
        if step is not None and step.state == DEFERRED and step.attempt == event.attempt:
            self._busy(step, READY)
            if step.wait is not None:
                step.wait.take_up(self.waiting)
            self._push(step)

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
            if step.rule.special and step.item < 0 and step.acting is step.rule:
                self.special.append(step)
            else:
                self._push(step)

    def _on_resumed(self, event: ev.RunResumed) -> None:
        self.durable = self.seq
        self._on_committed(ev.Committed(event.at, self.seq))
        self._record(event)
        for step in self.unended():
            if step.state == READY and step.wait is not None and step.wait.spent is None:
                # What it waited for in the process before is known as far as the log tells.
                reason, since = step.told or (POOL, step.ready_at)
                step.wait.add(POOL, since - step.ready_at)
                step.wait.add(reason, event.at - since)
        for step in sorted(self.running, key=lambda s: (s.task.age, s.rule.index, s.item)):
            self._record(ev.AttemptLost(event.at, step.task.id, step.key, step.attempt, self._lost(step)))
        for task in list(self.tasks.values()):
            for step in self._steps_of(task):
                if step.state == DEFERRED:
                    self._on_deferral_ended(ev.DeferralEnded(event.at, task.id, step.key, step.attempt))
                nested = f"{task.id}/{step.key}" in self.tasks
                if step.state == OPEN and step.items is None and not nested:
                    self._actions.append(act.StartAttempt(self._started(step, event.at, step.attempt)))
        self.pulling = 0
        self._finished = False

    def _on_exhausted(self, event: ev.TasksExhausted) -> None:
        """Each worker that asks for a task hears of it; it is said once."""
        if not self.exhausted:
            self._record(event)

    def _on_together(self, event: ev.Batch) -> None:
        for one in event.events:
            self._handle[type(one)](one)

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
                if step.state == READY and not self._held_back(step):
                    self._open(step, at)
            elif self.between:
                step = self.between.popleft()
                if step.state == BETWEEN or (step.state == OPEN and step.items is not None):
                    self._next_round(step, at)
            else:
                self._end_task(self.emptied.popleft(), at)
        while self.mended:
            step = self.mended.popleft()
            self._actions.append(act.UpdateLetters(step.task.id, step.key, "closed"))
        if not self.paused and self._start(at):
            self._settle(at)
        else:
            self._finish(at)

    # Starting

    def _start(self, at: float) -> bool:
        """Start ready steps in order while there is room, then ask for more tasks. True: a step was dropped.

        A new task is asked for only when a worker has nothing to do, and while fewer than workers + 1 tasks
        are busy: so tasks end early instead of all being opened.
        """
        ready: list[Place] = self.ready
        free = self.workers - len(self.running) - len(self.asking)
        keen, dropped = self._keen, False
        if free > 0 and self.parked:
            self._unpark()
        while free > 0:
            if self.pools:
                ready = self._first()
            if not ready:
                if self.parked:
                    self._unpark()
                if not self.ready:
                    break
                continue
            place = heappop(ready)
            step = place[6]
            if step.state != READY or place[5] < step.since or (keen and step in keen):
                continue
            if self.gated and self._held_back(step):
                continue
            rule = step.acting
            if rule.limit is not None and rule.live + rule.asking >= rule.limit:
                self._park(place, rule)
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
                self._actions.append(act.PullTask())
        return dropped

    def _held_back(self, step: Step) -> bool:
        early = self._early(step)
        if early:
            self.uncommitted.append((self.seq, step))
        return early

    def _finish(self, at: float) -> None:
        if self._finished:
            return
        if self.exhausted and not self.tasks:
            self._finished = True
            cancelled = self.cancelling or self.cancelled_tasks
            state = FAILED if self.failed_tasks else CANCELLED if cancelled else DONE
            self._record(ev.RunEnded(at, state))
            self._actions.append(act.Finish(state))
        elif self.state == "drained" and not self.running and not self.asking:
            self._finished = True
            self._actions.append(act.Finish("drained"))
