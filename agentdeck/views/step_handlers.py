"""The part of the run view that folds events of steps: what runs, what failed, what each agent counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import Approvals
from agentdeck.scheduler.state import ENDED
from agentdeck.views.agent_totals import AgentTotals, GraphTotals, RunTotals
from agentdeck.views.inner_steps import InnerSteps
from agentdeck.views.place_workers import PlaceWorkers
from agentdeck.views.step_transitions import (
    Change,
    StepView,
    complete_attempt,
    end_with_task,
    follow,
    reopened_steps,
    start_attempt,
    transition,
)
from agentdeck.views.task_view import TaskView, TaskViews


class StepHandlers:
    """Applies step events to the remembered tasks and to the totals. What an event means for its step is in
    `step_transitions`; here it is counted.

    `running` holds the running attempt of each step, by task and step: of two, the one that began last.
    `letters` is the number of dead letters. `simulated`: the answer of a model was simulated.
    """

    def __init__(self, tasks: TaskViews, totals: RunTotals) -> None:
        self.running: dict[tuple[str, str], ev.StepStarted] = {}
        self.letters = 0
        self.simulated = False
        self.approvals = Approvals()
        self._tasks = tasks
        self._open = tasks.open
        self._totals = totals
        self.inner = InnerSteps(totals)
        self.workers = PlaceWorkers()
        self.handlers: dict[type, Callable[[Any], object]] = {
            ev.StepStarted: self._started,
            ev.AttemptPlaced: self._placed,
            ev.ReservationGrew: lambda e: None,  # reservations are not shown
            ev.StepSucceeded: self._succeeded,
            ev.AttemptFailed: self._attempt_failed,
            ev.AttemptLost: self._attempt_lost,
            ev.AttemptDeferred: self._attempt_deferred,
            ev.AttemptAsked: self._attempt_asked,
            ev.InnerStarted: self._inner_started,
            ev.InnerEnded: self.inner.end,
            ev.StepRetrying: self._apply,
            ev.StepFellBack: self._apply,
            ev.StepRepeated: self._apply,
            ev.StepExpanded: self._expanded,
            ev.StepDone: self._apply,
            ev.StepFailed: self._failed,
            ev.StepSkipped: self._skipped,
            ev.StepCancelled: self._apply,
            ev.StepReleased: lambda e: None,  # it is in the timeline only
            ev.StepAnswered: self._answered,
            ev.StepReopened: self._reopened,
            ev.StepWaited: self._apply,
        }

    # Attempts. StepStarted and StepSucceeded are most of every log: they avoid what the others share.

    def _started(self, e: ev.StepStarted) -> None:
        task_id, key, doer = e[1:4]
        task = self._open.get(task_id) or self._tasks.task(task_id, e.at)
        step = task.steps.get(key) or self._tasks.step(task, key)
        agent = step.agent
        counts = agent.counts
        counts[step.state] -= 1
        start_attempt(step, e, agent.waiting)
        counts["running"] += 1
        self.running[task_id, key] = e
        worker = task.graph.agents.get(doer) or self._totals.agent(task.graph, doer, has_steps=False)
        worker.attempts += 1
        if e.eased:
            for how in e.eased.partition(":")[0].split(", "):
                worker.add_eased(how)

    def _placed(self, e: ev.AttemptPlaced) -> None:
        step, _ = self._apply(e)
        if step.attempt is not None:
            self.workers.place(e.task, e.step, e.worker)
            self._open[e.task].graph.agents[step.attempt.agent].add_placed(e.worker)

    def _succeeded(self, e: ev.StepSucceeded) -> None:
        at, task_id, key, _, _, usage, input_bytes, reused = e
        task = self._open.get(task_id) or self._tasks.task(task_id, at)
        step = task.steps.get(key) or self._tasks.step(task, key)
        agent = step.agent
        agent.counts[step.state] -= 1
        letter = step.letter
        started = complete_attempt(step, e)
        if letter and not step.letter:
            self.letters -= 1
        agent.counts[step.state] += 1
        if reused:
            agent.reused += 1
        if started is not None:
            if self.inner.live:
                self.inner.close(task_id, key, at)
            if self.workers.live:
                self.workers.end(task_id, key, "done")
            if step.attempt is None:
                self.running.pop((task_id, key), None)
            else:
                self.running[task_id, key] = step.attempt
            worker = task.graph.agents[started[3]]
            seconds = at - started[0]
            if seconds < 0.0:
                seconds = 0.0
            worker.busy += seconds
            if not reused:
                worker.durations.add(seconds)
            worker.input_bytes += input_bytes
            if usage is not None:
                worker.add_usage(usage)
                self.simulated |= usage.simulated and not worker.simulates

    def _attempt_failed(self, e: ev.AttemptFailed) -> None:
        place = self.inner.place_of(e.task, e.step, e.fault)
        step, change = self._apply(e)
        step.inside = place
        worker = self._worker(step, e.task, change)
        worker.failed_attempts += 1
        worker.input_bytes += e.input_bytes
        for started in change.ended:
            worker.busy += max(0.0, e.at - started.at)
        self._use(worker, e.usage)

    def _attempt_lost(self, e: ev.AttemptLost) -> None:
        step, change = self._apply(e)
        worker = self._worker(step, e.task, change)
        worker.lost += 1
        self._use(worker, e.usage)

    def _attempt_deferred(self, e: ev.AttemptDeferred) -> None:
        step, change = self._apply(e)
        self._worker(step, e.task, change).attempts -= 1

    def _attempt_asked(self, e: ev.AttemptAsked) -> None:
        step, change = self._apply(e)
        worker = self._worker(step, e.task, change)
        for started in change.ended:
            worker.busy += max(0.0, e.at - started.at)
        self._use(worker, e.usage)

    def _inner_started(self, e: ev.InnerStarted) -> None:
        task = self._open.get(e.task)
        step = task.steps.get(e.step) if task is not None else None
        if step is not None and step.attempt is not None:
            self.inner.start(step, e)

    def _worker(self, step: StepView, task: str, change: Change) -> AgentTotals:
        """The totals of the agent that made the attempt which ended."""
        if not change.ended:
            return step.agent
        return self._open[task].graph.agents[change.ended[0].agent]

    # Between attempts, and ends

    def _apply(self, e: Any) -> tuple[StepView, Change]:
        """Apply an event to its step, and count what changed."""
        task = self._open.get(e.task) or self._tasks.task(e.task, e.at)
        step = task.steps.get(e.step) or self._tasks.step(task, e.step)
        letter = step.letter
        change = transition(step, e)
        self.letters += step.letter - letter
        self._count(task, step, change, e.at)
        if change.ended and step.state in ENDED:
            self._end_attempts(task.graph, change, e.at, getattr(e, "usage", None))
        return step, change

    def _count(self, task: TaskView, step: StepView, change: Change, at: float) -> None:
        step.count(change.before)
        for reason, seconds in change.waits.items():
            step.agent.add_wait(reason, seconds)
        if change.ended:
            if self.inner.live:
                self.inner.close(task.id, step.key, at)
            if self.workers.live:
                self.workers.end(task.id, step.key, change.outcome)
            if step.attempt is None:
                self.running.pop((task.id, step.key), None)
            else:
                self.running[task.id, step.key] = step.attempt

    def _end_attempts(self, graph: GraphTotals, change: Change, at: float, usage: ev.Usage | None) -> None:
        """The time of attempts that ended with their step was work, and `usage` is what the first one used."""
        for started in change.ended:
            worker = graph.agents[started.agent]
            worker.busy += max(0.0, at - started.at)
            self._use(worker, usage)
            usage = None

    def _use(self, worker: AgentTotals, usage: ev.Usage | None) -> None:
        if usage is not None:
            worker.add_usage(usage)
            self.simulated |= usage.simulated

    def _expanded(self, e: ev.StepExpanded) -> None:
        """From now on the items are counted, and the step is not, unless it has none."""
        task = self._tasks.task(e.task, e.at)
        step = self._tasks.step(task, e.step)
        counted = step.size < 0
        change = transition(step, e)
        if counted and step.size >= 0:
            step.agent.counts[change.before] -= 1
            step.agent.counts["ready"] += step.size
        elif counted:
            step.count(change.before)
        else:  # it was reopened, and so were its items
            for item in _items_of(task, e.step):
                if (item_change := follow(item, e)) is not None:
                    item.count(item_change.before)

    def _failed(self, e: ev.StepFailed) -> None:
        place = self.inner.place_of(e.task, e.step, e.fault)
        task = self._open.get(e.task)
        known = task.steps.get(e.step) if task is not None else None
        same = known is not None and known.fault == e.fault
        step, _ = self._apply(e)
        if place or not same:
            step.inside = place
        step.agent.blocked += e.fault.kind == "needs" and step.size < 0

    def _skipped(self, e: ev.StepSkipped) -> None:
        step, _ = self._apply(e)
        if e.why.startswith("budget:"):
            step.agent.add_eased("drop")

    def _answered(self, e: ev.StepAnswered) -> None:
        rejected = self._tasks.step(self._tasks.task(e.task, e.at), e.step).rejected
        step, _ = self._apply(e)
        step.agent.rejected += step.rejected - rejected
        self.approvals.add(e)

    def _reopened(self, e: ev.StepReopened) -> None:
        known = e.task in self._open or e.task in self._tasks.failed
        task = self._tasks.task(e.task, e.at)
        task.partial |= not known or not task.steps
        for key, before in reopened_steps(e).items():
            step = task.steps.get(key)
            if step is None:  # it is counted as it was, from when it was remembered
                agent = self._totals.agent(task.graph, key.partition("[")[0])
                step = task.steps[key] = StepView(key, agent, before, e.at)
                step.letter = key == e.step and before == "failed" and not e.nested and self.letters > 0
            for one in (step, *_items_of(task, key)):
                self._reopen(one, e, before)

    def _reopen(self, step: StepView, e: ev.StepReopened, before: str) -> None:
        """Reopen a step, or an item of one."""
        rejected = step.rejected
        change = follow(step, e)
        if change is None:
            return
        step.count(change.before)
        step.agent.rejected += step.rejected - rejected
        needs = step.key != e.step or e.nested  # of a task that was forgotten, the fault is not known
        if step.fault is not None:
            needs = step.fault.kind == "needs"
        if before == "failed" and needs and step.size < 0 and step.agent.blocked:
            step.agent.blocked -= 1

    def settle(self, task: TaskView, e: ev.TaskEnded) -> None:
        """Count the steps that the log left open as ended with their task, and those that it never named."""
        for step in task.steps.values():
            if step.state not in ENDED:
                change = end_with_task(step, e, named=True)
                self._count(task, step, change, e.at)
                self._end_attempts(task.graph, change, e.at, None)
            if step.size > step.seen:
                left, step.seen = step.size - step.seen, step.size
                step.agent.counts["ready"] -= left
                step.agent.counts["cancelled"] += left
        if len(task.steps) < len(task.graph.agents) and not task.partial:
            for key, agent in task.graph.agents.items():
                if agent.has_steps and key not in task.steps:
                    step = self._tasks.step(task, key)
                    step.count(end_with_task(step, e, named=False).before)


def _items_of(task: TaskView, group: str) -> list[StepView]:
    """The items of a step that the log has named."""
    step = task.steps.get(group)
    if step is None or step.size < 0:
        return []
    return [item for key, item in task.steps.items() if key.startswith(group + "[")]
