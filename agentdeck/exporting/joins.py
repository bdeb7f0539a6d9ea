"""The trigger rule of a task, by the join of its agent."""

from __future__ import annotations

from collections.abc import Mapping

from agentdeck.workflow import graph
from agentdeck.workflow.model import Agent, Definition, Dispatch

#: All needs have ended, whatever became of them: the task itself decides by the join.
ALL_DONE = "all_done"


def trigger_rule(definition: Definition, agent: Agent) -> str | None:
    """The rule that starts the task of an agent when its join is satisfied; None is Airflow's own, all_success.

    Airflow skips what follows a skipped task; in a workflow a skipped need is absent, and a step whose needs are
    all skipped is skipped: that is none_failed_min_one_success. A need that failed and is tolerated, and joins
    that Airflow lacks, are decided in the task, once all needs have ended.
    """
    join, agents = agent.join, definition.agents
    if not agent.needs:
        return None
    if join.kind == "any" and join.within is None:
        return "one_success"
    if join.kind != "all" or join.within is not None or join.min is not None:
        return ALL_DONE
    if any(agents[name].on_error.action == "continue" for name in agent.needs):
        return ALL_DONE
    skipped = skippable(definition)
    return "none_failed_min_one_success" if any(skipped[name] for name in agent.needs) else None


def skippable(definition: Definition) -> Mapping[str, bool]:
    """Whether each agent's step can be skipped."""
    chosen = {
        name
        for agent in definition.agents.values()
        if isinstance(agent.does, Dispatch)
        for name in (*agent.does.cases.values(), agent.does.otherwise)
    }
    found: dict[str, bool] = {}
    for name in graph.order({name: agent.needs for name, agent in definition.agents.items()}):
        agent = definition.agents[name]
        all_of_them = bool(agent.needs) and all(found[need] for need in agent.needs)
        found[name] = agent.when is not None or name in chosen or all_of_them
    return found
