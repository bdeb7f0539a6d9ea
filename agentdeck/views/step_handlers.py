"""The part of the run view that folds events of steps: what runs, what failed, what each agent counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import Approvals, describe
from agentdeck.scheduler.state import ENDED
from agentdeck.views.agent_totals import AgentTotals, GraphTotals, RunTotals
from agentdeck.views.run_timeline import RunTimeline, by
from agentdeck.views.step_transitions import (
    Change,
    StepEvent,
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

    def __init__(self, tasks: TaskViews, totals: RunTotals, timeline: RunTimeline) -> None:
        self.running: dict[tuple[str, str], ev.StepStarted] = {}
        self.letters = 0
        self.simulated = False
        self.approvals = Approvals()
        self._tasks = tasks
        self._open = tasks.open
        self._totals = totals
        self._timeline = timeline
        self.handlers: dict[type, Callable[[int, Any], None]] = {
            ev.StepStarted: self._started,
            ev.ReservationGrew: self._reservation_grew,
            ev.StepSucceeded: self._succeeded,
            ev.AttemptFailed: self._attempt_failed,
            ev.AttemptLost: self._attempt_lost,
            ev.AttemptDeferred: self._attempt_deferred,
            ev.StepRetrying: self._retrying,
            ev.StepFellBack: self._fell_back,
            ev.StepRepeated: self._change,
            ev.StepExpanded: self._expanded,
            ev.StepDone: self._change,
            ev.StepFailed: self._failed,
            ev.StepSkipped: self._skipped,
            ev.StepCancelled: self._cancelled,
            ev.StepReleased: self._released,
            ev.StepAnswered: self._answered,
            ev.StepReopened: self._reopened,
            ev.StepWaited: self._change,
        }

    # Attempts. StepStarted and StepSucceeded are most of every log: they avoid what the others share.

    def _started(self, seq: int, e: ev.StepStarted) -> None:
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

    def _succeeded(self, seq: int, e: ev.StepSucceeded) -> None:
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

    def _attempt_failed(self, seq: int, e: ev.AttemptFailed) -> None:
        step, change = self._apply(e)
        worker = self._worker(step, e.task, change)
        worker.failed_attempts += 1
        worker.input_bytes += e.input_bytes
        for started in change.ended:
            worker.busy += max(0.0, e.at - started.at)
        self._use(worker, e.usage)
        self._timeline.add(seq, e.at, "failure", f"attempt {e.attempt}: {e.fault.message}", e.task, e.step)

    def _attempt_lost(self, seq: int, e: ev.AttemptLost) -> None:
        step, change = self._apply(e)
        worker = self._worker(step, e.task, change)
        worker.lost += 1
        self._use(worker, e.usage)
        text = f"attempt {e.attempt} was lost with its process"
        self._timeline.add(seq, e.at, "lost", text, e.task, e.step)

    def _attempt_deferred(self, seq: int, e: ev.AttemptDeferred) -> None:
        step, change = self._apply(e)
        self._worker(step, e.task, change).attempts -= 1
        self._timeline.add(seq, e.at, "held", e.why, e.task, e.step)

    def _worker(self, step: StepView, task: str, change: Change) -> AgentTotals:
        """The totals of the agent that made the attempt which ended."""
        if not change.ended:
            return step.agent
        return self._open[task].graph.agents[change.ended[0].agent]

    def _reservation_grew(self, seq: int, e: ev.ReservationGrew) -> None:
        """Reservations are not shown."""

    # Between attempts, and ends

    def _change(self, seq: int, e: StepEvent) -> None:
        """An event that only changes its step."""
        self._apply(e)

    def _apply(self, e: StepEvent, usage: ev.Usage | None = None) -> tuple[StepView, Change]:
        """Apply an event to its step, and count what changed. `usage` is that of the attempt which it ended."""
        task = self._open.get(e.task) or self._tasks.task(e.task, e.at)
        step = task.steps.get(e.step) or self._tasks.step(task, e.step)
        letter = step.letter
        change = transition(step, e)
        self.letters += step.letter - letter
        self._count(task, step, change)
        if change.ended and step.state in ENDED:
            self._end_attempts(task.graph, change, e.at, usage)
        return step, change

    def _count(self, task: TaskView, step: StepView, change: Change) -> None:
        if step.size < 0 and step.state != change.before:
            step.agent.counts[change.before] -= 1
            step.agent.counts[step.state] += 1
        for reason, seconds in change.waits.items():
            step.agent.add_wait(reason, seconds)
        if change.ended:
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

    def _retrying(self, seq: int, e: ev.StepRetrying) -> None:
        self._apply(e)
        text = f"again in {max(0.0, e.until - e.at):.1f} s ({e.reason})"
        self._timeline.add(seq, e.at, "retry", text, e.task, e.step)

    def _fell_back(self, seq: int, e: ev.StepFellBack) -> None:
        self._apply(e)
        self._timeline.add(seq, e.at, "fallback", f"{e.agent} takes over", e.task, e.step)

    def _expanded(self, seq: int, e: ev.StepExpanded) -> None:
        """From now on the items are counted, and the step is not, unless it has none."""
        task = self._tasks.task(e.task, e.at)
        step = self._tasks.step(task, e.step)
        counted = step.size < 0
        change = transition(step, e)
        if counted:
            step.agent.counts[change.before] -= 1
            if step.size < 0:
                step.agent.counts[step.state] += 1
            else:
                step.agent.counts["ready"] += step.size
        if not counted:  # it was reopened, and so were its items
            for item in _items_of(task, e.step):
                if (item_change := follow(item, e)) is not None:
                    item.count(item_change.before)

    def _failed(self, seq: int, e: ev.StepFailed) -> None:
        step, _ = self._apply(e, e.usage)
        step.agent.blocked += e.fault.kind == "needs" and step.size < 0
        if e.letter:
            text = e.fault.message + (" (tolerated)" if e.tolerated else "")
            self._timeline.add(seq, e.at, "failed", text, e.task, e.step)

    def _skipped(self, seq: int, e: ev.StepSkipped) -> None:
        step, _ = self._apply(e, e.usage)
        if e.why.startswith("budget:"):
            step.agent.add_eased("drop")

    def _cancelled(self, seq: int, e: ev.StepCancelled) -> None:
        self._apply(e, e.usage)

    def _released(self, seq: int, e: ev.StepReleased) -> None:
        self._timeline.add(seq, e.at, "released", "goes with what has arrived" + by(e.who), e.task, e.step)

    def _answered(self, seq: int, e: ev.StepAnswered) -> None:
        rejected = self._tasks.step(self._tasks.task(e.task, e.at), e.step).rejected
        step, _ = self._apply(e)
        step.agent.rejected += step.rejected - rejected
        self.approvals.add(e)
        self._timeline.add(seq, e.at, "answered", describe(e), e.task, e.step)

    def _reopened(self, seq: int, e: ev.StepReopened) -> None:
        if not e.nested:
            self._timeline.add(seq, e.at, "reopened", "goes again" + by(e.who), e.task, e.step)
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
        """Reopen a step that goes again, or an item of one."""
        rejected = step.rejected
        change = follow(step, e)
        if change is None:
            return
        step.count(change.before)
        step.agent.rejected += step.rejected - rejected
        needs = step.key != e.step if step.fault is None else step.fault.kind == "needs"
        if before == "failed" and needs and step.size < 0 and step.agent.blocked:
            step.agent.blocked -= 1

    def settle(self, task: TaskView, e: ev.TaskEnded) -> None:
        """Count the steps that the log left open as ended with their task, and those that it never named."""
        for step in task.steps.values():
            if step.state not in ENDED:
                change = end_with_task(step, e, named=True)
                self._count(task, step, change)
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
