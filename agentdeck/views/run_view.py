"""What a person sees of a run: a fold of its events.

A live run, a run of another process and a replay differ only in where the events come from. `View.apply` is
pure but for its own state, and total: an event about something it no longer remembers is counted as well as
can be, and never raises. Memory is bounded by what is open, not by what has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.events import AUTO
from agentdeck.scheduler.state import ENDED
from agentdeck.views.agent_totals import GraphTotals
from agentdeck.views.picture import by
from agentdeck.views.step_events import ViewSteps
from agentdeck.views.task_view import TaskRow, TaskView
from agentdeck.workflow.model import Definition

KEPT_FAILED = 1000
KEPT_STEPS = 50_000


class RunView(ViewSteps):
    """The state of a run after the events applied so far, in their order.

    Without a definition all is counted that the log names; steps that have not been told of are then not
    counted as waiting until their agent was seen once.
    """

    def __init__(self, definition: Definition | None = None) -> None:
        super().__init__(definition)
        self._folds: dict[type, Callable[[Any], None]] = {
            ev.RunStarted: self._run_started,
            ev.RunResumed: self._run_resumed,
            ev.RunPaused: self._run_paused,
            ev.RunUnpaused: self._run_unpaused,
            ev.RunDrained: self._run_drained,
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

    def apply(self, seq: int, event: ev.Event) -> None:
        """Take in the event with this sequence number. Events come in order, each once."""
        self.seq = seq
        self.now = event[0]
        self._folds[type(event)](event)

    # The run

    def _run_started(self, e: ev.RunStarted) -> None:
        self.run, self.workflow, self.identity, self.inputs = e.run, e.workflow, e.identity, e.inputs
        self.started = e.at
        self.limits = dict(e.limits)
        self.tasks.given = e.tasks
        if e.origin:
            self._moment("forked", f"shares results of {e.origin}" + by(e.who))

    def _run_resumed(self, e: ev.RunResumed) -> None:
        self.state, self.ended = "running", None
        self.idle += e.idle
        for task in self.open.values():
            task.opened += e.idle
            for step in task.steps.values():
                step.since += e.idle
        self._moment("resumed", "resumed" + by(e.who))

    def _run_paused(self, e: ev.RunPaused) -> None:
        self.state = "paused"
        self._moment("paused", e.why or "paused" + by(e.who))

    def _run_unpaused(self, e: ev.RunUnpaused) -> None:
        self.state = "running"
        self._moment("unpaused", "goes on" + by(e.who))

    def _run_drained(self, e: ev.RunDrained) -> None:
        self.state = "draining"
        self._moment("drained", "drained" + by(e.who))

    def _run_ended(self, e: ev.RunEnded) -> None:
        self.state, self.ended = e.state, e.at
        self._moment("ended", e.state)

    def _limit_changed(self, e: ev.LimitChanged) -> None:
        self.limits[e.name] = e.new
        if e.who != AUTO:
            was, now = ("none" if value is None else value for value in (e.old, e.new))
            self._moment("limit", f"{e.name}: {was} -> {now}" + by(e.who))

    # Tasks

    def _task_opened(self, e: ev.TaskOpened) -> None:
        family = self._families[""]
        if e.parent is None:
            self.tasks.opened += 1
        else:
            family = self._nested(e.parent)
            earlier = self.failed.pop(e.task, None)  # its step goes again, and it with it
            if earlier is not None:
                self._kept_steps -= len(earlier.steps)
                self.letters -= sum(step.letter for step in earlier.steps.values())
        family.opened += 1
        self.open[e.task] = TaskView(e.task, e.at, family, e.parent)

    def _nested(self, parent: tuple[str, str]) -> GraphTotals:
        """The family of tasks below a step, and the word that this step only waits for them."""
        above = self._task(parent[0])
        tally = self._step(above, parent[1]).agent
        tally.uses_worker = False
        prefix = tally.name + "/"
        family = self._families.get(prefix)
        if family is None:
            family = self._families[prefix] = GraphTotals(prefix)
        return family

    def _tasks_exhausted(self, e: ev.TasksExhausted) -> None:
        tasks = self.tasks
        tasks.total = max(e.total, tasks.given or 0) if e.cut else e.total
        tasks.at_least = e.cut and tasks.given is None

    def _task_ended(self, e: ev.TaskEnded) -> None:
        task = self._task(e.task)
        del self.open[e.task]
        task.state, task.ended, task.fault = e.state, e.at, e.fault
        self._settle(task)
        if task.parent is None:
            self.tasks.add(e.state, 1)
            self.output = e.output
            attempts = 0
            for step in task.steps.values():
                attempts += step.attempts
            error = e.fault.message if e.fault else ""
            self.recent.append(TaskRow(e.task, e.state, task.opened, e.at, attempts, error))
        if e.state == "failed" or (self.letters and any(step.letter for step in task.steps.values())):
            self._keep(task)

    def _settle(self, task: TaskView) -> None:
        """Nothing of an ended task runs or waits any more: whatever the log left open ended with it."""
        for step in task.steps.values():
            if step.state not in ENDED:
                self._drop_attempt(task, step, None)
                self._move(step, "cancelled")
            if step.size > step.seen:
                left, step.seen = step.size - step.seen, step.size
                step.agent.counts["ready"] -= left
                step.agent.counts["cancelled"] += left
        if len(task.steps) < len(task.graph.agents) and not task.partial:
            state = "skipped" if task.state == "done" else "cancelled"
            for key, tally in task.graph.agents.items():
                if tally.has_steps and key not in task.steps:
                    self._move(self._step(task, key), state)

    def _keep(self, task: TaskView) -> None:
        """A task with a failure in it stays whole, to be looked into and opened again: the last KEPT_FAILED."""
        if self._kept_steps + len(task.steps) > KEPT_STEPS:
            task.steps = {}
        self._kept_steps += len(task.steps)
        self.failed[task.id] = task
        if len(self.failed) > KEPT_FAILED:
            self._kept_steps -= len(self.failed.pop(next(iter(self.failed))).steps)

    def _task_hurried(self, e: ev.TaskHurried) -> None:
        self._moment("hurried", "goes first" + by(e.who), e.task)

    def _noted(self, e: ev.Noted) -> None:
        if e.asks:  # of a sub-workflow there is no definition that says so
            self._step(self._task(e.task), e.step).agent.asks = True
        self._moment("noted", e.text, e.task, e.step)
