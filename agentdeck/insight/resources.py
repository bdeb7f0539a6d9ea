"""What the running steps of a run use of its shared resources, and which steps wait for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from agentdeck.insight.ready_steps import ready_counts, workflow_path
from agentdeck.limits.provider_limits import is_resource
from agentdeck.scheduler.waits import PLACE, RESOURCES
from agentdeck.views.run_view import RunView
from agentdeck.views.step_transitions import StepView
from agentdeck.workflow.model import PLACE_LIMIT, Agent, Definition
from agentdeck.workflow.place_types import slots_name
from agentdeck.workflow.units import show_amount, thousandths


class ResourceUse(NamedTuple):
    """One resource, in thousandths: its limit now, and what running steps of each agent use, the most first."""

    name: str
    limit: int
    by_agent: Mapping[str, int]

    @property
    def used(self) -> int:
        return sum(self.by_agent.values())

    @property
    def free(self) -> int:
        """What may be taken. Negative where the limit was lowered below what is in use."""
        return self.limit - self.used

    @property
    def text(self) -> str:
        """`4 of 4 in use by train 3, eval 1`."""
        agents = ", ".join(f"{agent} {show_amount(amount)}" for agent, amount in self.by_agent.items())
        return f"{show_amount(self.used)} of {show_amount(self.limit)} in use" + (
            f" by {agents}" if agents else ""
        )


def resource_names(view: RunView) -> list[str]:
    """The resources of a run, in the order of the workflow, then those of its sub-workflows."""
    own = view.definition.limits.resources if view.definition is not None else {}
    return list(dict.fromkeys([*own, *filter(is_resource, view.limits)]))


def resources(view: RunView) -> dict[str, ResourceUse]:
    """All resources of a run by name."""
    names = resource_names(view)
    if not names:
        return {}
    own: Mapping[str, float] = view.definition.limits.resources if view.definition is not None else {}
    used: dict[str, dict[str, int]] = {name: {} for name in names}
    for (task, _), started in view.running.items():
        nested = workflow_path(task)
        agent = f"{nested}/{started.agent}" if nested else started.agent
        for name, amount in (started.uses or {}).items():
            by_agent = used.setdefault(name, {})
            by_agent[agent] = by_agent.get(agent, 0) + thousandths(amount)
    limits = {name: view.limits.get(name, own.get(name, 0)) for name in used}
    return {
        name: ResourceUse(name, thousandths(limits[name]), dict(sorted(by.items(), key=lambda one: -one[1])))
        for name, by in used.items()
    }


def claiming(view: RunView) -> list[tuple[str, StepView]]:
    """The steps for which what becomes free is kept, each with its task."""
    return [
        (task.id, step)
        for task in view.open.values()
        for step in task.steps.values()
        if step.reason == RESOURCES and step.state == "ready"
    ]


def resource_waits(view: RunView, ready: Mapping[str, int] | None = None) -> dict[str, dict[str, int]]:
    """The numbers of steps that wait for each shared resource, by agent: those of the `ready` ones for which
    less is free than they use, and those for which it is kept. Those whose place is out of reach wait for its
    slots."""
    shared, definition = resources(view), view.definition
    closed = {slots_name(name) for name in view.closed_places}
    if not (shared or closed) or definition is None:
        return {}
    found: dict[str, dict[str, int]] = {name: {} for name in (*shared, *closed)}
    for agent, count in (ready_counts(view, definition) if ready is None else ready).items():
        if agent in definition.agents and (slots := slots_name(definition.agents[agent].place)) in closed:
            found[slots][agent] = count
            continue
        for name, amount in definition.agents[agent].uses.items() if agent in definition.agents else ():
            if thousandths(amount) > shared[name].free:
                found[name][agent] = count
    for _, step in claiming(view):
        by_agent = found.get(step.why.partition(":")[0], {})
        by_agent[step.agent.name] = by_agent.get(step.agent.name, 0) + 1
    return found


def lacking(view: RunView, definition: Definition, agent: Agent | None) -> tuple[str, str] | None:
    """The shared resource that a ready step waits for, and the numbers; None where it has all it uses."""
    if agent is None or not agent.uses:
        return None
    shared = resources(view)
    for name, amount in agent.uses.items():
        use, needed = shared[name], thousandths(amount)
        if needed > use.limit:
            text = f"it uses {amount} of {name}, and the limit is {show_amount(use.limit)}"
            if _reason(name) == PLACE:
                text = f"the place {agent.place} has no slots at present"
            return _reason(name), f"{text}: it starts when {name} is raised to {amount}"
        if needed > use.free:
            enough = show_amount(use.used + needed)
            text = f"waits for {name}: {use.text}; it uses {amount}"
            return _reason(name), f"{text}, and {name}={enough} would be enough now"
    for task, step in claiming(view):
        name = step.why.partition(":")[0]
        kept = _kept_by(definition, step)
        if name in agent.uses and thousandths(agent.uses[name]) > shared[name].free - kept.get(name, 0):
            return (
                RESOURCES,
                f"what becomes free of {name} is kept for {step.key} of task {task}, which is first",
            )
    return None


def _kept_by(definition: Definition, step: StepView) -> dict[str, int]:
    other = definition.agents.get(step.agent.name)
    return {name: thousandths(amount) for name, amount in other.uses.items()} if other is not None else {}


def _reason(resource: str) -> str:
    """Why a step waits that waits for this resource."""
    return PLACE if resource.startswith(f"{PLACE_LIMIT}.") else RESOURCES
