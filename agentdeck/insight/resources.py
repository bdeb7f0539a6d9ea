"""What the running steps of a run use of its shared resources, and which steps wait for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from agentdeck.limits.provider_limits import is_resource
from agentdeck.scheduler.waits import RESOURCES
from agentdeck.views.run_view import RunView
from agentdeck.views.step_transitions import StepView
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
        nested = "/".join(part.partition("[")[0] for part in task.split("/")[1:])
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
