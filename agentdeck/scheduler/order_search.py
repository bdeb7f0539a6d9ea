"""Searches the order in which the steps of a task should start, where it is known how long each takes.

Starting the longest remaining path first is a good order, and rarely the best one. The search improves it by
forward-backward improvement (Tormos and Lova, 2001; "justification" in Valls et al., 2005): a schedule is made
forwards, then one backwards in time by descending ends, then one forwards by the starts of that one. Each pass
can close gaps that the pass before it left. The search begins with several priority rules, then with shaken
copies of the remaining paths and of the best order so far.

Each schedule is made as the scheduler starts steps: as soon as a worker is free, the first ready step in order
starts. So the makespan that the search reports is that of the run, if its steps take as long as assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from math import inf, log, sqrt
from random import Random
from typing import Final, NamedTuple

from agentdeck.scheduler.resources import Uses, uses_of
from agentdeck.workflow import graph
from agentdeck.workflow.model import Agent, Definition, Dispatch, Prompt

#: Two makespans within this share are the same.
SAME: Final = 1e-9
#: How far priorities are shaken: as a share of each remaining path, or of half the makespan.
SHAKES: Final = (0.05, 0.1, 0.2, 0.4)
#: An order is searched where the logarithms of durations have less than this standard deviation, over at least
#: and at most so many of the newest attempts of each agent.
STEADY: Final = 0.15
LEAST: Final = 3
NEWEST: Final = 30
#: An order is used where it gains more than the variance of these logarithms times this. Less is lost in the
#: differences between runs: on 127 cases, orders that should gain 2 to 4 % gained 1.5 % at a deviation of 0.05,
#: 0.9 % at 0.1, and lost 0.1 % at 0.15; those of 0.5 to 1 % gained 0.2 % at 0.05 and lost 0.1 % at 0.1.
HIDDEN: Final = 2.0
#: An order is searched where it may gain at least so many seconds, and in workflows of at most so many agents.
WORTH: Final = 0.2
MOST: Final = 1000
#: So many seconds a launch searches.
BRIEFLY: Final = 0.02


class OrderSearch:
    """`order` is the best order found so far: the agents as they start. `makespan` is what it takes, and `first`
    what the longest remaining path first takes, with which the search begins; no order takes less than `bound`.
    `schedules` counts those that were made. In as many schedules, the same seed finds the same order."""

    def __init__(
        self,
        needs: Mapping[str, Sequence[str]],
        seconds: Mapping[str, float],
        workers: int,
        seed: str,
        uses: Mapping[str, Uses] | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self._names = list(needs)
        place = {name: index for index, name in enumerate(self._names)}
        below, remaining = graph.dependents(needs), graph.remaining(needs, seconds)
        self._needs = [[place[need] for need in needs[name]] for name in self._names]
        self._below = [[place[one] for one in below[name]] for name in self._names]
        self._seconds = [seconds[name] for name in self._names]
        self._remaining = [remaining[name] for name in self._names]
        self._topological = [place[name] for name in graph.order(needs, below)]
        self._workers = workers
        self._uses = [(uses or {}).get(name, ()) for name in self._names] if uses else []
        self._limits = dict(limits or {})
        self._random = Random(seed)
        self._starts: list[float] = []
        self.schedules = 0
        self.makespan = inf
        self.bound = max(max(self._remaining, default=0.0), sum(self._seconds) / workers, self._resource_bound())
        by_path = sorted(range(len(self._names)), key=lambda index: (-self._remaining[index], index))
        priorities = [0.0] * len(by_path)
        for number, index in enumerate(by_path):
            priorities[index] = float(number)
        self._keep(self._schedule(priorities, self._needs, self._below))
        self.first = self.makespan

    @property
    def order(self) -> tuple[str, ...]:
        """The agents in the best order. Of those that start at once, the longest remaining path comes first."""
        starts, remaining = self._starts, self._remaining
        indices = sorted(range(len(starts)), key=lambda index: (starts[index], -remaining[index], index))
        return tuple([self._names[index] for index in indices])

    @property
    def optimal(self) -> bool:
        """Whether no order takes less."""
        return self.makespan <= self.bound * (1 + SAME)

    def search(self, more: Callable[[], bool]) -> None:
        """Search until there is no `more` time, or no order can be better."""
        for priorities in self._rules():
            if self.optimal or not more():
                return
            self._improve(priorities)
        while not self.optimal and more():
            self._improve(self._shaken())

    def _resource_bound(self) -> float:
        """The least that a shared resource alone takes."""
        used = dict.fromkeys(self._limits, 0.0)
        for seconds, uses in zip(self._seconds, self._uses, strict=False):
            for name, amount in uses:
                used[name] += seconds * amount
        return max([spent / self._limits[name] for name, spent in used.items() if spent], default=0.0)

    def _rules(self) -> list[list[float]]:
        """The priorities to begin with, the least first: as steps become ready, the longest remaining path, the
        most work in all that depends on the step, the longest remaining path and step, the longest step."""
        seconds, remaining = self._seconds, self._remaining
        return [
            [0.0] * len(seconds),
            [-path for path in remaining],
            [-work for work in self._work_below()],
            [-path - taken for path, taken in zip(remaining, seconds, strict=True)],
            [-taken for taken in seconds],
        ]

    def _shaken(self) -> list[float]:
        """New priorities near those of the remaining paths, or near the best order."""
        random = self._random
        shake = SHAKES[int(random.random() * len(SHAKES))]
        if random.random() < 0.5:
            return [-path * (1 + shake * (2 * random.random() - 1)) for path in self._remaining]
        reach = shake * self.makespan / 2
        return [start + reach * (2 * random.random() - 1) for start in self._starts]

    def _improve(self, priorities: list[float]) -> None:
        """Make a schedule by these priorities, and improve it forwards and backwards until a round makes it no
        shorter."""
        ends, makespan = self._keep(self._schedule(priorities, self._needs, self._below))
        best = inf
        while makespan < best * (1 - SAME):
            best = makespan
            back = self._ends(self._schedule([-end for end in ends], self._below, self._needs))
            ends, makespan = self._keep(self._schedule([-end for end in back], self._needs, self._below))

    def _keep(self, starts: list[float]) -> tuple[list[float], float]:
        """When the steps of a schedule end, and its makespan. It is kept where it is the best so far."""
        ends = self._ends(starts)
        makespan = max(ends, default=0.0)
        if makespan < self.makespan * (1 - SAME):
            self.makespan, self._starts = makespan, starts
        return ends, makespan

    def _ends(self, starts: list[float]) -> list[float]:
        return [start + taken for start, taken in zip(starts, self._seconds, strict=True)]

    def _schedule(self, priorities: list[float], needs: list[list[int]], below: list[list[int]]) -> list[float]:
        """When each step starts, where the ready step with the least priority starts whenever a worker is free.
        Of equal ones, the one that became ready first. One that lacks a resource is passed by those that fit.
        With `needs` and `below` exchanged it is a schedule backwards in time."""
        self.schedules += 1
        seconds = self._seconds
        missing = [len(above) for above in needs]
        starts = [0.0] * len(seconds)
        ready: list[tuple[float, int, int]] = []
        running: list[tuple[float, int]] = []
        count = 0
        for index, above in enumerate(missing):
            if not above:
                heappush(ready, (priorities[index], count, index))
                count += 1
        now, free = 0.0, self._workers
        uses, left = self._uses, self._limits.copy()
        lacking: list[tuple[float, int, int]] = []
        while ready or running:
            while ready and free:
                entry = heappop(ready)
                index = entry[2]
                if uses and uses[index]:
                    if not _fits(uses[index], left):
                        lacking.append(entry)
                        continue
                    for name, amount in uses[index]:
                        left[name] -= amount
                starts[index] = now
                heappush(running, (now + seconds[index], index))
                free -= 1
            now = running[0][0]
            while running and running[0][0] == now:
                index = heappop(running)[1]
                free += 1
                for name, amount in uses[index] if uses else ():
                    left[name] += amount
                for dependent in below[index]:
                    missing[dependent] -= 1
                    if not missing[dependent]:
                        heappush(ready, (priorities[dependent], count, dependent))
                        count += 1
            for entry in lacking:
                heappush(ready, entry)
            lacking.clear()
        return starts

    def _work_below(self) -> list[float]:
        """The work of each step and of all that depend on it."""
        sets: list[set[int]] = [set() for _ in self._seconds]
        for index in reversed(self._topological):
            sets[index] = {index}.union(*[sets[i] for i in self._below[index]])
        return [sum([self._seconds[i] for i in below]) for below in sets]


def _fits(uses: Sequence[tuple[str, int]], left: Mapping[str, int]) -> bool:
    return not [name for name, amount in uses if left.get(name, 0) < amount]


class FoundOrder(NamedTuple):
    """The order in which the steps of a run start. `agents` are in the order that was found; without any, the
    longest remaining path goes first, for the `reason`. `seconds` is what the run takes in the order found, and
    `path_seconds` what it takes with the longest remaining path first, both 0 where nothing was searched."""

    agents: tuple[str, ...] = ()
    seconds: float = 0.0
    path_seconds: float = 0.0
    reason: str = ""


def search_order(
    definition: Definition,
    samples: Mapping[str, Sequence[float]],
    workers: int,
    seed: str,
    more: Callable[[], bool],
) -> FoundOrder:
    """Search the order in which the steps of one task start, where it can gain something, while there is `more`
    time. `samples` are the seconds of earlier attempts by agent."""
    agents = {name: agent for name, agent in definition.agents.items() if not agent.spare}
    if reason := _unknown(definition, agents, samples):
        return FoundOrder(reason=reason)
    seconds = {name: sum(samples[name]) / len(samples[name]) for name in agents}
    needs = {name: [n for n in agent.needs if n in agents] for name, agent in agents.items()}
    limits = dict(uses_of(definition.limits.resources))
    uses = {name: uses_of(agent.uses) for name, agent in agents.items() if agent.uses}
    if not _fits([most for one in uses.values() for most in one], limits):
        return FoundOrder(reason="a step uses more of a resource than there is")
    search = OrderSearch(needs, seconds, workers, seed, uses, limits)
    if search.makespan - search.bound < WORTH:
        return FoundOrder(reason="no order is much faster")
    varies = spread([samples[name][-NEWEST:] for name in agents], list(seconds.values()))
    if varies >= STEADY:
        return FoundOrder(reason=f"durations vary too much from run to run (σ {varies:.2f})")
    search.search(more)
    gain = search.first / search.makespan - 1
    if gain <= max(SAME, HIDDEN * varies**2):
        found = "no faster order was found"
        if gain > SAME:
            found = f"the order found gains {gain:.1%}, too little for durations that vary (σ {varies:.2f})"
        return FoundOrder((), search.first, search.first, found)
    return FoundOrder(search.order, search.makespan, search.first)


def _unknown(definition: Definition, agents: Mapping[str, Agent], samples: Mapping[str, Sequence[float]]) -> str:
    """Why it is not known before the run which steps it has and how long they take; empty where it is known."""
    if len(agents) > MOST:
        return f"the workflow has more than {MOST:,} agents"
    if definition.mode != "parallel":
        return f"the mode is {definition.mode}"
    odd = [name for name, agent in agents.items() if not _runs_once(agent)]
    if odd:
        return f"when and how often {odd[0]} runs, or for how long, is known only in the run"
    if len({agent.priority for agent in agents.values()}) > 1:  # which goes before any order
        return "the agents have different priorities"
    few = [name for name in agents if len(samples.get(name, ())) < LEAST]
    return f"fewer than {LEAST} attempts of {few[0]} were measured" if few else ""


def spread(samples: Sequence[Sequence[float]], weights: Sequence[float]) -> float:
    """The standard deviation of the logarithms of durations, by which long and short agents are compared: the
    root of the mean variance of agents, each of which counts as much as its weight."""
    total = 0.0
    for taken, weight in zip(samples, weights, strict=True):
        logs = [log(max(one, 0.001)) for one in taken]
        mean = sum(logs) / len(logs)
        deviation = 0.0
        for one in logs:
            deviation += (one - mean) ** 2
        total += weight * deviation / (len(logs) - 1)
    return sqrt(total / sum(weights)) if sum(weights) > 0 else 0.0


def _runs_once(agent: Agent) -> bool:
    """Whether the agent holds a worker for one step of a task, as soon as all its needs have ended. What a model
    takes depends on its provider's limits too."""
    join = agent.join
    whole = join.kind == "all" and join.within is None and join.rest != "cancel"
    once = agent.when is None and agent.each is None and agent.repeat is None
    return whole and once and agent.does.holds_worker and not isinstance(agent.does, Dispatch | Prompt)
