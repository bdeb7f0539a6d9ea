"""A LangGraph graph as it was found, and what follows from it: when each node runs, and what it sees.

LangGraph runs in supersteps. A node runs one superstep after a node with an edge to it; one that is reached by
paths of different length runs several times. The state that it sees holds what all supersteps before it wrote,
whether there is an edge or not.

A path is how a node is reached: the number of its superstep, and the choices of conditional edges on the way. Two
paths exclude each other if they differ in a choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key
from itertools import pairwise, product
from typing import NamedTuple

from agentdeck.importing.imported import Findings, Place
from agentdeck.workflow import graph as graphs
from agentdeck.workflow.model import Data
from agentdeck.workflow.wording import likely_fix

START, END = "__start__", "__end__"
#: More nodes would need more references than a workflow file can hold, more paths more time than is sensible.
MAX_NODES, MAX_PATHS = 300, 64
WHOLE = "run the graph as one agent: python: {target}"


@dataclass(slots=True)
class Node:
    """A node. `goes` are the targets of its commands (`Command(goto=…)`); it may choose `many` at once."""

    name: str
    place: Place
    goes: tuple[str, ...] = ()
    many: bool = False
    defer: bool = False


@dataclass(slots=True)
class Branch:
    """Conditional edges: a function chooses one of `ends`, or `many`. `sends` are nodes it starts by `Send`."""

    source: str
    ends: tuple[str, ...]
    place: Place
    sends: tuple[str, ...] = ()
    many: bool = False


@dataclass(slots=True)
class StateGraph:
    """A graph. `edges` are (source, target); `waiting` are edges with several sources, all of which have to run.
    `inputs` are the fields of its input, with their types."""

    name: str
    target: str
    place: Place
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[tuple[str, str], Place] = field(default_factory=dict)
    waiting: dict[tuple[tuple[str, ...], str], Place] = field(default_factory=dict)
    branches: list[Branch] = field(default_factory=list)
    inputs: dict[str, Data] = field(default_factory=dict)

    def loops(self) -> list[str]:
        """The nodes whose conditional edges may choose themselves."""
        return list(
            dict.fromkeys(branch.source for branch in self.all_branches() if branch.source in branch.ends)
        )

    def all_branches(self) -> list[Branch]:
        """The conditional edges, and the commands of nodes, which are conditional edges too."""
        commands = [Branch(n.name, n.goes, n.place, many=n.many) for n in self.nodes.values() if n.goes]
        return [*self.branches, *commands]


class Choice(NamedTuple):
    """That conditional edges have chosen this target. Two choices of the same `by` exclude each other."""

    by: str
    target: str


class GraphPath(NamedTuple):
    """A way to reach a node."""

    step: int
    choices: frozenset[Choice]

    def with_choice(self, other: GraphPath) -> GraphPath | None:
        """Both ways together; None where they exclude each other."""
        choices = self.choices | other.choices
        if len({choice.by for choice in choices}) < len(choices):
            return None
        return GraphPath(max(self.step, other.step), choices)


@dataclass(slots=True)
class Schedule:
    """When nodes run, in their order. `sees` are the nodes that wrote before a node, a list per superstep."""

    paths: dict[str, list[GraphPath]] = field(default_factory=dict)
    sees: dict[str, list[list[str]]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def always(self, node: str) -> bool:
        """Whether a node runs whatever is chosen."""
        return any(not path.choices for path in self.paths[node])


def schedule(graph: StateGraph, findings: Findings) -> Schedule:
    """When each node of the graph runs. What a workflow cannot do in the same way is a fault."""
    found = Schedule()
    whole = WHOLE.format(target=graph.target)
    if len(graph.nodes) > MAX_NODES:
        findings.fault(graph.place, f"{len(graph.nodes)} nodes; the most is {MAX_NODES}", whole)
        return found
    _check_names(graph, findings)
    findings.raise_faults()
    needs = _sources(graph)
    loop = graphs.cycle({name: tuple(found) for name, found in needs.items()})
    if loop is not None:
        loop = loop[::-1]
        what = f"a cycle: {' -> '.join(loop)}; its end is decided by code"
        findings.fault(_edge_place(graph, loop), what, whole)
        return found
    found.order = _ordered(graph, needs, findings)
    for name in found.order:
        paths = _paths(graph, name, found, findings)
        found.paths[name] = paths
    findings.raise_faults()
    _check_loops(graph, found, findings)
    findings.raise_faults()
    for name in [*found.order, END]:
        found.sees[name] = _seen(graph, name, found, findings)
    return found


def _check_names(graph: StateGraph, findings: Findings) -> None:
    """Notes edges to nodes that do not exist."""
    sources, targets = {*graph.nodes, START}, {*graph.nodes, END}
    pairs = [(ends, place) for ends, place in graph.edges.items()]
    pairs += [((one, end), place) for (starts, end), place in graph.waiting.items() for one in starts]
    pairs += [((one.source, end), one.place) for one in graph.all_branches() for end in (*one.ends, *one.sends)]
    for (source, target), place in pairs:
        if source not in sources:
            findings.fault(place, f"there is no node {source}", likely_fix(source, graph.nodes))
        if target not in targets:
            findings.fault(place, f"there is no node {target}", likely_fix(target, graph.nodes))
    sent = {name for branch in graph.branches for name in branch.sends}
    chosen = {end for (_, end) in graph.edges} | {end for (_, end) in graph.waiting}
    chosen |= {end for branch in graph.all_branches() for end in branch.ends}
    for name in sent & chosen:
        findings.fault(
            graph.nodes[name].place,
            f"{name} is reached by an edge and by Send",
            WHOLE.format(target=graph.target),
        )
    for name in sent & {branch.source for branch in graph.all_branches()}:
        what = f"{name} is started by Send and has conditional edges of its own"
        findings.fault(graph.nodes[name].place, what, WHOLE.format(target=graph.target))


def _sources(graph: StateGraph) -> dict[str, set[str]]:
    """The nodes with an edge to each node."""
    found: dict[str, set[str]] = {name: set() for name in graph.nodes}
    for source, target in graph.edges:
        if target != END and source != START:
            found[target].add(source)
    for starts, target in graph.waiting:
        if target != END:
            found[target].update(starts)
    for branch in graph.all_branches():
        for target in (*branch.ends, *branch.sends):
            if target not in (END, branch.source) and branch.source != START:
                found[target].add(branch.source)
    return found


def _edge_place(graph: StateGraph, loop: Sequence[str]) -> Place:
    """Where one of the edges of a cycle stands: a conditional one, if there is one."""
    pairs = {*pairwise(loop)}
    for branch in graph.all_branches():
        if any((branch.source, end) in pairs for end in branch.ends):
            return branch.place
    return next((place for ends, place in graph.edges.items() if ends in pairs), graph.place)


def _ordered(graph: StateGraph, needs: Mapping[str, set[str]], findings: Findings) -> list[str]:
    """The nodes after their sources. The node that is deferred, and what comes after it, are last."""
    deferred = [node for node in graph.nodes.values() if node.defer]
    for node in deferred[1:]:
        what = f"{deferred[0].name} and {node.name} are both deferred"
        findings.fault(node.place, what, WHOLE.format(target=graph.target))
    after = {node.name for node in deferred}
    while more := {name for name, found in needs.items() if found & after} - after:
        after |= more
    order: list[str] = []
    waiting = {name: set(found) for name, found in needs.items()}
    while waiting:
        ready = [name for name, found in waiting.items() if not found & waiting.keys()]
        early = [name for name in ready if name not in after or not (waiting.keys() - after)]
        for name in early:
            del waiting[name]
        order += early
    return order


def _paths(graph: StateGraph, name: str, found: Schedule, findings: Findings) -> list[GraphPath]:
    """The ways to reach a node; a fault if it could be reached twice in a run."""
    start = [GraphPath(0, frozenset())]
    reached: dict[GraphPath, None] = {}
    for source, target in graph.edges:
        if target == name:
            reached.update(dict.fromkeys(start if source == START else found.paths[source]))
    for number, branch in enumerate(graph.all_branches()):
        if name in (*branch.ends, *branch.sends) and name != branch.source:
            one = name in branch.ends and not branch.many
            choice = frozenset([Choice(str(number) if one else f"{number} {name}", name)])
            for path in start if branch.source == START else found.paths[branch.source]:
                reached[GraphPath(path.step, path.choices | choice)] = None
    for starts, target in graph.waiting:
        if target == name:
            for ways in product(*(found.paths[one] for one in starts)):
                both: GraphPath | None = ways[0]
                for way in ways[1:]:
                    both = both and both.with_choice(way)
                if both is not None:
                    reached[both] = None
                if len(reached) > MAX_PATHS:
                    break
    paths = [GraphPath(path.step + 1, path.choices) for path in reached]
    place = graph.nodes[name].place
    if not paths:
        never = any(target == name for _, target in graph.waiting)
        what = f"no run reaches the node {name}: the nodes that it waits for exclude each other"
        findings.fault(place, what if never else f"nothing leads to the node {name}", "add an edge to it")
    if len(paths) > MAX_PATHS:
        what = f"the conditional edges lead to {name} in more than {MAX_PATHS} ways"
        findings.fault(place, what, WHOLE.format(target=graph.target))
        return paths[:1]
    if graph.nodes[name].defer:
        last = max((path.step for one in found.paths.values() for path in one), default=0)
        paths = [GraphPath(last + 1, path.choices) for path in paths]
    _check_once(graph, name, paths, findings)
    return paths


def _check_once(graph: StateGraph, name: str, paths: list[GraphPath], findings: Findings) -> None:
    for number, one in enumerate(paths):
        for other in paths[:number]:
            if one.step != other.step and one.with_choice(other) is not None:
                what = (
                    f"LangGraph can run {name} more than once, in step {other.step} and in step {one.step}: "
                    "each edge to it starts it"
                )
                fix = f'add_edge(["a", "b"], "{name}") waits for all; else {WHOLE.format(target=graph.target)}'
                findings.fault(graph.nodes[name].place, what, fix)
                return


def _check_loops(graph: StateGraph, found: Schedule, findings: Findings) -> None:
    """A node that repeats itself is one step with `repeat`. That holds where nothing else runs meanwhile."""
    needs = {name: tuple(sources) for name, sources in _sources(graph).items()}
    for name in graph.loops():
        outs = [branch for branch in graph.all_branches() if branch.source == name]
        plain = [*graph.edges, *((one, end) for starts, end in graph.waiting for one in starts)]
        why = ""
        if len(outs) > 1 or outs[0].many or outs[0].sends or any(source == name for source, _ in plain):
            why = "other edges leave it"
        for other in found.order:
            orders = _orders(found.paths[other], found.paths[name])
            if other != name and (0 in orders or (1 in orders and name not in graphs.upstream(needs, other))):
                why = f"{other} runs meanwhile"
        if why:
            what = f"{name} repeats itself, and {why}; how often it does is decided by code"
            findings.fault(outs[0].place, what, WHOLE.format(target=graph.target))


def _seen(graph: StateGraph, name: str, found: Schedule, findings: Findings) -> list[list[str]]:
    """The nodes that have run before a node, one list for each superstep; those of a list are in the order in
    which LangGraph applies what they wrote."""
    place = graph.nodes[name].place if name in graph.nodes else graph.place
    before: list[str] = []
    for other in found.order:
        if other == name:
            continue
        if name == END:
            before.append(other)
            continue
        orders = _orders(found.paths[other], found.paths[name])
        if orders == {-1}:
            before.append(other)
        elif -1 in orders:
            what = f"whether {name} sees what {other} writes depends on the path that is taken"
            findings.fault(place, what, WHOLE.format(target=graph.target))

    def compare(one: str, other: str) -> int:
        orders = _orders(found.paths[one], found.paths[other]) or {0}
        return min(orders) or (one > other) - (one < other)

    before.sort(key=cmp_to_key(compare))
    for number, one in enumerate(before):
        for other in before[:number]:
            if 1 in _orders(found.paths[other], found.paths[one]):
                what = f"whether {one} or {other} runs first depends on the path that is taken"
                findings.fault(place, what, WHOLE.format(target=graph.target))
                return []
    steps: list[list[str]] = []
    for one in before:
        if steps and all(_orders(found.paths[one], found.paths[other]) <= {0} for other in steps[-1]):
            steps[-1].append(one)
        else:
            steps.append([one])
    return steps


def _orders(one: Iterable[GraphPath], other: Sequence[GraphPath]) -> set[int]:
    """Whether one node runs before (-1), with (0), or after (1) another, in the runs that have both."""
    return {
        (mine.step > theirs.step) - (mine.step < theirs.step)
        for mine in one
        for theirs in other
        if mine.with_choice(theirs) is not None
    }
