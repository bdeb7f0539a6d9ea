"""What the view counts for one agent."""

from __future__ import annotations

import math
from collections.abc import Iterable

from agentdeck.scheduler.events import Usage

STATES = ("waiting", "ready", "running", "done", "failed", "skipped", "cancelled")
_NONE = dict.fromkeys(STATES, 0)
#: As screens tell them apart: a step that asks a person is not work, and a rejected approval is not done.
DISPLAY_STATES = ("waiting", "ready", "running", "asking", "done", "rejected", "failed", "skipped", "cancelled")

EXACT = 200
_STEP = math.log(1.05)
_LEAST = 1e-6


class Durations:
    """A sample of seconds in bounded memory.

    Quantiles are exact up to EXACT values, and within 2.5 % beyond: logarithmic buckets, each 5 % wide, as in
    HdrHistogram and DDSketch. Count, sum and extremes are always exact. `last` holds the newest EXACT values.
    """

    __slots__ = ("_buckets", "count", "high", "last", "low", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.low = math.inf
        self.high = 0.0
        self.last: list[float] = []  # a list: an empty deque takes 600 bytes, and most agents run once
        self._buckets: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total += seconds
        if seconds < self.low:
            self.low = seconds
        if seconds > self.high:
            self.high = seconds
        if self.count > EXACT:
            if not self._buckets:
                for value in self.last:
                    self._bucket(value)
            self._bucket(seconds)
            del self.last[0]
        self.last.append(seconds)

    def _bucket(self, seconds: float) -> None:
        index = int(math.log(seconds) // _STEP) if seconds > _LEAST else int(math.log(_LEAST) // _STEP)
        self._buckets[index] = self._buckets.get(index, 0) + 1

    @property
    def mean(self) -> float | None:
        """None while there is nothing."""
        return self.total / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """The smallest value that `share` of all do not exceed (nearest rank). None while there is nothing."""
        if not self.count:
            return None
        rank = max(1, math.ceil(share * self.count))
        if self.count <= EXACT:
            return sorted(self.last)[rank - 1]
        for index in sorted(self._buckets):
            rank -= self._buckets[index]
            if rank <= 0:
                return min(self.high, max(self.low, math.exp((index + 0.5) * _STEP)))
        return self.high


class GraphTotals:
    """The tasks that go through one graph: the run's own (prefix empty), or those of a sub-workflow under one
    agent (`review/`). `opened` is how many there were; `agents` finds the tally of a step by its key."""

    __slots__ = ("agents", "opened", "prefix")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.opened = 0
        self.agents: dict[str, AgentTotals] = {}


class AgentTotals:
    """Counters of one agent. What concerns steps counts for the agent they belong to; what concerns attempts
    counts for the agent that did the work, which is another one for a fallback.

    `counts["waiting"]` is kept as a difference to the number of tasks opened: read `steps` instead.
    `simulates`: it is a `simulate` agent. `unpriced`: a model of it has no price; `unreported` counts calls whose
    provider did not say what they used.
    `holds`: whether its attempts hold a worker, so that their time is work. `rounds`: whether an attempt that
    ended well may be followed by another one, so that only `StepDone` ends the step. `eased` counts the attempts
    that a low budget made cheaper, by how, and the steps that it dropped. `spoilt` are those of its failed steps
    that were never tried, because what they need failed. `estimated` counts the attempts whose use was estimated
    in part: they were cut, cancelled or lost. `asks`: its steps ask a person; `rejected` of those that are done
    were rejected.
    """

    __slots__ = (
        "asks",
        "attempts",
        "blocked",
        "busy",
        "cached_in",
        "counts",
        "durations",
        "eased",
        "estimated",
        "failed_attempts",
        "graph",
        "has_steps",
        "input_bytes",
        "lost",
        "name",
        "rejected",
        "reused",
        "rounds",
        "simulates",
        "tokens_in",
        "tokens_out",
        "uncompared",
        "unpriced",
        "unreported",
        "usd",
        "usd_reasoning",
        "uses_worker",
        "waiting",
    )  # fmt: skip

    def __init__(self, name: str, family: GraphTotals, *, own: bool = False) -> None:
        self.name = name
        self.graph = family
        self.has_steps = own
        self.uses_worker = True
        self.rounds = self.simulates = self.asks = False
        self.rejected = 0
        self.counts = _NONE.copy()
        self.attempts = self.failed_attempts = self.lost = self.reused = self.blocked = 0
        self.durations = Durations()
        self.busy = 0.0
        self.waiting: dict[str, float] = {}
        self.input_bytes = 0
        self.eased: dict[str, int] = {}
        self.estimated = 0
        self.tokens_in: int | None = None
        self.cached_in: int | None = None
        self.tokens_out: int | None = None
        self.usd: float | None = None
        self.usd_reasoning: float | None = None
        self.unpriced = self.uncompared = False
        self.unreported = 0

    @property
    def steps(self) -> dict[str, int]:
        """Steps by state. A spare agent has none of its own."""
        counts = dict(self.counts)
        counts["waiting"] += self.graph.opened if self.has_steps else 0
        return counts

    @property
    def costs_unknown(self) -> bool:
        """Whether some call cost something that is not known."""
        return self.unpriced or self.unreported > 0

    @property
    def display_counts(self) -> dict[str, int]:
        """Steps by state as screens tell them apart."""
        counts = self.steps
        asking = counts["running"] if self.asks else 0
        rejected = min(self.rejected, max(0, counts["done"]))
        more = {"asking": asking, "rejected": rejected}
        less = {"running": asking, "done": rejected}
        return {state: counts.get(state, 0) + more.get(state, 0) - less.get(state, 0) for state in DISPLAY_STATES}

    @property
    def typical(self) -> float | None:
        """Seconds of an attempt: the mean of those that ended well; where none did, at least what they ran until
        they failed or were cancelled. None where none has ended."""
        mean = self.durations.mean
        return self.busy / self.attempts if mean is None and self.busy and self.attempts else mean

    @property
    def cost(self) -> float | None:
        """What it cost. None where nothing was priced, or where any attempt's price is unknown."""
        return None if self.costs_unknown else self.usd

    @property
    def cost_all_reasoning(self) -> float | None:
        """What the same work would have cost on the reasoning tier; None where any price is not known."""
        return None if self.costs_unknown or self.uncompared else self.usd_reasoning

    def waited(self, reason: str, seconds: float) -> None:
        if seconds > 0:
            self.waiting[reason] = self.waiting.get(reason, 0.0) + seconds

    def ease(self, how: str) -> None:
        self.eased[how] = self.eased.get(how, 0) + 1

    def used(self, usage: Usage) -> None:
        """Add what one attempt used. A price that is not known makes the whole unknown, never less."""
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


def total_cost(costs: Iterable[tuple[bool, float | None]]) -> float | None:
    """The sum of (unpriced, cost). None where nothing was priced, or any price is unknown."""
    total: float | None = None
    for unpriced, cost in costs:
        if unpriced:
            return None
        if cost is not None:
            total = (total or 0.0) + cost
    return total
