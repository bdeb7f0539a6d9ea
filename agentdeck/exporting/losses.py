"""What of a workflow no task of a DAG does as agentdeck does it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from agentdeck.exporting.task_ids import form_of
from agentdeck.workflow.expressions import Expression, Template
from agentdeck.workflow.loader import Loaded
from agentdeck.workflow.model import Agent, Definition, SubWorkflow
from agentdeck.workflow.yaml_source import Path_


class Loss(NamedTuple):
    """What is lost, and the path of the value that asks for it."""

    what: str
    path: Path_


def of_workflow(definition: Definition) -> Iterator[Loss]:
    """What is lost of the workflow itself."""
    if definition.budget is not None:
        yield Loss("budget: no task knows what the others have used, so nothing stops at it", ("budget",))
    for name in definition.limits.providers:
        what = f"limits of {name}: they hold within each task, not over all of them; those of the deck hold for "
        yield Loss(f"{what}all tasks that share its store", ("limits", name))
    if definition.mode == "adaptive":
        yield Loss("mode: adaptive: independent steps always run side by side", ("mode",))


def of_agent(definition: Definition, agent: Agent) -> Iterator[Loss]:
    """What is lost of an agent."""
    for what, *path in (*_of_join(agent), *_of_attempts(agent), *_of_resources(definition, agent)):
        yield Loss(what, ("agents", agent.name, *path))
    if isinstance(agent.does, SubWorkflow) and form_of(agent) != "workflow":
        what = "its steps run inside of one task, and are retried there"
        yield Loss(f"workflow: {what}", ("agents", agent.name, "workflow"))
    if ("run", "id") in {reference[:2] for reference in _references(definition, agent)}:
        what = "run.id: each try of a task is a run of its own, so it is another one each time"
        yield Loss(what, ("agents", agent.name, "once" if agent.once else agent.does.verb))


def _of_join(agent: Agent) -> Iterator[tuple[str, ...]]:
    join = agent.join
    if len(agent.needs) > 1 and join.kind in ("quorum", "progressive"):
        yield (
            f"join: {join.kind}: it starts when all needs have ended, and then decides as agentdeck does",
            "join",
        )
    if join.within is not None:
        yield "join: within: there is no deadline; it starts when all needs have ended", "join"
    if join.rest == "cancel":
        yield "join: rest: cancel: needs that are not awaited any more run to their end", "join"


def _of_attempts(agent: Agent) -> Iterator[tuple[str, ...]]:
    retry, timeout = agent.retry, agent.timeout
    if retry.escalate and retry.attempts > 1:
        yield "retry: escalate: each try asks the same tier", "retry"
    if agent.repeat is not None and retry.attempts > 1:
        yield "repeat: a retry begins with the first round again", "repeat"
    if timeout.queue is not None:
        yield "timeout: queue: a task waits for its slot as long as it takes", "timeout"
    if timeout.total is not None:
        yield "timeout: total: only each try has a limit", "timeout"
    if timeout.auto:
        yield "timeout: auto: the limit of each try is fixed", "timeout"
    if agent.hedge is not None:
        yield "hedge: a late call gets no second one beside it", "hedge"


def _of_resources(definition: Definition, agent: Agent) -> Iterator[tuple[str, ...]]:
    chosen = pool_of(definition, agent)
    for name, amount in agent.uses.items():
        if amount != int(amount):
            yield f"uses: {name}: {amount:g} of it; the slots of a pool are whole", "uses"
        elif name != chosen:
            yield f"uses: {name}: a task is in one pool, and this one is in that of {chosen}", "uses"


def pool_of(definition: Definition, agent: Agent) -> str | None:
    """The resource whose pool the tasks of an agent are in: the one of which fewest of them fit at once."""
    limits = definition.limits.resources
    whole = [name for name, amount in agent.uses.items() if amount == int(amount) and name in limits]
    return min(whole, key=lambda name: limits[name] // agent.uses[name], default=None)


def _references(definition: Definition, agent: Agent) -> Iterator[tuple[str, ...]]:
    """The dotted names that the expressions of an agent read."""
    texts = [agent.when, agent.each, agent.expect, agent.repeat.until if agent.repeat else None]
    for text in (*texts, *agent.does.expressions()):
        if text:
            yield from Expression(text).references
    for value in (agent.with_, agent.once, agent.does.templates()):
        if value:
            yield from Template(value).references


def line_of(loaded: Loaded, path: Path_) -> tuple[int, int]:
    """The line and column of a value of a workflow file; of the default, or the agent, where it is not written
    there itself. Zeros where that is not known."""
    for one in (path, ("defaults", *path[2:]), path[:2]):
        if one in loaded.positions:
            return loaded.positions[one]
    return 0, 0
