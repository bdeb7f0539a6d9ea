"""What happens inside attempts: the steps of a framework's graph, its calls of models and tools, by name."""

from __future__ import annotations

from typing import NamedTuple

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.state import CANCELLED, DONE, FAILED, RUNNING
from agentdeck.views.agent_totals import AgentTotals, RunTotals
from agentdeck.views.inner_place import InnerPlace
from agentdeck.views.step_transitions import StepView

#: Names below one agent or inner step that are counted each. All others are counted as OTHERS.
MOST_NAMES = 100
#: The same, below one agent at all levels.
MOST_IN_ALL = 400
OTHERS = "…"
#: Levels below the agent that are told apart; what is deeper is counted at the last one.
DEEPEST = 6


class InnerStep(NamedTuple):
    """An inner step that runs: where it is counted, and since when it runs."""

    totals: AgentTotals
    started: float
    depth: int


class InnerSteps:
    """The inner steps that run, by task and step, then by their number; `places` says where they are. Those that
    have ended are only counted, so memory is bounded by what runs and by the number of names."""

    def __init__(self, totals: RunTotals) -> None:
        self.live: dict[tuple[str, str], dict[int, InnerStep]] = {}
        self.places: dict[tuple[str, str], InnerPlace] = {}
        self._totals = totals
        self._names: dict[str, int] = {}

    def start(self, step: StepView, e: ev.InnerStarted) -> None:
        key = e.task, e.step
        live = self.live.setdefault(key, {})
        place = self.places.get(key)
        if place is None:
            place = self.places[key] = InnerPlace()
        place.start(e)
        above = live.get(e.parent)
        if above is None:
            holder, depth = step.agent, 1
        else:
            holder, depth = above.totals, above.depth + 1
        totals = holder if depth > DEEPEST else self._below(step.agent.name, holder, e.name)
        totals.counts[RUNNING] += 1
        totals.attempts += 1
        live[e.inner] = InnerStep(totals, e.at, depth)

    def _below(self, agent: str, holder: AgentTotals, name: str) -> AgentTotals:
        """The totals of the inner steps of this name below an agent, or below other inner steps of it."""
        graph = self._totals.inner_graph(holder.name)
        totals = graph.agents.get(name)
        if totals is None:
            if agent not in self._names:
                below = agent + "/"
                self._names[agent] = sum(one.startswith(below) for one in self._totals.inner)
            if len(graph.agents) >= MOST_NAMES or self._names[agent] >= MOST_IN_ALL:
                name = OTHERS
            if name not in graph.agents:
                self._names[agent] += 1
            totals = self._totals.agent(graph, name, has_steps=False)
        return totals

    def end(self, e: ev.InnerEnded) -> None:
        key = e.task, e.step
        inner = self.live.get(key, {}).pop(e.inner, None)
        if inner is None:
            return
        self.places[key].end(e)
        totals, seconds = inner.totals, max(0.0, e.at - inner.started)
        totals.counts[RUNNING] -= 1
        totals.counts[DONE if e.fault is None else FAILED] += 1
        totals.busy += seconds
        if e.fault is None:
            totals.durations.add(seconds)
        else:
            totals.failed_attempts += 1
        around: AgentTotals | None = totals
        while e.usage is not None and around is not None:  # as for agents, what is inside counts
            around.add_usage(e.usage)
            around = self._totals.inner_around(around)

    def close(self, task: str, step: str, at: float) -> None:
        """The attempt of a step has ended, and what still ran inside it with it."""
        self.places.pop((task, step), None)
        for inner in self.live.pop((task, step), {}).values():
            inner.totals.counts[RUNNING] -= 1
            inner.totals.counts[CANCELLED] += 1
            inner.totals.busy += max(0.0, at - inner.started)

    def place_of(self, task: str, step: str, fault: Fault) -> str:
        """Where inside its attempt, which ends now, a step failed. Empty where that is not known."""
        place = self.places.get((task, step))
        return place.of(fault) if place is not None else ""
