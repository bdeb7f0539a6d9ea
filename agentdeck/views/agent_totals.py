"""Counters of each agent of a run, and their sums."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from agentdeck.scheduler.events import Usage
from agentdeck.views.place_workers import counted
from agentdeck.workflow.deck import LOCAL
from agentdeck.workflow.model import Agent, Approve, Definition

STATES = ("waiting", "ready", "running", "done", "failed", "skipped", "cancelled")
_NONE = dict.fromkeys(STATES, 0)
#: The states that screens distinguish: a step that asks the operator is no work, a rejected approval is not done.
DISPLAY_STATES = ("waiting", "ready", "running", "asking", "done", "rejected", "failed", "skipped", "cancelled")

EXACT = 200
_STEP = math.log(1.05)
_LEAST = 1e-6


class Durations:
    """A sample of seconds in bounded memory.

    Quantiles are exact up to EXACT values, and within 2.5 % beyond: logarithmic buckets, each 5 % wide, as in
    HdrHistogram and DDSketch. Count, sum and extremes are always exact. `last` holds the newest EXACT values.
    """

    __slots__ = ("buckets", "count", "high", "last", "low", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.low = math.inf
        self.high = 0.0
        self.last: list[float] = []  # a list: an empty deque takes 600 bytes, and most agents run once
        self.buckets: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total += seconds
        if seconds < self.low:
            self.low = seconds
        if seconds > self.high:
            self.high = seconds
        if self.count > EXACT:
            if not self.buckets:
                for value in self.last:
                    self._bucket(value)
            self._bucket(seconds)
            del self.last[0]
        self.last.append(seconds)

    def _bucket(self, seconds: float) -> None:
        index = int(math.log(seconds) // _STEP) if seconds > _LEAST else int(math.log(_LEAST) // _STEP)
        self.buckets[index] = self.buckets.get(index, 0) + 1

    @property
    def mean(self) -> float | None:
        """None without values."""
        return self.total / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """The smallest value that `share` of all do not exceed (nearest rank). None without values."""
        if not self.count:
            return None
        rank = max(1, math.ceil(share * self.count))
        if self.count <= EXACT:
            return sorted(self.last)[rank - 1]
        for index in sorted(self.buckets):
            rank -= self.buckets[index]
            if rank <= 0:
                return min(self.high, max(self.low, math.exp((index + 0.5) * _STEP)))
        return self.high


@dataclass(slots=True, eq=False)
class GraphTotals:
    """The agents of one graph: the workflow of the run (prefix empty), or that of a sub-workflow under an agent
    (prefix `review/`). `opened` is the number of tasks opened in it; `agents` is by the agent's own name."""

    prefix: str
    opened: int = 0
    agents: dict[str, AgentTotals] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class AgentTotals:
    """Counters of one agent. Steps count for the agent they belong to. Attempts count for the agent that did the
    work, which is another one for a fallback.

    `counts["waiting"]` is a difference to the number of tasks opened: read `steps` instead.
    `has_steps` is False for a spare agent. `simulates`: it is a `simulate` agent. `uses_worker`: its attempts
    hold a worker, so their time is work. `rounds`: only `StepDone` ends its steps. `asks`: its steps ask the
    operator; `rejected` of those that are done were rejected. `questions` of its running steps ask while they do
    other work. `blocked` are the failed steps that never ran, because a need failed. `eased` counts the attempts
    that a low budget made cheaper, by how, and the steps that it dropped. `estimated` counts the attempts whose
    usage is partly estimated: they were cut, cancelled or lost. `place` is where its attempts run, empty for the
    engine's process; `workers` counts those that each worker of the place has begun. `unpriced`: a model of it
    has no price; `unreported` counts calls whose provider did not report the usage.
    """

    name: str
    graph: GraphTotals
    has_steps: bool = False
    uses_worker: bool = True
    rounds: bool = False
    simulates: bool = False
    asks: bool = False
    place: str = ""
    workers: dict[str, int] = field(default_factory=dict)
    questions: int = 0
    rejected: int = 0
    counts: dict[str, int] = field(default_factory=_NONE.copy)
    attempts: int = 0
    failed_attempts: int = 0
    lost: int = 0
    reused: int = 0
    blocked: int = 0
    durations: Durations = field(default_factory=Durations)
    busy: float = 0.0
    waiting: dict[str, float] = field(default_factory=dict)
    input_bytes: int = 0
    eased: dict[str, int] = field(default_factory=dict)
    estimated: int = 0
    tokens_in: int | None = None
    cached_in: int | None = None
    tokens_out: int | None = None
    usd: float | None = None
    usd_reasoning: float | None = None
    unpriced: bool = False
    uncompared: bool = False
    unreported: int = 0

    @property
    def steps(self) -> dict[str, int]:
        """Steps by state. A spare agent has none."""
        counts = dict(self.counts)
        counts["waiting"] += self.graph.opened if self.has_steps else 0
        return counts

    @property
    def costs_unknown(self) -> bool:
        """Whether the cost of any call is not known."""
        return self.unpriced or self.unreported > 0

    @property
    def display_counts(self) -> dict[str, int]:
        """Steps by DISPLAY_STATES."""
        counts = self.steps
        asking = counts["running"] if self.asks else self.questions
        rejected = min(self.rejected, max(0, counts["done"]))
        more = {"asking": asking, "rejected": rejected}
        less = {"running": asking, "done": rejected}
        return {state: counts.get(state, 0) + more.get(state, 0) - less.get(state, 0) for state in DISPLAY_STATES}

    @property
    def busy_workers(self) -> int:
        """The number of its steps that hold a worker."""
        return self.counts["running"] - self.questions if self.uses_worker else 0

    @property
    def typical(self) -> float | None:
        """Seconds of an attempt: the mean of those that ended well; without any, at least the time the others ran
        until they failed or were cancelled. None where no attempt has ended."""
        mean = self.durations.mean
        return self.busy / self.attempts if mean is None and self.busy and self.attempts else mean

    @property
    def cost(self) -> float | None:
        """The cost in dollars. None where nothing was priced, or where any attempt's price is unknown."""
        return None if self.costs_unknown else self.usd

    @property
    def cost_all_reasoning(self) -> float | None:
        """The cost of the same work on the reasoning tier; None where any price is not known."""
        return None if self.costs_unknown or self.uncompared else self.usd_reasoning

    def add_wait(self, reason: str, seconds: float) -> None:
        if seconds > 0:
            self.waiting[reason] = self.waiting.get(reason, 0.0) + seconds

    def add_placed(self, worker: str) -> None:
        name = counted(worker, self.workers)
        self.workers[name] = self.workers.get(name, 0) + 1

    def add_eased(self, how: str) -> None:
        self.eased[how] = self.eased.get(how, 0) + 1

    def add_usage(self, usage: Usage) -> None:
        """Add the usage of one attempt. A price that is not known makes the sum unknown, never less."""
        self.estimated += usage.estimated
        if usage.tokens_in is not None:
            self.tokens_in = (self.tokens_in or 0) + usage.tokens_in
        if usage.cached_in is not None:
            self.cached_in = (self.cached_in or 0) + usage.cached_in
        if usage.tokens_out is not None:
            self.tokens_out = (self.tokens_out or 0) + usage.tokens_out
        if usage.usd is not None:
            self.usd = (self.usd or 0.0) + usage.usd
            self.uncompared |= usage.usd_reasoning is None
            self.usd_reasoning = (self.usd_reasoning or 0.0) + (usage.usd_reasoning or 0.0)
        elif usage.model and (usage.tokens_in is None or usage.tokens_out is None):
            self.unreported += 1
        elif usage.tokens_in is not None or usage.tokens_out is not None:
            self.unpriced = True


