"""`import langgraph`: a StateGraph as a workflow, in which each step calls one node of the graph."""

from __future__ import annotations

from pathlib import Path

from agentdeck.errors import InvalidFile
from agentdeck.importing.imported import Findings, ImportedAgent, ImportedWorkflow, Names
from agentdeck.importing.state_graph import END, START, Schedule, StateGraph, schedule
from agentdeck.workflow.model import KNOWN_PARAMETERS, Data

RUN = "agentdeck.importing.langgraph_node:run"
STATE = "agentdeck.importing.langgraph_node:state"
#: So often does a node repeat itself at most. LangGraph's own limit is 10,000 supersteps.
MAX_ROUNDS = 1000
#: LangGraph knows neither: a node takes as long as it takes, and an exception ends the graph.
DEFAULTS: dict[str, Data] = {"timeout": "1h", "retry": 1}


def import_langgraph(target: str, run_code: bool) -> tuple[ImportedWorkflow, Findings]:
    """The workflow of a graph: `module:name`, or `FILE.py:name`. With `run_code` the module is imported, else
    only read. Raises InvalidFile."""
    findings = Findings()
    if run_code:
        from agentdeck.importing.langgraph_object import graph_of_object

        graph = graph_of_object(target, Path.cwd(), findings)
    else:
        from agentdeck.importing.langgraph_source import graph_of_source

        graph = graph_of_source(target, Path.cwd(), findings)
    findings.raise_faults()
    when = schedule(graph, findings)
    findings.raise_faults()
    return _Writer(graph, when).workflow(), findings


