"""The metrics of runs, folded from their logs.

Counters and histograms add up all runs of a workflow that were followed; gauges describe the runs that execute
now. What an event means is decided by the run view: this module only looks at it before and after each event.
Memory is bounded by the open tasks and by the number of agents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agentdeck.insight.limits import limits, windows
from agentdeck.insight.ready_steps import ready_counts
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.store.reservations import in_use
from agentdeck.telemetry.prometheus import Histogram, Metric, Values
from agentdeck.views.agent_totals import AgentTotals
from agentdeck.views.run_view import RunView
from agentdeck.views.step_transitions import ATTEMPT_ENDS
from agentdeck.workflow.model import Definition

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
BYTES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
#: How an attempt ended, by the event that ended it.
_OUTCOMES: Mapping[type, str] = {
    ev.StepSucceeded: "done", ev.StepAnswered: "done", ev.StepDone: "done", ev.AttemptFailed: "failed",
    ev.StepFailed: "failed", ev.AttemptLost: "lost", ev.StepSkipped: "skipped", ev.StepCancelled: "cancelled",
}  # fmt: skip
#: The events with which waits end.
_WAIT_ENDS = frozenset({ev.StepStarted, ev.StepAnswered, ev.StepFailed, ev.StepSkipped, ev.StepCancelled})


class Totals:
    """Counters and histograms of all runs, by workflow and agent."""

    def __init__(self) -> None:
        agent = ("workflow", "agent")
        self.durations = Histogram(
            "agentdeck_attempt_duration_seconds",
            "Time of attempts, by how they ended.",
            SECONDS,
            *agent,
            "outcome",
        )
        self.waits = Histogram(
            "agentdeck_wait_seconds", "Time that steps waited, by reason.", SECONDS, *agent, "reason"
        )
        self.inputs = Histogram("agentdeck_input_bytes", "Size of what an attempt read.", BYTES, *agent)
        self.failures = Values(
            "counter",
            "agentdeck_attempt_failures_total",
            "Attempts that failed, by kind of fault.",
            *agent,
            "kind",
        )
        self.reused = Values(
            "counter", "agentdeck_results_reused_total", "Results from `once`, `cache` or a forked run.", *agent
        )
        self.tokens = Values(
            "counter", "agentdeck_tokens_total",
            "Tokens by direction: input, output, and cache_read, which is the part of input that was cached.",
            *agent, "model", "direction",
        )  # fmt: skip
        self.dollars = Values(
            "counter", "agentdeck_cost_dollars_total", "Dollars of priced calls.", *agent, "model"
        )
        self.unpriced = Values(
            "counter", "agentdeck_unpriced_attempts_total", "Attempts whose cost is not known.", *agent, "model"
        )
        self.tasks = Values(
            "counter", "agentdeck_tasks_total", "Tasks that ended, by state.", "workflow", "state"
        )
        self.events = Values("counter", "agentdeck_events_total", "Events of the log that were read.", "workflow")

    def metrics(self) -> list[Metric]:
        return [
            self.durations, self.waits, self.inputs, self.failures, self.reused, self.tokens, self.dollars,
            self.unpriced, self.tasks, self.events,
        ]  # fmt: skip


class RunMetrics:
    """Follows one run. Its events up to `counted` are in the totals already: they are folded, and not counted
    again."""

    def __init__(self, run: str, definition: Definition | None, totals: Totals, counted: int = 0) -> None:
        self.run = run
        self.view = RunView(definition)
        self._totals = totals
        self._counted = counted

    def apply(self, seq: int, event: Any) -> None:
        """Apply the next event."""
        if seq <= self._counted:
            self.view.apply(seq, event)
            return
        kind = type(event)
        attempt = self._attempt(event) if kind in ATTEMPT_ENDS else None
        agent = self._agent(event) if kind in _WAIT_ENDS else None
        waited = dict(agent.waiting) if agent is not None else {}
        self.view.apply(seq, event)
        workflow = self.view.workflow
        self._totals.events.add(1, workflow)
        if attempt is not None:
            self._end(attempt, event, kind)
        if kind in _WAIT_ENDS and (agent := self._agent(event)) is not None:
            for reason, seconds in agent.waiting.items():
                if (more := seconds - waited.get(reason, 0.0)) > 0:
                    self._totals.waits.observe(more, workflow, agent.name, reason)
        if kind is ev.TaskEnded and "/" not in event.task:
            self._totals.tasks.add(1, workflow, event.state)

    def _agent(self, event: Any) -> AgentTotals | None:
        """The totals of the agent of the event's step, where the log has named it."""
        task = self.view.open.get(event.task)
        return task.graph.agents.get(event.step.partition("[")[0]) if task is not None else None

    def _attempt(self, event: Any) -> tuple[str, ev.StepStarted] | None:
        """The attempt that the event ends, and its agent as the run view names it."""
        task = self.view.open.get(event.task)
        step = task.steps.get(event.step) if task is not None else None
        if task is None or step is None or step.attempt is None:
            return None
        return task.graph.prefix + step.attempt.agent, step.attempt

    def _end(self, attempt: tuple[str, ev.StepStarted], event: Any, kind: type) -> None:
        """Count an attempt that has ended."""
        name, started = attempt
        agent, totals = (self.view.workflow, name), self._totals
        if (outcome := _OUTCOMES.get(kind)) is not None:
            totals.durations.observe(max(0.0, event.at - started.at), *agent, outcome)
        if (size := getattr(event, "input_bytes", 0)) > 0:
            totals.inputs.observe(size, *agent)
        if isinstance(event, ev.AttemptFailed | ev.StepFailed):
            totals.failures.add(1, *agent, event.fault.kind)
        if getattr(event, "reused", False):
            totals.reused.add(1, *agent)
        usage: ev.Usage | None = getattr(event, "usage", None)
        if usage is not None:
            self._use(agent, usage)

    def _use(self, agent: tuple[str, str], usage: ev.Usage) -> None:
        counts = (("input", usage.tokens_in), ("output", usage.tokens_out), ("cache_read", usage.cached_in))
        for direction, tokens in counts:
            if tokens is not None:
                self._totals.tokens.add(tokens, *agent, usage.model, direction)
        if usage.usd is not None:
            self._totals.dollars.add(usage.usd, *agent, usage.model)
        elif usage.model:
            self._totals.unpriced.add(1, *agent, usage.model)