class RunTotals:
    """The totals of all agents of a run, by graph. Agents without a definition (those of sub-workflows, and all
    where the definition is not known) are added when the log first names them."""

    def __init__(self, definition: Definition | None) -> None:
        self.definition = definition
        self.graphs = {"": GraphTotals("")}
        #: What happened inside attempts, by the agent or inner step around it: `review/`. What it used is counted
        #: for the agent, too.
        self.inside: dict[str, GraphTotals] = {}
        if definition is not None:
            for name in definition.agents:
                self.agent(self.graphs[""], name)

    @property
    def agents(self) -> dict[str, AgentTotals]:
        """All agents by name, the workflow's own first; nested ones as `review/security`."""
        return {one.name: one for graph in self.graphs.values() for one in graph.agents.values()}

    @property
    def inner(self) -> dict[str, AgentTotals]:
        """What happened inside attempts, by agent and name: `review/critic`."""
        return {one.name: one for graph in self.inside.values() for one in graph.agents.values()}

    def steps(self) -> dict[str, int]:
        """Steps by state, over all agents."""
        sums: Counter[str] = Counter()
        for totals in self.agents.values():
            sums.update(totals.steps)
        return dict(sums)

    def graph(self, prefix: str) -> GraphTotals:
        """The totals of a sub-workflow's graph."""
        graph = self.graphs.get(prefix)
        if graph is None:
            graph = self.graphs[prefix] = GraphTotals(prefix)
        return graph

    def inner_graph(self, name: str) -> GraphTotals:
        """The totals of the inner steps below an agent or an inner step."""
        prefix = name + "/"
        graph = self.inside.get(prefix)
        if graph is None:
            graph = self.inside[prefix] = GraphTotals(prefix)
        return graph

    def inner_below(self, name: str) -> list[AgentTotals]:
        """The totals of the inner steps directly below an agent or an inner step, as they first began."""
        graph = self.inside.get(name + "/")
        return list(graph.agents.values()) if graph is not None else []

    def inner_around(self, inner: AgentTotals) -> AgentTotals | None:
        """The totals of the inner steps around these; None where that is their agent."""
        above, _, name = inner.graph.prefix[:-1].rpartition("/")
        graph = self.inside.get(above + "/")
        return graph.agents.get(name) if graph is not None else None

    def inner_tree(
        self, name: str, hidden: Collection[str] = (), depth: int = 1
    ) -> Iterator[tuple[int, AgentTotals]]:
        """The totals of all inner steps below an agent or an inner step, each with its depth, followed by those
        inside it; of those in `hidden` without what is inside."""
        for inner in self.inner_below(name):
            yield depth, inner
            if inner.name not in hidden:
                yield from self.inner_tree(inner.name, hidden, depth + 1)

    def agent(self, graph: GraphTotals, name: str, *, has_steps: bool = True) -> AgentTotals:
        """The totals of an agent of this graph. `has_steps`: a step of its own is meant, not a fallback."""
        totals = graph.agents.get(name)
        if totals is None:
            totals = graph.agents[name] = AgentTotals(graph.prefix + name, graph, has_steps=has_steps)
            agent = self.definition.agents.get(name) if self.definition and not graph.prefix else None
            if agent is not None:
                _describe(totals, agent)
        elif has_steps and not totals.has_steps:
            totals.has_steps = True
        return totals


def _describe(totals: AgentTotals, agent: Agent) -> None:
    totals.has_steps = not agent.spare
    totals.uses_worker = agent.does.holds_worker
    totals.simulates = agent.does.simulated
    totals.place = "" if agent.place == LOCAL else agent.place
    totals.asks = isinstance(agent.does, Approve)
    totals.rounds = agent.repeat is not None or agent.join.kind == "progressive"


def total_cost(costs: Iterable[tuple[bool, float | None]]) -> float | None:
    """The sum of (unpriced, cost). None where nothing was priced, or any price is unknown."""
    total: float | None = None
    for unpriced, cost in costs:
        if unpriced:
            return None
        if cost is not None:
            total = (total or 0.0) + cost
    return total
