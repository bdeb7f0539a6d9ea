"""The fastest possible schedule of a task, and its critical path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

from agentdeck.scheduler.joins import floor_of, goal_of
from agentdeck.views.task_timeline import TimelineRow
from agentdeck.workflow import graph
from agentdeck.workflow.model import Agent, Definition

Needs = Mapping[str, tuple[str, ...]]
#: The end of a need and the beginning of the step that it let start are at most so many seconds apart.
SAME = 0.0005


def needs_of(definition: Definition) -> dict[str, tuple[str, ...]]:
    """The needs of each agent, without spare agents: these run only as the fallback of another one."""
    spare = {name for name, agent in definition.agents.items() if agent.spare}
    return {
        name: tuple(need for need in agent.needs if need not in spare)
        for name, agent in definition.agents.items()
        if name not in spare
    }


@dataclass(frozen=True, eq=False)
class Schedule:
    """One task with unlimited workers, each step starting as soon as its join is satisfied.

    `path` is the critical path: from the step that ends last, back over the need that let each join go, which is
    the second of three for a quorum of two. `seconds` is when the task is over: no schedule is faster. Of each
    agent, after all it needs: `start`, `end` (early where it is cancelled), and in `last_of` the needs that its
    join waited for.
    """

    path: tuple[str, ...]
    seconds: float
    start: Mapping[str, float]
    end: Mapping[str, float]
    last_of: Mapping[str, Sequence[str]]

    @property
    def runs(self) -> dict[str, float]:
        """How long each agent goes until it has ended or is cancelled."""
        return {name: self.end[name] - self.start[name] for name in self.end}

    @cached_property
    def slack(self) -> dict[str, float]:
        """How much later each agent could end without delaying the end of the task. A need too late for a join
        delays only that."""
        start, end = self.start, self.end
        latest = dict.fromkeys(end, self.seconds)
        for name in reversed(list(self.last_of)):
            for need in self.last_of[name]:
                latest[need] = min(latest[need], start[name] + max(0.0, latest[name] - end[name]))
        return {name: max(0.0, latest[name] - end[name]) for name in end}


def schedule(definition: Definition, seconds: Mapping[str, float]) -> Schedule:
    """The fastest schedule. Agents without seconds take none."""
    needs = needs_of(definition)
    below = graph.dependents(needs)
    start: dict[str, float] = {}
    end: dict[str, float] = {}
    last_of: dict[str, Sequence[str]] = {}
    for name in graph.order(needs, below):
        agent = definition.agents[name]
        arrivals = sorted(needs[name], key=end.__getitem__)
        start[name] = _starts(agent, arrivals, start, end)
        # Each arrival at a progressive join is a round, so the last of them comes before its end.
        begins = end[arrivals[-1]] if arrivals and _in_rounds(agent) else start[name]
        end[name] = begins + seconds.get(name, 0.0)
        last_of[name] = [need for need in needs[name] if end[need] <= begins]
    for name, agent in definition.agents.items():
        if name in start and agent.join.rest == "cancel":
            _cut(name, start[name], needs, below, start, end)
    total = max(end.values(), default=0.0)
    final = next((n for n in end if end[n] == total and not below[n]), None)
    final = final or next((n for n in end if end[n] == total), None)
    path: list[str] = []
    while final is not None:
        path.append(final)
        final = max(last_of[final], key=end.__getitem__, default=None)
    return Schedule(tuple(reversed(path)), total, start, end, last_of)


def _in_rounds(agent: Agent) -> bool:
    return agent.join.kind == "progressive" and agent.join.rest != "cancel"


def _starts(agent: Agent, arrivals: list[str], start: Mapping[str, float], end: Mapping[str, float]) -> float:
    """When the join is satisfied; `arrivals` are its needs in the order of their ends."""
    if not arrivals:
        return 0.0
    join = agent.join
    goal = max(1, min(len(arrivals), goal_of(join, len(arrivals))))
    goes = end[arrivals[goal - 1]]
    if join.within is not None and join.kind not in ("any", "progressive"):
        # Its clock begins with the first need that is ready; then `min` arrivals are enough.
        clock = min(start[need] for need in arrivals) + join.within
        enough = max(1, min(goal, floor_of(join, goal)))
        goes = min(goes, max(clock, end[arrivals[enough - 1]]))
    return goes


def _cut(
    name: str,
    at: float,
    needs: Needs,
    below: Mapping[str, list[str]],
    start: dict[str, float],
    end: dict[str, float],
) -> None:
    """With `rest: cancel`, needs that no other step waits for end when the join is satisfied."""
    for need in needs[name]:
        if end[need] > at and all(start[other] <= at for other in below[need]):
            end[need] = at
            start[need] = min(start[need], at)
            _cut(need, at, needs, below, start, end)


def lower_bound(path: float, work: float, workers: int | None) -> float:
    """No schedule ends before this: one task takes its longest path, and all the work shares the workers
    (Graham's bound). `workers` None is unlimited."""
    return max(path, work / workers) if workers else path


def resource_seconds(definition: Definition, work: Mapping[str, float]) -> dict[str, float]:
    """The least seconds that each shared resource takes for this work, in seconds by agent: what is used of it,
    times how long, is at most its limit times the length of the run."""
    found = {}
    for name, limit in definition.limits.resources.items():
        used = sum(
            spent * definition.agents[agent].uses.get(name, 0.0)
            for agent, spent in work.items()
            if agent in definition.agents
        )
        found[name] = used / limit if limit else 0.0
    return found


def critical_steps(rows: Sequence[TimelineRow], needs: Mapping[str, Sequence[str]]) -> set[str]:
    """The steps on which the task waited: from what ended last, back over the need that let it begin each time.
    That is the last of those that had ended when its join was satisfied: the second of three for a quorum of two.
    Of what still runs, the one that began last."""
    ended: dict[str, tuple[float, float, str]] = {}
    ready: dict[str, float] = {}
    for row in rows:
        if row.spans:
            name, final = row.step.partition("[")[0], row.spans[-1]
            until = inf if final.until is None else final.until
            ended[name] = max(ended.get(name, (0.0, 0.0, "")), (until, final.since, row.step))
            first = row.spans[0]
            begins = first.until if first.kind == "needs" and first.until is not None else first.since
            ready[name] = min(ready.get(name, inf), begins)
    path: set[str] = set()
    last = max(ended, key=lambda name: ended[name], default=None)
    while last is not None and ended[last][2] not in path:
        path.add(ended[last][2])
        before = ready[last] + SAME
        above = [need for need in needs.get(last, ()) if need in ended and ended[need][0] <= before]
        above = above or [need for need in needs.get(last, ()) if need in ended]
        last = max(above, key=lambda name: ended[name], default=None)
    return path
