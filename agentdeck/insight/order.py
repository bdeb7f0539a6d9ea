"""What a search for the order of a run's steps finds, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agentdeck.scheduler.order_search import candidate
from agentdeck.workflow.model import Definition


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """The order in which the steps of a run will start. `agents` are in the order that was found; without any,
    the longest remaining path goes first, because of the `reason`. `seconds` is what the run takes in that order,
    `path_seconds` what it takes with the longest remaining path first, both 0 where that was not worked out."""

    agents: tuple[str, ...] = ()
    seconds: float = 0.0
    path_seconds: float = 0.0
    reason: str = ""


def plan_order(
    definition: Definition,
    samples: Mapping[str, Sequence[float]],
    workers: int,
    tasks: int,
    more: Callable[[], bool],
) -> PlannedOrder:
    """Search the order as a launch does, as long as there is `more` time. `samples` are the seconds of earlier
    attempts by agent."""
    if tasks > 1:
        return PlannedOrder(reason="the tasks of a run start by age")
    search, reason = candidate(definition, samples, workers, "plan")
    if search is None:
        return PlannedOrder(reason=reason)
    search.search(more)
    if search.makespan >= search.first:
        return PlannedOrder((), search.first, search.first, "no faster order was found")
    return PlannedOrder(search.order, search.makespan, search.first)
