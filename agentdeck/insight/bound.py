"""How fast it could have gone at best."""

from __future__ import annotations

import math
from collections.abc import Mapping

from agentdeck.workflow import graph
from agentdeck.workflow.model import Agent, Definition


def needs_of(definition: Definition) -> dict[str, tuple[str, ...]]:
    """The graph of agents that run by themselves: spare ones run only as somebody's fallback."""
    spare = {name for name, agent in definition.agents.items() if agent.spare}
    return {
        name: tuple(need for need in agent.needs if need not in spare)
        for name, agent in definition.agents.items()
        if name not in spare
    }


def earliest(definition: Definition, seconds: Mapping[str, float]) -> float:
    """When one task could be through with as many workers as it likes.

    Equal to the longest path where every join waits for all; a join that takes fewer waits only for the
    quickest of its needs. Agents without seconds take none.
    """
    needs = needs_of(definition)
    end: dict[str, float] = {}
    for name in graph.order(needs):
        arrivals = sorted(end[need] for need in needs[name])
        enough = _enough(definition.agents[name], len(arrivals))
        end[name] = (arrivals[enough - 1] if enough else 0.0) + seconds.get(name, 0.0)
    leaves = set(end) - {need for above in needs.values() for need in above}
    return max((end[name] for name in leaves), default=0.0)


def _enough(agent: Agent, total: int) -> int:
    """The fewest arrivals that may do for this agent's join."""
    join = agent.join
    if not total:
        return 0
    if join.kind in ("any", "progressive"):
        return 1
    if join.within is not None:
        return min(total, 1 if join.min is None else join.min)
    if join.quorum is None:
        return total
    count = join.quorum if isinstance(join.quorum, int) else math.ceil(join.quorum * total - 1e-9)
    return max(1, min(total, count if join.min is None else min(count, join.min)))


def lower_bound(path: float, work: float, workers: int | None) -> float:
    """No schedule ends before this: one task takes its longest path, and all the work shares the workers
    (Graham's bound). `workers` None is as many as one likes."""
    return max(path, work / workers) if workers else path
