"""What happens inside attempts: the steps of a framework's graph, its calls of models and tools, by name."""

from __future__ import annotations

from typing import NamedTuple

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.state import CANCELLED, DONE, FAILED, RUNNING
from agentdeck.views.agent_totals import AgentTotals, RunTotals
from agentdeck.views.step_transitions import StepView

#: Names below one agent or inner step that are counted each. All others are counted as OTHERS.
MOST_NAMES = 100
OTHERS = "…"
#: Levels below the agent that are told apart; what is deeper is counted at the last one.
DEEPEST = 6


class InnerStep(NamedTuple):
    """An inner step that runs: where it is counted, and since when it runs."""

    totals: AgentTotals
    started: float
    depth: int


class InnerSteps:
    """The inner steps that run, by task and step, then by their number. Those that have ended are only counted,
    so memory is bounded by what runs and by the number of names."""

    def __init__(self, totals: RunTotals) -> None:
        self.live: dict[tuple[str, str], dict[int, InnerStep]] = {}
        self._totals = totals

    def start(self, step: StepView, e: ev.InnerStarted) -> None:
        live = self.live.setdefault((e.task, e.step), {})
        above = live.get(e.parent)
        if above is None:
            holder, depth = step.agent, 1
        else:
            holder, depth = above.totals, above.depth + 1
        totals = holder if depth > DEEPEST else self._below(holder, e.name)
        totals.counts[RUNNING] += 1
        totals.attempts += 1
        live[e.inner] = InnerStep(totals, e.at, depth)

    def _below(self, holder: AgentTotals, name: str) -> AgentTotals:
        """The totals of the inner steps of this name below an agent, or below other inner steps."""
        graph = self._totals.graph(holder.name + "/")
        if name not in graph.agents and len(graph.agents) >= MOST_NAMES:
            name = OTHERS
        totals = self._totals.agent(graph, name, has_steps=False)
        totals.inner = True
        return totals

    def end(self, e: ev.InnerEnded) -> None:
        inner = self.live.get((e.task, e.step), {}).pop(e.inner, None)
        if inner is None:
            return
        totals, seconds = inner.totals, max(0.0, e.at - inner.started)
        totals.counts[RUNNING] -= 1
        totals.counts[DONE if e.fault is None else FAILED] += 1
        totals.busy += seconds
        if e.fault is None:
            totals.durations.add(seconds)
        else:
            totals.failed_attempts += 1
        if e.usage is not None:
            totals.add_usage(e.usage)

    def close(self, task: str, step: str, at: float) -> None:
        """The attempt of a step has ended, and what still ran inside it with it."""
        for inner in self.live.pop((task, step), {}).values():
            inner.totals.counts[RUNNING] -= 1
            inner.totals.counts[CANCELLED] += 1
            inner.totals.busy += max(0.0, at - inner.started)

    def deepest(self, task: str, step: str) -> InnerStep | None:
        """The inner step that began last of those that run; None where none does."""
        live = self.live.get((task, step))
        return live[max(live)] if live else None
