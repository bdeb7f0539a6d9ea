"""What a workflow will do, and how long it takes at best, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from agentdeck.insight.lower_bound import lower_bound, needs_of, resource_seconds, schedule
from agentdeck.scheduler.program import assumed
from agentdeck.workflow import graph
from agentdeck.workflow.agent_kind import kind_of, kinds
from agentdeck.workflow.model import Agent, Definition

if TYPE_CHECKING:
    from agentdeck.documents import command as documents
    from agentdeck.scheduler.order_search import FoundOrder


@dataclass(frozen=True, slots=True)
class Deed:
    """What one agent will do: its verb, and the command, module, host, model, file or person it turns to, which
    the plan lists under `heading`. `seconds` is one attempt; `source` says where that is from: seen, elsewhere
    (in other workflows), simulated or assumed. `slack` is how much later it could end without delaying its task.
    `many`: one step per item, of which a task has `items`; None where that is not known, and one is counted."""

    agent: str
    verb: str
    target: str
    heading: str
    simulated: bool
    seconds: float
    source: str
    slack: float
    many: bool
    spare: bool
    items: float | None = None


class SharedResource(NamedTuple):
    """A resource, its limit, what a step of each agent uses of it, and the least seconds that it alone takes."""

    name: str
    limit: float
    agents: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A workflow's plan for so many tasks at so many workers.

    `path_seconds` is the critical path, over the need that lets each join go. `lower_bound` is what no schedule
    can beat: the path, or more: all the work shared by the workers, or by the `resources`. `sequential` is one
    step after another. `assumed` names the agents whose seconds are a guess of one each, `uncounted` those whose
    number of items is not known: with more than one item each, everything but the path takes longer."""

    workflow: str
    tasks: int
    workers: int | None
    levels: tuple[tuple[str, ...], ...]
    critical_path: tuple[str, ...]
    path_seconds: float
    lower_bound: float
    sequential: float
    deeds: tuple[Deed, ...]
    resources: tuple[SharedResource, ...] = ()

    @property
    def assumed(self) -> tuple[str, ...]:
        return tuple(deed.agent for deed in self.deeds if deed.source == "assumed")

    @property
    def uncounted(self) -> tuple[str, ...]:
        return tuple(deed.agent for deed in self.deeds if deed.many and deed.items is None)

    def targets(self) -> dict[str, list[str]]:
        """What the agents turn to, each once, in order of declaration, by heading. A kind without agents has none
        under its heading."""
        found: dict[str, dict[str, None]] = {kind.heading: {} for kind in kinds().values()}
        for deed in self.deeds:
            found.setdefault(deed.heading, {})[deed.target] = None
        return {heading: list(named) for heading, named in found.items() if heading}


def plan(
    definition: Definition,
    workers: int | None = None,
    tasks: int = 1,
    seconds: Mapping[str, float] | None = None,
    items: Mapping[str, float] | None = None,
    elsewhere: Mapping[str, float] | None = None,
) -> Plan:
    """Work out the plan. `items` are how many each agent with `each` has of a task. `seconds` are durations by
    agent, seen in earlier runs; where there are none, those of agents that do the same in other workflows
    (`elsewhere`), what a simulated agent takes, else one second."""
    agents = definition.agents
    workers = workers if workers is not None else definition.limits.workers
    seen, others = seconds or {}, elsewhere or {}
    takes = assumed(definition, {**others, **seen})
    needs = needs_of(definition)
    best = schedule(definition, takes)
    many = {name: (items or {}).get(name) for name, agent in agents.items() if agent.each is not None}
    # With `mode: sequential`, one step of each task at a time is as much as there can be.
    at_once = min(workers or tasks, tasks) if definition.mode == "sequential" else workers
    counted = {name: many.get(name) or 1.0 for name in needs if agents[name].does.holds_worker}
    work = tasks * sum(takes[name] * count for name, count in counted.items())
    # What a join cancels need not be done: it is no part of the bound.
    least = {name: tasks * min(takes[name], best.runs[name]) * count for name, count in counted.items()}
    shared = resource_seconds(definition, least)
    return Plan(
        workflow=definition.name,
        tasks=tasks,
        workers=workers,
        levels=tuple(map(tuple, graph.levels(needs))),
        critical_path=best.path,
        path_seconds=best.seconds,
        lower_bound=max([lower_bound(best.seconds, sum(least.values()), at_once), *shared.values()]),
        sequential=work,
        deeds=tuple(
            Deed(
                agent=name,
                verb=agent.does.verb,
                target=kind_of(agent).target(agent),
                heading=kind_of(agent).heading,
                simulated=agent.does.simulated,
                seconds=takes[name],
                source=_source(agent, seen, others),
                slack=best.slack.get(name, 0.0),
                many=agent.each is not None,
                items=many.get(name),
                spare=agent.spare,
            )
            for name, agent in agents.items()
        ),
        resources=tuple(
            SharedResource(
                name,
                limit,
                {agent.name: agent.uses[name] for agent in agents.values() if name in agent.uses},
                shared[name],
            )
            for name, limit in definition.limits.resources.items()
        ),
    )


def _source(agent: Agent, seen: Mapping[str, float], elsewhere: Mapping[str, float]) -> str:
    if agent.name in seen:
        return "seen"
    if agent.name in elsewhere:
        return "elsewhere"
    return "simulated" if agent.does.simulated else "assumed"


def plan_document(
    made: Plan, requests: tuple[float, str], order: FoundOrder, calling: Sequence[str]
) -> documents.Plan:
    """The document of `agentdeck plan --json`. `requests` is the bound by limits of requests, see
    `launch_forecast.request_bound`, `order` that of a run's steps, and `calling` are the agents that call models
    through the gateway."""
    from agentdeck.documents import command as documents

    return documents.Plan.of(
        made,
        levels=[list(level) for level in made.levels],
        critical_path=list(made.critical_path),
        critical_path_seconds=round(made.path_seconds, 6),
        lower_bound_seconds=round(made.lower_bound, 6),
        request_bound_seconds=round(requests[0], 6),
        request_bound_limit=requests[1],
        order=documents.PlanOrder.of(
            order,
            agents=list(order.agents),
            seconds=round(order.seconds, 6),
            path_seconds=round(order.path_seconds, 6),
        ),
        sequential_seconds=round(made.sequential, 6),
        assumed=list(made.assumed),
        items_not_known=list(made.uncounted),
        runs=made.targets(),
        gateway=list(calling),
        resources={
            one.name: documents.PlanResource.of(one, agents=dict(one.agents), seconds=round(one.seconds, 6))
            for one in made.resources
        },
        agents={
            deed.agent: documents.PlanAgent.of(
                deed, seconds=round(deed.seconds, 6), slack=round(deed.slack, 6), each=deed.many
            )
            for deed in made.deeds
        },
    )
