"""The state of a run as a fold of its recorded events.

Every change of state is an `apply` of a recorded event, here and nowhere else; `Scheduler` decides which events
to record. So a log folded by this class is the state its machine had.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.events import AUTO
from agentdeck.scheduler.program import Program, Rule
from agentdeck.scheduler.reopen import reopen
from agentdeck.scheduler.state import CANCELLED, FAILED, READY, Task, root_of
from agentdeck.scheduler.steps import Steps


class Fold(Steps):
    """A run as its events tell it. What is told of the run and its tasks is here, of steps in `Steps`; what
    an end means for the steps below is in `Joining`, and the state itself in `Board`."""

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
        self._apply: dict[type, Callable[[Any], None]] = {
            ev.RunStarted: self._run_started,
            ev.RunResumed: self._run_resumed,
            ev.RunPaused: self._run_paused,
            ev.RunUnpaused: self._run_unpaused,
            ev.RunDrained: self._run_paused,
            ev.RunEnded: self._run_ended,
            ev.LimitChanged: self._limit_changed,
            ev.TaskOpened: self._task_opened,
            ev.TasksExhausted: self._tasks_exhausted,
            ev.TaskEnded: self._task_ended,
            ev.TaskHurried: self._task_hurried,
            ev.StepStarted: self._step_started,
            ev.ReservationGrew: self._reservation_grew,
            ev.StepSucceeded: self._step_succeeded,
            ev.AttemptFailed: self._attempt_failed,
            ev.AttemptLost: self._attempt_lost,
            ev.AttemptDeferred: self._attempt_deferred,
            ev.StepRetrying: self._step_retrying,
            ev.StepFellBack: self._step_fell_back,
            ev.StepRepeated: self._step_repeated,
            ev.StepExpanded: self._step_expanded,
            ev.StepDone: self._step_done,
            ev.StepFailed: self._step_failed,
            ev.StepSkipped: self._step_skipped,
            ev.StepCancelled: self._step_cancelled,
            ev.StepReleased: self._step_released,
            ev.StepAnswered: self._step_answered,
            ev.StepReopened: self._step_reopened,
            ev.StepWaited: self._step_waited,
            ev.Noted: self._noted,
        }

    def apply(self, event: ev.Event) -> None:
        """Fold one recorded event."""
        self.seq += 1
        self._apply[type(event)](event)

    # The run

    def _noted(self, event: ev.Noted) -> None:
        if event.data and "rung" in event.data:
            self.accounts.enter(str(event.data.get("budget", "")), str(event.data["rung"]))
        if event.data and "mode" in event.data:
            self._mode(event.data["mode"] == "sequential")

    def _run_started(self, event: ev.RunStarted) -> None:
        self.run = event.run

    def _run_resumed(self, event: ev.RunResumed) -> None:
        self.state, self.paused = "running", False
        if event.idle:
            clocks = {"join", "answer", "queue"}  # nobody could have met them; `backoff` and `total` go on
            moved = []
            for due, n, kind, s, token in self.timers:
                # A queue timer is known by when its step became ready, which moves too.
                token = token + event.idle if kind == "queue" and isinstance(token, float) else token
                moved.append((due + event.idle if kind in clocks else due, n, kind, s, token))
            self.timers = moved
            self.timers.sort(key=lambda timer: timer[:2])
            for step in self.unended():
                if step.state == READY:  # in the time when no process ran the run, it waited for nothing
                    step.ready_at += event.idle
                    if step.told is not None:
                        step.told = step.told[0], step.told[1] + event.idle

    def _run_paused(self, event: ev.RunPaused | ev.RunDrained) -> None:
        self.paused, self.pause_reason = True, getattr(event, "why", "")
        self.state = "drained" if isinstance(event, ev.RunDrained) else "paused"

    def _run_unpaused(self, event: ev.RunUnpaused) -> None:
        self.paused, self.state = False, "running"

    def _run_ended(self, event: ev.RunEnded) -> None:
        self.state = event.state

    def _limit_changed(self, event: ev.LimitChanged) -> None:
        if event.name == "workers":
            self.workers = int(event.new)
            return
        head, _, name = event.name.partition(".")
        if head == "budget":
            self.accounts.grant(name, event.new)
            return
        if head != "agents":
            if event.who != AUTO:
                self.changed_limits[event.name] = event.new
            return
        rule, setting = self.setting(event.name)
        setattr(rule, setting, event.new)
        if setting == "attempt_timeout":
            rule.auto = False
        self.next_due = event.at  # every live attempt is looked at anew

    def setting(self, name: str) -> tuple[Rule, str]:
        """The rule and field behind a dotted limit name; KeyError where there is none."""
        head, agent, setting = name.split(".")
        fields = {"timeout": "attempt_timeout", "attempts": "attempts", "max_parallel": "limit"}
        if head != "agents":
            raise KeyError(name)
        return self.program.rules[self.program.index[agent]], fields[setting]

    # Tasks

    def _task_opened(self, event: ev.TaskOpened) -> None:
        program, age, past = self.program, 0, dict[str, int]()
        if event.parent is not None:
            above = self.tasks[event.parent[0]]
            holder = above.step(event.parent[1])
            assert holder is not None
            program, age, past = above.program.nested[holder.acting.name], above.age, above.past
        else:
            self.pulling = max(0, self.pulling - 1)
            self.top += 1
            self.opened += 1
            age = self.opened
        task = self.tasks[event.task] = Task(event.task, age, program, event.inputs, event.parent, past)
        self.closed.pop(event.task, None)
        if past:
            for step in self._steps_of(task):
                step.attempt = past.get(f"{task.id}/{step.key}", 0)
        for rule in program.rules:
            if not rule.needs and not rule.spare:
                self._make_ready(task.at(rule.index), event.at, gate=False)
        if task.left == 0:
            self.emptied.append(task)

    def _tasks_exhausted(self, event: ev.TasksExhausted) -> None:
        self.exhausted = True
        self.pulling = 0

    def _task_ended(self, event: ev.TaskEnded) -> None:
        task = self.tasks.pop(event.task)
        if self.accounts.tasks:
            self.accounts.close(event.task)
        task.ended = event.state
        if self._comes_again(task):
            task.past.update((f"{task.id}/{step.key}", step.attempt) for step in self._steps_of(task))
        if root_of(task.id) in self.keep:
            self.closed[task.id] = task
        elif task.parent is None and self.closed:
            self.closed = {name: other for name, other in self.closed.items() if root_of(name) != task.id}
        if self.emptied and self.emptied[0] is task:
            self.emptied.popleft()
        if len(self.timers) + len(self.ready) + len(self.uncommitted) + len(self.special) > self._most:
            self._trim()
        if task.busy:
            self.busy_tasks -= 1
        if task.parent is None:
            self.top -= 1
            self.failed_tasks += event.state == FAILED
            self.cancelled_tasks += event.state == CANCELLED

    def _comes_again(self, task: Task) -> bool:
        """Whether another nested task may come by its name: in another round, or for a fallback."""
        while task.parent is not None and (above := self.tasks.get(task.parent[0])) is not None:
            holder = above.step(task.parent[1])
            if holder is not None and (holder.rule.rounds or holder.rule.fallback is not None):
                return True
            task = above
        return False

    def _task_hurried(self, event: ev.TaskHurried) -> None:
        self.hurried += 1
        gated = {step for _, step in self.uncommitted}.union(self.special)
        for name, task in self.tasks.items():
            if name == event.task or name.startswith(event.task + "/"):
                task.age = -self.hurried
                for step in self._steps_of(task):
                    if step.state == READY and step not in gated:
                        self._push(step)

    def _step_reopened(self, event: ev.StepReopened) -> None:
        reopen(self, event)
