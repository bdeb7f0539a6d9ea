"""The state of a run as a fold of its recorded events.

Every change of state is an `apply` of a recorded event; the parts of `Scheduler` decide which events to record.
So folding a log with this class gives the state that its scheduler had. Two moves of a step are not recorded, as
the log implies them: a backoff ends at the time that `StepRetrying` names, and a deferral ends before the next
`StepStarted` (see `transitions`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any

from agentdeck.scheduler import events as ev
from agentdeck.scheduler import transitions
from agentdeck.scheduler.joins import Joins
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.provider_queues import ProviderQueues
from agentdeck.scheduler.ready_queue import ReadyQueue
from agentdeck.scheduler.reopen import Reopener
from agentdeck.scheduler.run_state import ClosedPlace, Pending, RunState
from agentdeck.scheduler.sequential_lanes import SequentialLanes
from agentdeck.scheduler.state import CANCELLED, FAILED, READY, AllTasks, Step, Task, root_of
from agentdeck.scheduler.step_fold import StepFold
from agentdeck.scheduler.timers import Timers
from agentdeck.scheduler.waits import WaitClock

#: Entries in timers and queues, besides twice what was left last time, from which stale ones are dropped.
STALE = 4096


class Fold:
    """Applies recorded events to the parts of the state. Events of the run and of tasks are here, those of steps
    in `StepFold`; what the end of a step means for the steps that need it is in `Joins`."""

    def __init__(
        self,
        program: Program,
        *,
        run: str = "",
        workers: int = 8,
        gated: bool = False,
        keep: Container[str] = (),
        historic: bool = False,
    ) -> None:
        self.state = state = RunState(program, run=run, workers=workers, keep=keep)
        self.clock = WaitClock()
        self.timers = timers = Timers(state)
        self.queue = queue = ReadyQueue(state, timers, self.clock, gated=gated)
        self.providers = ProviderQueues()
        self.lanes = SequentialLanes(state, queue)
        self.pending = pending = Pending()
        self.joins = Joins(state, queue, pending)
        self.steps = StepFold(state, queue, timers, self.joins, pending, self.lanes, self.providers, historic)
        self._most_entries = STALE
        if program.serial:
            self.lanes.set_mode(sequential=True)
        self._handlers: dict[type, Callable[[Any], None]] = {
            ev.RunStarted: self._run_started,
            ev.RunResumed: self._run_resumed,
            ev.RunPaused: self._run_paused,
            ev.RunUnpaused: self._run_unpaused,
            ev.RunDrained: self._run_drained,
            ev.RunEnded: self._run_ended,
            ev.LimitChanged: self._limit_changed,
            ev.PlaceClosed: self._place_closed,
            ev.PlaceOpened: self._place_opened,
            ev.TaskOpened: self._task_opened,
            ev.TasksExhausted: self._tasks_exhausted,
            ev.TaskEnded: self._task_ended,
            ev.TaskHurried: self._task_hurried,
            ev.WorkerHeld: lambda event: self.state.held_workers.add(event.attempt),
            ev.WorkerFreed: lambda event: self.state.held_workers.discard(event.attempt),
            ev.Noted: self._noted,
            ev.StepReopened: Reopener(self.state, self.queue, self.joins).reopen,
            **self.steps.handlers(),
        }
        if transitions.VALIDATE:
            self._handlers = {
                kind: transitions.validated(kind, handler, self.state) for kind, handler in self._handlers.items()
            }

    def apply(self, event: ev.Event) -> None:
        """Apply one recorded event."""
        self.state.seq += 1
        self._handlers[type(event)](event)

    # The run

    def _noted(self, event: ev.Noted) -> None:
        if event.data and "rung" in event.data:
            self.state.accounts.enforce(str(event.data.get("budget", "")), str(event.data["rung"]))
        if event.data and "mode" in event.data:
            self.lanes.set_mode(sequential=event.data["mode"] == "sequential")

    def _run_started(self, event: ev.RunStarted) -> None:
        self.state.run, self.state.given = event.run, event.tasks
        self.state.look_ahead()
        self.state.program.start_in(event.order)

    def _run_resumed(self, event: ev.RunResumed) -> None:
        state = self.state
        state.status, state.paused = "running", False
        state.held_workers.clear()  # their threads ended with their process
        state.closed_places.clear()  # this process has reached them
        if event.idle:
            self.timers.shift(event.idle)
            for step in state.unended():
                if step.state == READY:  # while no process executed the run, the step waited for nothing
                    step.ready_at += event.idle
                    if step.wait_reason is not None:
                        step.wait_reason = step.wait_reason[0], step.wait_reason[1] + event.idle

    def _run_paused(self, event: ev.RunPaused) -> None:
        self.state.status, self.state.paused, self.state.pause_reason = "paused", True, event.why

    def _run_drained(self, event: ev.RunDrained) -> None:
        self.state.status, self.state.paused, self.state.pause_reason = "drained", True, ""

    def _run_unpaused(self, event: ev.RunUnpaused) -> None:
        self.state.status, self.state.paused = "running", False

    def _run_ended(self, event: ev.RunEnded) -> None:
        self.state.status = event.state

    def _limit_changed(self, event: ev.LimitChanged) -> None:
        state = self.state
        if event.name == "workers":
            state.workers = int(event.new)
            state.look_ahead()
            self._start_by_paths()
            return
        if event.name in state.resources.by_name:
            assert isinstance(event.new, int | float)
            state.resources.set_limit(event.name, event.new)
            return
        head, _, name = event.name.partition(".")
        if head == "budget":
            state.accounts.grant(name, event.new)
            return
        if head != "agents":
            if event.who != ev.AUTO:
                state.changed_limits[event.name] = event.new
            return
        rule, setting = state.setting(event.name)
        setattr(rule, setting, event.new)
        if setting == "limit":
            state.hold_calls(rule)
        if setting == "attempt_timeout":
            rule.auto = False
        self.timers.next_due = event.at  # check every live attempt against the new limit

    def _place_closed(self, event: ev.PlaceClosed) -> None:
        self.state.closed_places[event.place] = ClosedPlace(event.at, event.why)

    def _place_opened(self, event: ev.PlaceOpened) -> None:
        self.state.closed_places.pop(event.place, None)

    def _start_by_paths(self) -> None:
        """A searched order is good for its number of workers. With twice as many it takes 2 % longer than the
        longest remaining path first, in the worst of 126 cases 25 %."""
        self.state.program.start_in(())
        self.queue.prioritize(self.queue.least)

    # Tasks

    def _task_opened(self, event: ev.TaskOpened) -> None:
        state = self.state
        program, age, past, tail = state.program, 0, dict[str, int](), 0.0
        holder: Step | None = None
        if event.parent is not None:
            above = state.tasks[event.parent[0]]
            holder = above.step(event.parent[1])
            assert holder is not None
            program, age, past = above.program.nested[holder.acting.name], above.age, above.past
            tail = holder.path - holder.rule.seconds
        else:
            state.opened += 1
            state.open_tasks += 1
            age = state.opened
        task = Task(event.task, age, program, event.inputs, event.parent, past, tail, event.called)
        state.tasks[event.task] = task
        if event.called and holder is not None:
            holder.calls = holder.calls or {}
            holder.calls[task.id] = task
        state.work += program.own_work
        state.closed.pop(event.task, None)
        if past:
            for step in task.all_steps():
                step.attempt = past.get(f"{task.id}/{step.key}", 0)
        for first in task.steps:
            if first is not None and not first.rule.needs:
                self.queue.make_ready(first, event.at, gate=False)
        if task.left == 0:
            self.pending.finished.append(task)

    def _tasks_exhausted(self, event: ev.TasksExhausted) -> None:
        self.state.exhausted = True
        self.state.look_ahead()

    def _task_ended(self, event: ev.TaskEnded) -> None:
        state = self.state
        task = state.tasks.pop(event.task)
        if state.accounts.tasks:
            state.accounts.close(event.task)
        task.ended = event.state
        if task.called:
            self._drop_call(task)
        elif event.state == CANCELLED or self._may_be_opened_again(task):
            task.past.update((f"{task.id}/{step.key}", step.attempt) for step in task.all_steps())
        if not task.called and root_of(task.id) in state.keep:
            state.closed[task.id] = task
        elif task.parent is None and state.closed:
            state.closed = {name: other for name, other in state.closed.items() if root_of(name) != task.id}
        finished = self.pending.finished
        if finished and finished[0] is task:
            finished.popleft()
        if len(self.timers) + len(self.queue) > self._most_entries:
            self._drop_stale()
        if task.parent is None:
            state.open_tasks -= 1
            state.failed_tasks += event.state == FAILED
            state.cancelled_tasks += event.state == CANCELLED
        if task.id not in state.closed:
            task.drop_steps()

    def _drop_call(self, task: Task) -> None:
        """Forget a call that has ended. Its id is not used again, and it cannot be reopened: nothing would wait
        for its answer."""
        holder = self.state.find(*task.parent) if task.parent is not None else None
        if holder is not None and holder.calls is not None:
            holder.calls.pop(task.id, None)

    def _may_be_opened_again(self, task: Task) -> bool:
        """Whether another nested task may get the id of this one without a restored task: in another round, or
        for a fallback. (One that was cancelled may, as reopening a step cancels what still runs below it.)"""
        while task.parent is not None and (above := self.state.tasks.get(task.parent[0])) is not None:
            holder = above.step(task.parent[1])
            if holder is not None and (holder.rule.rounds or holder.rule.fallback is not None):
                return True
            task = above
        return False

    def _drop_stale(self) -> None:
        """Drop entries that no longer apply. This looks at all of them, so it is done when they have doubled."""
        self.timers.drop_stale()
        self.queue.drop_stale()
        self.pending.drop_stale(self.state)
        self._most_entries = STALE + 2 * (len(self.timers) + len(self.queue))

    def _task_hurried(self, event: ev.TaskHurried) -> None:
        state, queue = self.state, self.queue
        state.hurried += 1
        not_queued = {step for _, step in queue.uncommitted}.union(queue.composite)
        for name, task in state.tasks.items():
            if name == event.task or name.startswith(event.task + "/"):
                task.age = -state.hurried
                for step in task.all_steps():
                    if step.state == READY and step not in not_queued:
                        queue.push(step)


def rebuild_task(program: Program, run: str, age: int, events: Iterable[ev.Event]) -> dict[str, Task]:
    """The task that these events are about and the ended tasks nested in it, by id.

    `program` may be in use: its counts are as before when this returns. `age` is the place of the task among the
    run's own. Tasks that have not ended are left out.
    """
    fold = Fold(program, run=run, keep=AllTasks(), historic=True)
    fold.state.opened = age - 1
    for event in events:
        fold.apply(event)
    for step in list(fold.state.running):
        fold.steps.release(step)
    return fold.state.closed
