"""The picture of a run that screens show: what it holds, what can be read off it, and how it is counted."""

from __future__ import annotations

from collections import deque

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import Approvals
from agentdeck.views.agent_totals import AgentTotals, GraphTotals, total_cost
from agentdeck.views.task_view import StepView, TaskCounts, TaskRow, TaskView, TimelineEntry
from agentdeck.workflow.model import SLOTLESS, Agent, Approve, Data, Definition, Simulate

RECENT = 200
MOMENTS = 1000


class Picture:
    """Nothing here knows what an event means: that is in `ViewSteps` and `View`, above."""

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
        self.simulated = False  # answers of models were, or every agent that works is
        self.simulated_agents = 0
        self.tasks = TaskCounts()
        self.limits: dict[str, Data] = {}
        self.output: Data = None
        self.letters = 0
        self.open: dict[str, TaskView] = {}
        self.running: dict[tuple[str, str], ev.StepStarted] = {}
        self.recent: deque[TaskRow] = deque(maxlen=RECENT)
        self.failed: dict[str, TaskView] = {}
        self.timeline: deque[TimelineEntry] = deque(maxlen=MOMENTS)
        self.approvals = Approvals()
        self._hedged: dict[tuple[str, str], ev.StepStarted] = {}
        self._kept_steps = 0
        self._families = {"": GraphTotals("")}
        if definition:
            made_up = [
                isinstance(a.does, Simulate) for a in definition.agents.values() if a.does.verb not in SLOTLESS
            ]
            self.simulated_agents = sum(made_up)
            self.simulated = bool(made_up) and all(made_up)
            for name, agent in definition.agents.items():
                self._tally(self._families[""], name, agent, True)

    # Questions

    @property
    def seconds(self) -> float:
        """How long the run has lasted, without the time when nobody ran it."""
        if self.started is None:
            return 0.0
        return max(0.0, (self.now if self.ended is None else self.ended) - self.started - self.idle)

    @property
    def agents(self) -> dict[str, AgentTotals]:
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
        return total_cost((tally.costs_unknown, tally.usd) for tally in self.agents.values())

    @property
    def usd_all_reasoning(self) -> float | None:
        """What the same work would have cost on the reasoning tier. None where any price is not known."""
        agents = self.agents.values()
        return total_cost((tally.costs_unknown or tally.uncompared, tally.usd_reasoning) for tally in agents)

    def steps(self) -> dict[str, int]:
        """Steps by state, over all agents."""
        total: dict[str, int] = {}
        for tally in self.agents.values():
            for state, number in tally.steps.items():
                total[state] = total.get(state, 0) + number
        return total

    # Bookkeeping

    def _agent(self, family: GraphTotals, name: str, *, own: bool = True) -> AgentTotals:
        """The tally of an agent of this family, made if need be. `own`: it has steps of its own."""
        tally = family.agents.get(name)
        if tally is None:
            agent = self.definition.agents.get(name) if self.definition and not family.prefix else None
            tally = self._tally(family, name, agent, own)
        elif own and not tally.has_steps:
            tally.has_steps = True
        return tally

    @staticmethod
    def _tally(family: GraphTotals, name: str, agent: Agent | None, own: bool) -> AgentTotals:
        tally = family.agents[name] = AgentTotals(family.prefix + name, family, own=own)
        if agent is not None:
            tally.has_steps = not agent.spare
            tally.uses_worker = agent.does.verb not in SLOTLESS
            tally.simulates = isinstance(agent.does, Simulate)
            tally.asks = isinstance(agent.does, Approve)
            tally.rounds = agent.repeat is not None or agent.join.kind == "progressive"
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
            name, state = key, "waiting"
            if key[-1:] == "]":
                name = key.partition("[")[0]
            agent = self._agent(task.graph, name)
            if name is not key:
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
        if step.rejected:
            step.rejected = False
            step.agent.rejected -= 1
        if step.size < 0:
            step.agent.counts[step.state] -= 1
            step.agent.counts[state] += 1
        step.state = state

    def _end(self, at: float, task_id: str, key: str, state: str, usage: ev.Usage | None = None) -> StepView:
        task = self._task(task_id)
        step = self._step(task, key)
        self._drop_attempt(task, step, usage)
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

    def _drop_attempt(self, task: TaskView, step: StepView, usage: ev.Usage | None) -> None:
        """Whatever still runs for this step runs no more; the time it took was work, and `usage` what it used."""
        where = (task.id, step.key)
        for attempts in (self.running, self._hedged):
            started = attempts.pop(where, None)
            if started is not None:
                worker = self._agent(task.graph, started.agent, own=False)
                worker.busy += max(0.0, self.now - started.at)
                self._used(worker, usage)
                usage = None

    def _used(self, worker: AgentTotals, usage: ev.Usage | None) -> None:
        if usage is not None:
            worker.used(usage)
            self.simulated |= usage.simulated

    def _uncount(self, task_id: str, state: str) -> None:
        """A task that ended is open again."""
        self.tasks.add(state, -1)
        row = next((row for row in reversed(self.recent) if row.task == task_id), None)
        if row:
            self.recent.remove(row)

    def _moment(self, kind: str, text: str, task: str = "", step: str = "") -> None:
        self.timeline.append(TimelineEntry(self.seq, self.now, kind, text, task, step))


def by(who: str) -> str:
    return f", by {who}" if who else ""
