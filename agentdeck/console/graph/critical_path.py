"""The critical path of a running graph, and the slack of the other agents. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from agentdeck.console.graph.canvas import CRITICAL
from agentdeck.console.graph.card import seconds
from agentdeck.insight.lower_bound import schedule
from agentdeck.views.agent_totals import AgentTotals
from agentdeck.workflow.model import Definition, Simulate


def takes(definition: Definition, tallies: Mapping[str, AgentTotals]) -> dict[str, float]:
    """Seconds of one attempt of each agent: as seen so far, else what it is declared to take, else one."""
    found = {}
    for name, agent in definition.agents.items():
        tally = tallies.get(name)
        declared = agent.does.takes if isinstance(agent.does, Simulate) else 1.0
        mean = tally.typical if tally else None
        found[name] = declared if mean is None else mean
    return found


def path(definition: Definition, spent: Mapping[str, float]) -> tuple[str, ...]:
    """The agents of the chain that takes longest, over the need that lets each join go."""
    return schedule(definition, spent).path


def slack(definition: Definition, spent: Mapping[str, float]) -> dict[str, str]:
    """How much later each agent could end without delaying its task, as text."""
    left = schedule(definition, spent).slack
    return {name: f"+{seconds(value)}" if value > 0.0005 else CRITICAL for name, value in left.items()}
