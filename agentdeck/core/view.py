"""What a person sees of a run: a fold of its events.

A live run, a run of another process and a replay differ only in where the events come from. `View.apply` is
pure but for its own state, and total: an event about something it no longer remembers is counted as well as
can be, and never raises. Memory is bounded by what is open, not by what has ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from agentdeck.core import events as ev
from agentdeck.core.shown import Moment, StepView, TaskRow, Tasks, TaskView
from agentdeck.core.tally import AgentTally, Family, total_cost
from agentdeck.workflow.model import Data, Definition, Simulate

RECENT = 200
KEPT_FAILED = 1000
KEPT_STEPS = 50_000
MOMENTS = 1000

#: Verbs whose steps wait for something else and hold no worker: their time is not work.
SLOTLESS = ("dispatch", "workflow", "approve")
ENDED = frozenset({"done", "failed", "skipped", "cancelled"})


class View:
    """The state of a run after the events applied so far, in their order.

    Without a definition all is counted that the log names; steps that have not been told of are then not
    counted as waiting until their agent was seen once.
    """

    def __init__(self, definition: Definition | None = None) -> None:
        self.definition = definition
        self.seq = 0
        self.run = ""
        self.workflow = definition.name if definition else ""
        self.identity = ""
        self.inputs: dict[str, Data] = {}
        self.state = "running"
        self.started: float | None = None
        self.ended: float | None = None
        self.now = 0.0
        self.idle = 0.0
        self.simulated = False
        self.tasks = Tasks()
        self.limits: dict[str, Data] = {}
        self.output: Data = None
        self.letters = 0
        self.open: dict[str, TaskView] = {}
        self.running: dict[tuple[str, str], ev.StepStarted] = {}
        self.recent: deque[TaskRow] = deque(maxlen=RECENT)
        self.failed: dict[str, TaskView] = {}
        self.timeline: deque[Moment] = deque(maxlen=MOMENTS)
        self._hedged: dict[tuple[str, str], ev.StepStarted] = {}
        self._kept_steps = 0
        self._families = {"": Family("")}
        if definition:
            self.simulated = any(isinstance(a.does, Simulate) for a in definition.agents.values())
            for name in definition.agents:
                self._agent(self._families[""], name)
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
            ev.StepSucceeded: self._step_succeeded,
            ev.AttemptFailed: self._attempt_failed,
            ev.AttemptLost: self._attempt_lost,
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

    # Questions -----------------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """How long the run has lasted, without the time when nobody ran it."""
        if self.started is None:
            return 0.0
        return max(0.0, (self.now if self.ended is None else self.ended) - self.started - self.idle)

    @property
    def agents(self) -> dict[str, AgentTally]:
        """All agents by name, the workflow's own first; nested ones as `review/security`."""
        return {tally.name: tally for family in self._families.values() for tally in family.agents.values()}

    @property
    def workers(self) -> int | None:
        """The limit on steps at once, as it is now. None where the log does not say."""
        value = self.limits.get("workers")
        return value if isinstance(value, int) else None

    @property
    def usd(self) -> float | None:
        """What the run cost so far. None where that is not known."""
        return total_cost((tally.unpriced, tally.usd) for tally in self.agents.values())

    @property
    def usd_all_reasoning(self) -> float | None:
        """What the same work would have cost on the reasoning tier. None where any price is not known."""
        agents = self.agents.values()
        return total_cost((tally.unpriced or tally.uncompared, tally.usd_reasoning) for tally in agents)

    def steps(self) -> dict[str, int]:
        """Steps by state, over all agents."""
        total: dict[str, int] = {}
        for tally in self.agents.values():
            for state, number in tally.steps.items():
                total[state] = total.get(state, 0) + number
        return total

    # The run -------------------------------------------------------------------------------------------------

    def _run_started(self, e: ev.RunStarted) -> None:
        self.run, self.workflow, self.identity, self.inputs = e.run, e.workflow, e.identity, e.inputs
        self.started = e.at
        self.limits = dict(e.limits)
        if e.origin:
            self._moment("forked", f"shares results of {e.origin}" + _by(e.who))

    def _run_resumed(self, e: ev.RunResumed) -> None:
        self.state, self.ended = "running", None
        self.idle += e.idle
        for task in self.open.values():
            task.opened += e.idle
            for step in task.steps.values():
                step.since += e.idle
        self._moment("resumed", "resumed" + _by(e.who))

    def _run_paused(self, e: ev.RunPaused) -> None:
        self.state = "paused"
        self._moment("paused", e.why or "paused" + _by(e.who))

    def _run_unpaused(self, e: ev.RunUnpaused) -> None:
        self.state = "running"
        self._moment("unpaused", "goes on" + _by(e.who))

    def _run_drained(self, e: ev.RunDrained) -> None:
        self.state = "draining"
        self._moment("drained", "drained" + _by(e.who))

    def _run_ended(self, e: ev.RunEnded) -> None:
        self.state, self.ended = e.state, e.at
        self._moment("ended", e.state)

    def _limit_changed(self, e: ev.LimitChanged) -> None:
        self.limits[e.name] = e.new
        self._moment("limit", f"{e.name}: {e.old} -> {e.new}" + _by(e.who))

    # Tasks ---------------------------------------------------------------------------------------------------

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

    def _nested(self, parent: tuple[str, str]) -> Family:
        """The family of tasks below a step, and the word that this step only waits for them."""
        above = self._task(parent[0])
        tally = self._step(above, parent[1]).agent
        tally.holds = False
        prefix = tally.name + "/"
        family = self._families.get(prefix)
        if family is None:
            family = self._families[prefix] = Family(prefix)
        return family

    def _tasks_exhausted(self, e: ev.TasksExhausted) -> None:
        self.tasks.total = e.total

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
                self._drop_attempt(task, step)
                self._move(step, "cancelled")
            if step.size > step.seen:
                left, step.seen = step.size - step.seen, step.size
                step.agent.counts["ready"] -= left
                step.agent.counts["cancelled"] += left
        if len(task.steps) < len(task.family.agents) and not task.partial:
            state = "skipped" if task.state == "done" else "cancelled"
            for key, tally in task.family.agents.items():
                if tally.own and key not in task.steps:
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
        self._moment("hurried", "goes first" + _by(e.who), e.task)

    # Steps ---------------------------------------------------------------------------------------------------

    def _step_started(self, e: ev.StepStarted) -> None:
        at, task_id, key, doer, _, ready, waits = e[:7]
        task = self.open.get(task_id) or self._task(task_id)
        step = task.steps.get(key) or self._step(task, key)
        where = (task_id, key)
        if where in self.running:
            self._hedged[where] = self.running[where]
        else:
            self._count_waits(step, at, ready, waits)
        self.running[where] = e
        agent = step.agent
        agent.counts[step.state] -= 1
        agent.counts["running"] += 1
        step.state = "running"
        step.started = at
        step.attempts += 1
        worker = task.family.agents.get(doer) or self._agent(task.family, doer, own=False)
        worker.attempts += 1
        if e.eased:
            for how in e.eased.partition(":")[0].split(", "):
                worker.ease(how)

    def _count_waits(self, step: StepView, at: float, ready: float, waits: dict[str, float] | None) -> None:
        """Share the time since the step last ran out among its reasons; what is left waited for the pool."""
        since = step.since
        waiting = step.agent.waiting
        told = ""
        if step.until is None:
            if ready > since:
                waiting["needs"] = waiting.get("needs", 0.0) + ready - since
                since = ready
        else:
            told = step.reason
            back = min(step.until, at)
            step.agent.waited(told or "backoff", back - since)
            since = max(since, back)
            step.until = None
        if waits:
            for reason, seconds in waits.items():
                if reason not in ("needs", "pool", "backoff", told):
                    step.agent.waited(reason, seconds)
                    since += seconds
        if at > since:
            waiting["pool"] = waiting.get("pool", 0.0) + at - since
        if step.reason:
            step.reason = step.why = ""

    def _step_succeeded(self, e: ev.StepSucceeded) -> None:
        at, task_id, key, attempt, _, usage, input_bytes, reused = e
        task = self.open.get(task_id) or self._task(task_id)
        step = task.steps.get(key) or self._step(task, key)
        agent = step.agent
        started = self._end_attempt((task_id, key), attempt)
        if reused:
            agent.reused += 1
        if started is not None:
            worker = task.family.agents[started[3]]
            seconds = at - started[0]
            if seconds < 0.0:
                seconds = 0.0
            worker.busy += seconds
            if not reused:
                worker.durations.add(seconds)
            worker.input_bytes += input_bytes
            if usage is not None:
                worker.used(usage)
                self.simulated |= usage.simulated
        state = "waiting" if agent.rounds and key[-1] != "]" else "done"
        agent.counts[step.state] -= 1
        agent.counts[state] += 1
        step.state = state
        step.since = step.ended = at
        if step.letter and state == "done":
            step.letter = False
            self.letters -= 1
        if step.fault is not None:
            step.fault = None

    def _attempt_failed(self, e: ev.AttemptFailed) -> None:
        task = self._task(e.task)
        step = self._step(task, e.step)
        started = self._end_attempt((e.task, e.step), e.attempt)
        worker = self._agent(task.family, started.agent, own=False) if started else step.agent
        worker.failed_attempts += 1
        worker.input_bytes += e.input_bytes
        if started:
            worker.busy += max(0.0, e.at - started.at)
        if e.usage is not None:
            worker.used(e.usage)
            self.simulated |= e.usage.simulated
        step.fault, step.since = e.fault, e.at
        if (e.task, e.step) not in self.running:
            self._move(step, "ready")
        self._moment("failure", f"attempt {e.attempt}: {e.fault.message}", e.task, e.step)

    def _attempt_lost(self, e: ev.AttemptLost) -> None:
        task = self._task(e.task)
        step = self._step(task, e.step)
        started = self._end_attempt((e.task, e.step), e.attempt)
        worker = self._agent(task.family, started.agent, own=False) if started else step.agent
        worker.lost += 1
        step.since = e.at
        if (e.task, e.step) not in self.running:
            self._move(step, "ready")
        self._moment("lost", f"attempt {e.attempt} was lost with its process", e.task, e.step)

    def _step_retrying(self, e: ev.StepRetrying) -> None:
        step = self._step(self._task(e.task), e.step)
        step.until, step.reason = e.until, e.reason
        self._move(step, "ready")
        self._moment("retry", f"again in {max(0.0, e.until - e.at):.1f} s ({e.reason})", e.task, e.step)

    def _step_fell_back(self, e: ev.StepFellBack) -> None:
        self._moment("fallback", f"{e.agent} takes over", e.task, e.step)

    def _step_repeated(self, e: ev.StepRepeated) -> None:
        step = self._step(self._task(e.task), e.step)
        step.ended = None
        self._move(step, "ready")

    def _step_expanded(self, e: ev.StepExpanded) -> None:
        """From now on its items are counted, and the step itself is not, unless it has none."""
        step = self._step(self._task(e.task), e.step)
        if step.size < 0 < e.size:
            step.agent.counts[step.state] -= 1
            step.agent.counts["ready"] += e.size
            step.size = e.size
            step.state, step.started = "running", e.at

    def _step_done(self, e: ev.StepDone) -> None:
        self._end(e.at, e.task, e.step, "done")

    def _step_failed(self, e: ev.StepFailed) -> None:
        step = self._end(e.at, e.task, e.step, "failed")
        step.fault = e.fault
        if e.letter:
            if not step.letter:
                step.letter = True
                self.letters += 1
            text = e.fault.message + (" (tolerated)" if e.tolerated else "")
            self._moment("failed", text, e.task, e.step)

    def _step_skipped(self, e: ev.StepSkipped) -> None:
        step = self._end(e.at, e.task, e.step, "skipped")
        step.why = e.why
        if e.why.startswith("budget:"):
            step.agent.ease("drop")

    def _step_cancelled(self, e: ev.StepCancelled) -> None:
        self._end(e.at, e.task, e.step, "cancelled").why = e.why

    def _step_released(self, e: ev.StepReleased) -> None:
        self._moment("released", "goes with what has arrived" + _by(e.who), e.task, e.step)

    def _step_answered(self, e: ev.StepAnswered) -> None:
        step = self._step(self._task(e.task), e.step)
        asked = step.started if step.started is not None else step.since
        step.agent.waited("approval", e.at - asked)
        self._end(e.at, e.task, e.step, "done")
        text = "approved" if e.approved else "rejected"
        self._moment("answered", text + (_by(e.who) if e.who else ": time ran out"), e.task, e.step)

    def _step_reopened(self, e: ev.StepReopened) -> None:
        if self.ended is not None:
            self.state, self.ended = "running", None
        if not e.nested:
            self._moment("reopened", "goes again" + _by(e.who), e.task, e.step)
        known = e.task in self.open or e.task in self.failed
        if e.was and "/" not in e.task:
            self._uncount(e.task, e.was)
        task = self._task(e.task)
        task.partial |= not known or not task.steps
        for key, stood in (e.again or {}).items():
            step = task.steps.get(key)
            if step is None:
                step = task.steps[key] = StepView(
                    key, self._agent(task.family, key.partition("[")[0]), stood, e.at
                )
                step.letter = key == e.step and stood == "failed" and not e.nested and self.letters > 0
            self._move(step, "running" if step.size >= 0 or (e.nested and key == e.step) else "waiting")
            step.since, step.started, step.ended, step.until = e.at, None, None, None
            step.reason = step.why = ""
            if step.size >= 0 and not e.step.startswith(key + "["):
                for item in [one for name, one in task.steps.items() if name.startswith(key + "[")]:
                    self._move(item, "waiting")

    def _step_waited(self, e: ev.StepWaited) -> None:
        step = self._step(self._task(e.task), e.step)
        step.why = e.why
        if step.until is None:
            step.reason = e.reason
            self._move(step, "ready")

    def _noted(self, e: ev.Noted) -> None:
        self._moment("noted", e.text, e.task, e.step)

    # Bookkeeping -----------------------------------------------------------------------------------------------

    def _agent(self, family: Family, name: str, *, own: bool = True) -> AgentTally:
        """The tally of an agent of this family, made if need be. `own`: it has steps of its own."""
        tally = family.agents.get(name)
        if tally is None:
            tally = family.agents[name] = AgentTally(family.prefix + name, family, own=own)
            agent = self.definition.agents.get(name) if self.definition and not family.prefix else None
            if agent:
                tally.own = not agent.spare
                tally.holds = agent.does.verb not in SLOTLESS
                tally.rounds = agent.repeat is not None or agent.join.kind == "progressive"
        elif own and not tally.own:
            tally.own = True
        return tally

    def _task(self, task: str) -> TaskView:
        """The open task of this name. One that is not remembered is taken as it is met."""
        view = self.open.get(task)
        if view is None:
            view = self.failed.pop(task, None) or TaskView(task, self.now, self._families[""], None)
            self._kept_steps -= len(view.steps)
            view.state, view.ended, view.fault = "running", None, None
            self.open[task] = view
        return view

    def _step(self, task: TaskView, key: str) -> StepView:
        step = task.steps.get(key)
        if step is None:
            name, _, item = key.partition("[")
            agent = self._agent(task.family, name)
            state = "waiting"
            if item:
                group = task.steps.get(name)
                state = "ready"
                if task.partial:
                    state = "done"  # it is counted so, from when it was known
                elif group is not None and group.seen < group.size:
                    group.seen += 1
                else:
                    agent.counts["ready"] += 1
            step = task.steps[key] = StepView(key, agent, state, task.opened)
        return step

    def _move(self, step: StepView, state: str) -> None:
        if step.size < 0:
            step.agent.counts[step.state] -= 1
            step.agent.counts[state] += 1
        step.state = state

    def _end(self, at: float, task_id: str, key: str, state: str) -> StepView:
        task = self._task(task_id)
        step = self._step(task, key)
        self._drop_attempt(task, step)
        if step.until is not None:
            step.agent.waited(step.reason or "backoff", min(step.until, at) - step.since)
            step.until, step.reason = None, ""
        if step.letter and state == "done":
            step.letter = False
            self.letters -= 1
        self._move(step, state)
        step.ended = step.since = at
        return step

    def _end_attempt(self, where: tuple[str, str], attempt: int) -> ev.StepStarted | None:
        """Take an attempt off those that run. Of two, the other one goes on."""
        started = self.running.pop(where, None)
        if started is None or not self._hedged or where not in self._hedged:
            return started
        other = self._hedged.pop(where)
        if started.attempt != attempt:
            started, other = other, started
        self.running[where] = other
        return started

    def _drop_attempt(self, task: TaskView, step: StepView) -> None:
        """Whatever still runs for this step runs no more; the time it took was work."""
        where = (task.id, step.key)
        for attempts in (self.running, self._hedged):
            started = attempts.pop(where, None)
            if started is not None:
                worker = self._agent(task.family, started.agent, own=False)
                worker.busy += max(0.0, self.now - started.at)

    def _uncount(self, task_id: str, state: str) -> None:
        """A task that ended is open again."""
        self.tasks.add(state, -1)
        row = next((row for row in reversed(self.recent) if row.task == task_id), None)
        if row:
            self.recent.remove(row)

    def _moment(self, kind: str, text: str, task: str = "", step: str = "") -> None:
        self.timeline.append(Moment(self.seq, self.now, kind, text, task, step))


def _by(who: str) -> str:
    return f", by {who}" if who else ""