class _Writer:
    """Makes the workflow of a graph that can be imported."""

    def __init__(self, graph: StateGraph, when: Schedule) -> None:
        from agentdeck.workflow.workflow_file import RESERVED_NAMES

        self.graph, self.when = graph, when
        self.names = Names(RESERVED_NAMES)
        for name in graph.nodes:
            self.names.of(name)
        self.needs: dict[str, tuple[str, ...]] = {}
        self.above: dict[str, set[str]] = {START: set()}
        self.chooses = {branch.source for branch in graph.all_branches()}
        self.loops = set(graph.loops())
        self.sent = {name for branch in graph.branches for name in branch.sends}

    def workflow(self) -> ImportedWorkflow:
        graph = self.graph
        found = ImportedWorkflow(graph.name, notes=self.notes(), defaults=DEFAULTS)
        given = Names(KNOWN_PARAMETERS)
        for name, kind in graph.inputs.items():
            if given.of(name) != name:
                what = f"a workflow cannot have an input named {name}"
                findings = Findings()
                findings.fault(graph.place, what, "give the field of the state another name")
                raise InvalidFile(findings.issues)
            found.inputs[name] = {"type": kind, "default": None}
        if START in self.chooses:
            found.agents.append(self.start())
        found.agents += [self.agent(name) for name in self.when.order]
        found.agents.append(self.state())
        found.output = f"${{{found.agents[-1].name}}}"
        return found

    def notes(self) -> list[str]:
        return [
            f"The LangGraph graph {self.graph.target}, imported from {self.graph.place}.",
            "",
            "Each step calls one node of the graph. `before` is what ran before it, one list for each superstep;",
            "the first is the input. The graph's own reducers make the state of that. A result is what a node",
            "writes into the state; where it chooses what comes next, `update` is that, and `next` its choice.",
            "As in LangGraph, a step waits for all steps of earlier supersteps: it sees what they wrote.",
            "Inputs that are null are not given to the graph.",
        ]

    def start(self) -> ImportedAgent:
        """The agent that makes the choice at the entry of the graph."""
        keys = self.call(START, [["${inputs}"]])
        return ImportedAgent(self.names.of(START), keys, ["The conditional entry point."])

    def agent(self, name: str) -> ImportedAgent:
        node = self.graph.nodes[name]
        sources = self.sources(name)
        self.needs[name] = tuple(self.waits(name, sources))
        self.above[name] = {*self.needs[name]}.union(*(self.above[one] for one in self.needs[name]))
        keys: dict[str, Data] = {}
        if self.needs[name]:
            needs = [self.names.of(one) for one in self.needs[name]]
            keys["needs"] = needs[0] if len(needs) == 1 else needs
        if name in self.sent:
            source = next(branch.source for branch in self.graph.branches if name in branch.sends)
            keys["each"] = f"{self.names.of(source)}.send[{name!r}]"
            keys |= self.call(name, [])
        else:
            if condition := self.condition(name, sources):
                keys["when"] = condition
            keys |= self.call(name, self.before(name))
            if name in self.loops:
                keys["repeat"] = {"until": f"{name!r} not in output.next", "max": MAX_ROUNDS}
        notes = [
            f"The node of {node.place}." if self.names.of(name) == name else f"The node {name} of {node.place}."
        ]
        unrelated = [one for one in self.needs[name] if one not in sources]
        if unrelated:
            shown = ", ".join(map(self.names.of, unrelated))
            notes.append(f"It has no edge from {shown}, but runs after it, and sees what it wrote.")
        return ImportedAgent(self.names.of(name), keys, notes)

    def state(self) -> ImportedAgent:
        """The agent that makes the state at the end."""
        before = self.before(END)
        needs = self.last([one for step in self.when.sees[END] for one in step])
        if not any(self.when.always(one) for one in needs):  # all of them may be skipped
            more = [START] if START in self.chooses else [one for one in self.when.order if self.when.always(one)]
            needs += more[-1:]
        shown = [self.names.of(one) for one in needs]
        keys: dict[str, Data] = {"needs": shown[0] if len(shown) == 1 else shown, "python": STATE}
        keys["with"] = {"graph": self.graph.target, "before": before}
        return ImportedAgent(self.names.of("state"), keys, ["The state at the end, as the graph returns it."])

    # What a step waits for ---------------------------------------------------------------------------------

    def sources(self, name: str) -> list[str]:
        """The nodes that start this one, in the order in which they run; START where it chooses."""
        graph = self.graph
        found = {source for source, target in graph.edges if target == name and source != START}
        found |= {one for starts, target in graph.waiting if target == name for one in starts}
        found |= {branch.source for branch in graph.all_branches() if name in (*branch.ends, *branch.sends)}
        return [one for one in (START, *self.when.order) if one in found - {name}]

    def waits(self, name: str, sources: list[str]) -> list[str]:
        """The needs of a node: those that start it, and those whose writes it sees."""
        above = set[str]().union(*(self.above[one] for one in sources))
        rest = [one for step in self.when.sees[name] for one in step if one not in above and one not in sources]
        return [*sources, *self.last(rest)]

    def last(self, names: list[str]) -> list[str]:
        """Those of the nodes that no other of them needs."""
        needed = set[str]().union(*(self.above[one] for one in names))
        return [one for one in names if one not in needed]

    def condition(self, name: str, sources: list[str]) -> str:
        """The expression that says whether the graph reaches a node; "" where its needs already say that."""
        if self.when.always(name):
            return ""
        graph, terms = self.graph, []
        for source, target in graph.edges:
            if target == name:
                terms.append(self.ran(source))
        for starts, target in graph.waiting:
            if target == name:
                terms.append(" and ".join(map(self.ran, starts)))
        plain = len(terms)
        for source in sources:
            if any(branch.source == source and name in branch.ends for branch in graph.all_branches()):
                terms.append(f"{name!r} in {self.names.of(source)}.next")
        skipped_alike = not any(target == name for _, target in graph.waiting) and self.needs[name] == tuple(
            sources
        )
        if plain == len(terms) and skipped_alike and not self.sent & set(sources):
            return ""  # a step whose needs are all skipped is skipped
        return " or ".join(f"({one})" if " and " in one and len(terms) > 1 else one for one in terms)

    def ran(self, name: str) -> str:
        """The expression that says whether a node has run."""
        if name in self.sent:
            return f"len({self.names.of(name)} or []) > 0"
        return f"status({self.names.of(name)}) == 'done'"

    # What a step calls -------------------------------------------------------------------------------------

    def before(self, name: str) -> list[Data]:
        """What ran before a node, by superstep."""
        steps: list[Data] = [["${inputs}"]]
        for step in self.when.sees[name]:
            written = {
                one: f"${{{self.names.of(one)}{'.update' if one in self.chooses else ''}}}" for one in step
            }
            # A node that repeats itself shares a superstep only with nodes that run instead of it.
            steps += [{"rounds": written.pop(one)} for one in step if one in self.loops]
            steps += [[*written.values()]] if written else []
        return steps

    def call(self, name: str, before: list[Data]) -> dict[str, Data]:
        """The keys that call a node."""
        given: dict[str, Data] = {"graph": self.graph.target, "node": name}
        given |= {"before": before} if before else {"sent": "${item}"}
        branches = [branch for branch in self.graph.all_branches() if branch.source == name]
        if branches:
            given["to"] = list(dict.fromkeys(end for one in branches for end in one.ends if end != END))
            sends = list(dict.fromkeys(end for one in branches for end in one.sends))
            given |= {"send": sends} if sends else {}
            given |= {"many": True} if any(branch.many for branch in branches) else {}
            given |= {"rounds": MAX_ROUNDS} if name in self.loops else {}
        return {"python": RUN, "with": given}
