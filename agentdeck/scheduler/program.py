"""A definition compiled for the scheduler: indices for names, compiled expressions, and the order of steps."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence

from agentdeck.scheduler.resources import Resources, uses_of
from agentdeck.workflow import graph
from agentdeck.workflow.expressions import Expression, Template
from agentdeck.workflow.model import (
    PRIORITIES,
    Agent,
    Data,
    Definition,
    Dispatch,
    Prompt,
)

#: How many durations of an agent's last attempts an adaptive timeout considers: at most, and at least.
SEEN, LEAST = 200, 20
#: `timeout: auto` is this quantile of the durations of attempts that ended well, times this factor. Untuned: p95
#: leaves out single outliers, and half as much again leaves room for slow answers that are no fault.
SHARE, SLACK = 0.95, 1.5
#: After so many attempts it is known how long an agent takes.
LEARNED = 16
#: A prompt of so many characters is assumed to take twice as long as an empty one. Untuned.
LONG = 4000
#: Functions in expressions that read how the needs of a step ended.
REPORTS = ("missing(", "status(", "error(")


class Rule:
    """One agent as the scheduler sees it.

    What an operator can change while a run executes (`attempts`, `attempt_timeout`, `limit`) is mutable;
    everything else stays as compiled. `live` counts attempts that hold a worker, `reserving` those whose
    reservation is requested. `uses` is what each attempt takes of resources. `metered`: attempts are reserved
    before they start. `checked`: steps are checked before they start, since they may be dropped or have to wait
    for one another. `composite`: `Expansion` decides first what a ready step becomes. `timed_joins` are the
    dependents whose join has a `within`. `durations` are the seconds of the last attempts, where an adaptive
    timeout (`auto`) needs them. `rank` orders the ready steps of a task: the longest remaining path (negated),
    or the place in an order that was searched. `place` orders those of the same rank: first those that more steps
    need. `work` are the seconds for which a step holds a worker. `is_call`: its steps need none, as the attempt
    that makes the call has one. `learns`: how long it takes is not known yet;
    `measured` attempts took `taken` seconds in all.
    """

    def __init__(self, agent: Agent, index: int, seconds: float, remaining: float) -> None:
        self.agent = agent
        self.index = index
        self.name = agent.name
        self.remaining = self.rank = -remaining
        self.place = index
        self.priority = PRIORITIES[agent.priority]
        self.join = agent.join
        self.spare = agent.spare
        self.slot = agent.does.holds_worker
        self.is_call = agent.does.is_call
        self.learns = False
        self.measured = 0
        self.taken = 0.0
        self.work = 0.0
        self.set_seconds(seconds)
        self.when = Expression(agent.when) if agent.when else None
        self.each = Expression(agent.each) if agent.each else None
        self.until = Expression(agent.repeat.until) if agent.repeat else None
        self.on = Expression(agent.does.on) if isinstance(agent.does, Dispatch) else None
        self.rounds = bool(agent.repeat) or agent.join.kind == "progressive"
        self.composite = bool(self.when or self.each or not self.slot)
        self.attempts = agent.retry.attempts
        self.attempt_timeout = agent.timeout.attempt if self.slot else None
        self.limit = agent.max_parallel
        self.uses = uses_of(agent.uses) if self.slot else ()
        self.live = 0
        self.metered = False
        self.checked = self.priority > 0
        self.reserving = 0
        self.auto = self.slot and agent.timeout.auto
        self.durations: deque[float] | None = deque(maxlen=SEEN) if self.auto else None
        self.reports = False
        self.needs: tuple[int, ...] = ()
        self.upstream: tuple[int, ...] = ()
        self.dependents: tuple[int, ...] = ()
        self.timed_joins: tuple[int, ...] = ()
        self.targets: tuple[int, ...] = ()
        self.fallback: Rule | None = None
        self.leaf = False

    def set_seconds(self, seconds: float) -> None:
        """Set how long an attempt takes, as far as is known."""
        self.seconds = seconds
        self.work = seconds if self.slot and not self.spare and not self.is_call else 0.0


class Program:
    """The rules of one workflow. `nested` holds, by agent name, the programs of its sub-workflows, and those of
    the calls that attempts make through the gateway.

    `seconds` are the durations that order ready steps: those of earlier runs, else as simulated, else one second
    each. `serial`: the steps of a task run one after another. `path` are the seconds of the longest path of a
    task, `own_work` those for which its steps hold workers, `work` the same with the steps of its sub-workflows.
    """

    def __init__(
        self,
        definition: Definition,
        seconds: Mapping[str, float] | None = None,
        nested: Mapping[str, Program] | None = None,
    ) -> None:
        self.definition = definition
        self.nested = nested or {}
        agents = definition.agents
        needs: dict[str, Sequence[str]] = {name: agent.needs for name, agent in agents.items()}
        below = graph.dependents(needs)
        known: dict[str, float] = {
            name: program.path for name, program in self.nested.items() if not agents[name].does.holds_worker
        }
        known |= seconds or {}
        taken = _estimated(definition, known)
        left = graph.remaining(needs, taken, below)
        self.rules = [Rule(agent, i, taken[name], left[name]) for i, (name, agent) in enumerate(agents.items())]
        for rule in self.rules:
            unknown = rule.name not in known and rule.agent.does.seconds() is None
            rule.learns = rule.slot and unknown and not rule.is_call
        self._known = known
        self._measured, self._due = 0, max(1, len(agents) // 2)
        self.index = {rule.name: rule.index for rule in self.rules}
        at, clocks = self.index.__getitem__, any(rule.join.within is not None for rule in self.rules)
        for rule in self.rules:
            rule.needs = tuple(map(at, rule.agent.needs))
            far = self._distant_references(rule)
            rule.upstream = tuple(dict.fromkeys((*rule.needs, *far))) if far else rule.needs
            rule.dependents = tuple([at(n) for n in below[rule.name] if not agents[n].spare])
            rule.leaf = not rule.dependents and not rule.spare
            if clocks:
                rule.timed_joins = tuple([i for i in rule.dependents if self.rules[i].join.within is not None])
            if rule.agent.on_error.fallback:
                rule.fallback = self.rules[self.index[rule.agent.on_error.fallback]]
            if isinstance(rule.agent.does, Dispatch):
                does = rule.agent.does
                rule.targets = tuple(
                    {self.index[n]: None for n in [*does.cases.values(), *filter(None, [does.otherwise])]}
                )
        for place, rule in enumerate(sorted(self.rules, key=lambda rule: (-len(rule.dependents), rule.index))):
            rule.place = place
        self.path: float = 0.0
        self.own_work: float = 0.0
        self.work: float = 0.0
        self._add_up()
        self.size = sum(not rule.spare for rule in self.rules)
        self.serial = definition.mode == "sequential"
        if self.serial:
            for rule in self.rules:
                rule.checked = True
        self.leaves = tuple(rule.index for rule in self.rules if rule.leaf)
        self.output = Template(definition.output) if definition.output is not None else None
        self.reports = any(word in repr(definition.output) for word in REPORTS)

    def measure(self, rule: Rule, seconds: float) -> bool:
        """Note how long an attempt of an agent took that `learns`. Returns whether all paths and the rank of each
        agent follow from new durations now. That takes time, so it is done when twice as many were measured."""
        rule.measured += 1
        rule.taken += seconds
        rule.learns = rule.measured < LEARNED
        self._measured += 1
        if self._measured < self._due:
            return False
        self._due = 2 * self._measured
        agents = self.definition.agents
        seen = {rule.name: rule.taken / rule.measured for rule in self.rules if rule.measured}
        taken = _estimated(self.definition, self._known | seen)
        left = graph.remaining({name: agent.needs for name, agent in agents.items()}, taken)
        for rule in self.rules:
            rule.remaining = rule.rank = -left[rule.name]
            rule.set_seconds(taken[rule.name])
        self._add_up()
        return True

    def _add_up(self) -> None:
        """Set the seconds of a task."""
        self.path = max([-rule.remaining for rule in self.rules], default=0.0)
        self.own_work = sum([rule.work for rule in self.rules])
        self.work = self.own_work
        for program in self.nested.values():
            self.work += program.work

    def start_in(self, order: Sequence[str]) -> None:
        """Order ready steps as these agents; the others, or all of them, by their longest remaining paths."""
        for rule in self.rules:
            rule.rank = rule.remaining
        for place, name in enumerate(order):
            self.rules[self.index[name]].rank = float(place)

    def all_rules(self) -> Iterator[Rule]:
        """The rules of this workflow and of its sub-workflows."""
        yield from self.rules
        for nested in self.nested.values():
            yield from nested.all_rules()

    def below(self, above: str = "") -> Iterator[tuple[str, Definition]]:
        """All sub-workflows with their path."""
        for name, nested in self.nested.items():
            yield f"{above}{name}", nested.definition
            yield from nested.below(f"{above}{name}/")

    def definitions(self) -> Iterator[Definition]:
        """The workflow and all its sub-workflows."""
        yield self.definition
        for _, nested in self.below():
            yield nested

    def resources(self) -> dict[str, float]:
        """The amount of each resource: that of the workflow, else the lowest of its sub-workflows."""
        found = dict(self.definition.limits.resources)
        for _, nested in self.below():
            for name, limit in nested.limits.resources.items():
                if name not in self.definition.limits.resources:
                    found[name] = min(limit, found.get(name, limit))
        return found

    def shared_resources(self) -> Resources:
        """The resources of a run, with nothing in use."""
        limits = {name: Resources.UNLIMITED for rule in self.all_rules() for name, _ in rule.uses}
        return Resources({**limits, **dict(uses_of(self.resources()))})

    def reserve_prompts(self, reserve: bool) -> None:
        """Set whether prompts, also those of sub-workflows, are reserved before they start."""
        for rule in self.all_rules():
            rule.metered = reserve and isinstance(rule.agent.does, Prompt)
            rule.checked |= rule.metered

    def _distant_references(self, rule: Rule) -> list[int]:
        """Indices of agents that the expressions of this one name. Sets `rule.reports`: whether they read how its
        needs ended."""
        agent = rule.agent
        own = agent.does.templates()
        texts = [agent.when, agent.each, agent.expect, agent.repeat.until if agent.repeat else None]
        texts += agent.does.expressions()
        values: list[Data] = [value for value in (agent.with_, agent.once, own) if value]
        if not values and not any(texts):
            return []  # the usual case: nothing to compile
        references = [Expression(text).references for text in texts if text]
        references += [Template(value).references for value in values]
        rule.reports = any(word in repr((texts, values)) for word in REPORTS) if references else False
        found = {ref[0] for refs in references for ref in refs}
        return sorted(self.index[name] for name in found if name in self.index and name != agent.name)


def assumed(definition: Definition, seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds that each agent takes: those of earlier runs, else as simulated, else one."""
    written = {name: agent.does.seconds() for name, agent in definition.agents.items()}
    return {name: seconds.get(name, 1.0 if own is None else own) for name, own in written.items()}


