"""What screens and pages show of a run: the fold of its events for display.

A live run, a run of another process and a replay differ only in where the events come from. `RunView.apply` is
pure but for its own state, and total: an event about something that is no longer remembered is counted as well as
possible, and never raises. Memory is bounded by the open tasks, not by those that ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.run_state import ClosedPlace
from agentdeck.views.agent_totals import AgentTotals, GraphTotals, RunTotals, total_cost
from agentdeck.views.run_timeline import NOTED, RunTimeline
from agentdeck.views.step_handlers import StepHandlers
from agentdeck.views.step_transitions import StepView
from agentdeck.views.task_view import TaskCounts, TaskViews
from agentdeck.workflow.model import Data, Definition

#: The state of the run after an event that does nothing else.
_RUN_STATES: dict[type, str] = {ev.RunPaused: "paused", ev.RunUnpaused: "running", ev.RunDrained: "draining"}

#: Events whose entry in the timeline says where inside its attempt a step failed.
_FAILURES = (ev.AttemptFailed, ev.StepFailed)


class RunView:
    """The state of a run after the events applied so far.

    Without a definition everything is counted that the log names; steps of an agent are then counted as waiting
    once the log has named the agent.
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
        self.limits: dict[str, Data] = {}
        #: The agents of threads that go on after the cancellation of their attempts, by attempt.
        self.held_workers: dict[str, str] = {}
        #: The places of the deck that are out of reach, by name.
        self.closed_places: dict[str, ClosedPlace] = {}
        self.order: list[str] = []  # of the agents, where one was searched
        self.output: Data = None
        self.tasks = TaskCounts()
        self.timeline = RunTimeline()
        self.totals = RunTotals(definition)
        self._tasks = TaskViews(self.totals)
        self.open, self.failed, self.recent = self._tasks.open, self._tasks.failed, self._tasks.recent
        self._steps = StepHandlers(self._tasks, self.totals)
        self.running, self.approvals = self._steps.running, self._steps.approvals
        self.inner_steps = self._steps.inner
        self.place_workers = self._steps.workers
        made_up = [
            agent.does.simulated
            for agent in (definition.agents.values() if definition else ())
            if agent.does.holds_worker
        ]
        self.simulated_agents = sum(made_up)
        self._only_simulated = bool(made_up) and all(made_up)
        self._handlers: dict[type, Callable[[Any], object]] = {
            **self._steps.handlers,
            ev.RunStarted: self._run_started,
            ev.RunResumed: self._run_resumed,
            **dict.fromkeys(_RUN_STATES, self._state_changed),
            ev.RunEnded: self._run_ended,
            ev.LimitChanged: self._limit_changed,
            ev.PlaceClosed: self._place_closed,
            ev.PlaceOpened: lambda e: self.closed_places.pop(e.place, None),
            ev.TaskOpened: self._task_opened,
            ev.TasksExhausted: self._tasks_exhausted,
            ev.TaskEnded: self._task_ended,
            ev.TaskHurried: lambda e: None,  # it is in the timeline only
            ev.StepReopened: self._step_reopened,
            ev.Noted: self._noted,
            ev.WorkerHeld: self._worker_held,
            ev.WorkerFreed: lambda e: self.held_workers.pop(e.attempt, None),
        }
        self._handlers |= {kind: self._with_entry(self._handlers[kind]) for kind in NOTED}
        self._handlers |= {kind: self._with_place(self._steps.handlers[kind]) for kind in _FAILURES}

    def apply(self, seq: int, event: ev.Event) -> None:
        """Apply the event with this sequence number. Events come in order, each once."""
        self.seq = seq
        self.now = event[0]
        self._handlers[type(event)](event)

    def _with_entry(self, handler: Callable[[Any], object]) -> Callable[[Any], object]:
        """The handler of an event that may have an entry in the timeline. The others do not pay for the look."""

        def handle(event: Any) -> None:
            handler(event)
            self.timeline.apply(self.seq, event)

        return handle

    def _with_place(self, handler: Callable[[Any], object]) -> Callable[[Any], object]:
        """The same for an event of a step that failed: the entry says where inside its attempt."""

        def handle(event: Any) -> None:
            handler(event)
            task = self.open.get(event.task)
            step = task.steps.get(event.step) if task is not None else None
            self.timeline.apply(self.seq, event, step.inside if step is not None else "")

        return handle

    # Questions

    @property
    def seconds(self) -> float:
        """How long the run has lasted, without the time in which no process ran it."""
        if self.started is None:
            return 0.0
        return max(0.0, (self.now if self.ended is None else self.ended) - self.started - self.idle)

    @property
    def agents(self) -> dict[str, AgentTotals]:
        """All agents by name, the workflow's own first; nested ones as `review/security`."""
        return self.totals.agents

    @property
    def inner(self) -> dict[str, AgentTotals]:
        """What happened inside attempts, by agent and name: `review/critic`. It is a part of what is counted for
        the agents."""
        return self.totals.inner

    def steps(self) -> dict[str, int]:
        """Steps by state, over all agents."""
        return self.totals.steps()

    @property
    def letters(self) -> int:
        """The number of dead letters."""
        return self._steps.letters

    @property
    def simulated(self) -> bool:
        """Whether an answer of a model was simulated, or every agent that works is."""
        return self._only_simulated or self._steps.simulated

    @property
    def kept_steps(self) -> int:
        """The number of steps of failed tasks that are remembered."""
        return self._tasks.kept_steps

    @property
    def answers_simulated(self) -> bool:
        """Whether an answer of a model was simulated."""
        return self._steps.simulated

    @property
    def workers(self) -> int | None:
        """The limit on steps at once, as it is now. None where the log does not say."""
        value = self.limits.get("workers")
        return value if isinstance(value, int) else None

    @property
    def usd(self) -> float | None:
        """The cost of the run so far. None where that is not known."""
        return total_cost((agent.costs_unknown, agent.usd) for agent in self.agents.values())

    @property
    def usd_all_reasoning(self) -> float | None:
        """The cost of the same work on the reasoning tier. None where any price is not known."""
        agents = self.agents.values()
        return total_cost((agent.costs_unknown or agent.uncompared, agent.usd_reasoning) for agent in agents)

    def restore_counts(self, *, letters: int, answers_simulated: bool) -> None:
        """Set what a snapshot has counted, after its tasks were restored."""
        self._steps.letters, self._steps.simulated = letters, answers_simulated
        self._tasks.recount_kept_steps()

    # The run

    def _run_started(self, e: ev.RunStarted) -> None:
        self.run, self.workflow, self.identity, self.inputs = e.run, e.workflow, e.identity, e.inputs
        self.started = e.at
        self.limits = dict(e.limits)
        self.tasks.given = e.tasks
        self.order = list(e.order)

    def _run_resumed(self, e: ev.RunResumed) -> None:
        """Steps did not wait while no process ran the run."""
        self.state, self.ended = "running", None
        self.held_workers = {}
        self.closed_places = {}
        self.idle += e.idle
        for task in self.open.values():
            task.opened += e.idle
            for step in task.steps.values():
                step.since += e.idle

    def _worker_held(self, e: ev.WorkerHeld) -> None:
        self.held_workers[e.attempt] = e.name

    def _place_closed(self, e: ev.PlaceClosed) -> None:
        self.closed_places[e.place] = ClosedPlace(e.at, e.why)

    def _state_changed(self, e: ev.RunPaused | ev.RunUnpaused | ev.RunDrained) -> None:
        self.state = _RUN_STATES[type(e)]

    def _run_ended(self, e: ev.RunEnded) -> None:
        self.state, self.ended = e.state, e.at

    def _limit_changed(self, e: ev.LimitChanged) -> None:
        self.limits[e.name] = e.new
        if e.name == "workers":
            self.order = []

    # Tasks

    def _task_opened(self, e: ev.TaskOpened) -> None:
        if e.parent is None:
            self.tasks.opened += 1
            self._tasks.add(e.task, e.at, self.totals.graphs[""], None)
            return
        step = self._tasks.step(self._tasks.task(e.parent[0], e.at), e.parent[1])
        if e.called:
            self._tasks.add_call(e, self.totals.graph(step.agent.name + "/"))
            return
        earlier = self._tasks.add(e.task, e.at, self._graph_below(step), e.parent)
        step.nested = self._tasks.open[e.task]
        if earlier is not None:
            self._steps.letters -= sum(step.letter for step in earlier.steps.values())

    def _graph_below(self, step: StepView) -> GraphTotals:
        """The graph of the tasks below a step, which only waits for them."""
        step.agent.uses_worker = False
        return self.totals.graph(step.agent.name + "/")

    def _tasks_exhausted(self, e: ev.TasksExhausted) -> None:
        tasks = self.tasks
        tasks.total = max(e.total, tasks.given or 0) if e.cut else e.total
        tasks.at_least = e.cut and tasks.given is None

    def _task_ended(self, e: ev.TaskEnded) -> None:
        task = self._tasks.task(e.task, e.at)
        task.state, task.ended, task.fault = e.state, e.at, e.fault
        self._steps.settle(task, e)
        self._tasks.end(task)
        if task.parent is None:
            self.tasks.add(e.state, 1)
            self.output = e.output
        if e.state == "failed" or (self.letters and any(step.letter for step in task.steps.values())):
            self._tasks.keep_failed(task)

    def _step_reopened(self, e: ev.StepReopened) -> None:
        """The task and the run of a reopened step are open again."""
        if self.ended is not None:
            self.state, self.ended = "running", None
        if e.was and "/" not in e.task:
            self.tasks.add(e.was, -1)
            self._tasks.drop_row(e.task)
        self._steps.handlers[ev.StepReopened](e)

    def _noted(self, e: ev.Noted) -> None:
        if e.asks:  # the definition of a sub-workflow is not known here
            step = self._tasks.step(self._tasks.task(e.task, e.at), e.step)
            step.agent.asks |= not step.asks