def gauges(runs: Iterable[tuple[RunMetrics, int]], reader: Reader, now: float) -> list[Metric]:
    """What runs do now, each with how many events of its log were not read yet."""
    of_run, of_agent = ("workflow", "run"), ("workflow", "run", "agent")
    state = Values("gauge", "agentdeck_run_state", "1 for the state that a run is in.", *of_run, "state")
    opened = Values("gauge", "agentdeck_tasks_open", "Tasks that have begun and not ended.", *of_run)
    queue = Values("gauge", "agentdeck_queue_depth", "Steps that are ready and wait to start.", *of_agent)
    running = Values("gauge", "agentdeck_steps_running", "Steps that run, or ask the operator.", *of_agent)
    letters = Values("gauge", "agentdeck_dead_letters", "Steps that failed for good.", *of_run)
    limit = Values("gauge", "agentdeck_limit", "The value of a limit.", *of_run, "limit")
    use = Values("gauge", "agentdeck_limit_use", "What is in use of a limit.", *of_run, "limit")
    lag = Values("gauge", "agentdeck_lag_events", "Events of the log that these metrics lack.", *of_run)
    for one, behind in runs:
        view = one.view
        labels = view.workflow, one.run
        state.set(1, *labels, view.state)
        opened.set(len([task for task in view.open if "/" not in task]), *labels)
        letters.set(view.letters, *labels)
        lag.set(behind, *labels)
        view.now = max(view.now, now)
        queued = _queued(view)
        for name, agent in view.agents.items():
            queue.set(queued.get(name, agent.steps["ready"] if "/" in name else 0), *labels, name)
            running.set(agent.steps["running"], *labels, name)
        for found in limits(view, now, in_use(reader, windows(view), now)):
            if found.most is not None and found.setting not in ("timeout", "attempts"):
                limit.set(found.most, *labels, found.name)
                if found.use is not None:
                    use.set(found.use, *labels, found.name)
    return [state, opened, queue, running, letters, limit, use, lag]


def _queued(view: RunView) -> dict[str, int]:
    """The steps of each agent of the workflow that could start now, but for a worker, a limit or the budget."""
    found = ready_counts(view, view.definition) if view.definition is not None else {}
    for task in view.open.values():
        for step in task.steps.values():
            if step.reason and step.state == "ready" and step.until is None and not task.graph.prefix:
                found[step.agent.name] = found.get(step.agent.name, 0) + 1
    return found