def _estimated(definition: Definition, known: Mapping[str, float]) -> dict[str, float]:
    """Seconds that each agent takes: `known`, else as simulated, else as much as the known agents on average. Of
    prompts, a longer one is assumed to take longer."""
    lengths = {name: _length(agent) for name, agent in definition.agents.items()}
    ratios = [seconds / lengths[name] for name, seconds in known.items() if name in lengths]
    usual = sum(ratios) / len(ratios) if ratios else 1.0
    unknown = {name: lengths[name] * usual for name, a in definition.agents.items() if a.does.seconds() is None}
    return assumed(definition, unknown | dict(known))


def _length(agent: Agent) -> float:
    """How long an agent takes beside others of which nothing is known either."""
    does = agent.does
    return 1.0 + len(does.text + (does.system or "")) / LONG if isinstance(does, Prompt) else 1.0


def auto_timeout(seconds: Collection[float]) -> float | None:
    """The timeout that follows from the durations of earlier attempts. None while there are fewer than LEAST."""
    if len(seconds) < LEAST:
        return None
    return max(0.001, quantile(seconds, SHARE) * SLACK)


def quantile(seconds: Collection[float], share: float) -> float:
    """The quantile by nearest rank: this share of the values does not exceed it."""
    return sorted(seconds)[max(0, math.ceil(share * len(seconds)) - 1)]
