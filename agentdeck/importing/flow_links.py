"""Which method of a CrewAI flow runs after which: listeners, events of routers, `and`, `or`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentdeck.importing.flow_file import WHOLE, FlowFile, Method
from agentdeck.importing.state_graph import Choice, GraphPath
from agentdeck.workflow import graph as graphs
from agentdeck.workflow.model import Data
from agentdeck.workflow.wording import likely_fix
from agentdeck.workflow.yaml_source import Path_, as_map


class FlowLinks:
    """The sources of each method, and the ways to reach it."""

    def __init__(self, flow: FlowFile) -> None:
        """Raises InvalidFile where the links have faults."""
        self.flow = flow
        for method in self.flow.methods.values():
            condition = self.flow.condition_of(method)
            if condition is None:
                if not method.data.get("start"):
                    self.flow.fault(method.path, f"nothing starts {method.name}", "add start: true, or listen:")
                continue
            method.sources = list(dict.fromkeys(self._sources(method, condition)))
        self.flow.findings.raise_faults()
        needs = {name: tuple(method.sources) for name, method in self.flow.methods.items()}
        loop = graphs.cycle(needs)
        if loop is not None:
            shown = " -> ".join(reversed(loop))
            self.flow.fault(
                self.flow.methods[loop[0]].path, f"a cycle: {shown}; its end is decided in the run", WHOLE
            )
        self.flow.findings.raise_faults()
        for name in graphs.order(needs):
            method = self.flow.methods[name]
            condition = self.flow.condition_of(method)
            start = [GraphPath(0, frozenset())]
            method.paths = start if condition is None else self._paths(method, condition)
        self.flow.findings.raise_faults()

    def _sources(self, method: Method, condition: Any) -> list[str]:
        """The methods on which a condition depends. Unknown names are faults."""
        path: Path_ = (*method.path, "listen" if "listen" in method.data else "start")
        if isinstance(condition, str):
            routers = [one.name for one in self.flow.methods.values() if condition in one.events]
            if condition in self.flow.methods and routers:
                self.flow.fault(
                    path, f"{condition} is a method and an event of {routers[0]}", "give one another name"
                )
            if condition == method.name:
                self.flow.fault(path, f"{method.name} listens to itself", "listen to another method")
            elif condition in self.flow.methods:
                return [condition]
            elif not routers:
                events = [event for one in self.flow.methods.values() for event in one.events]
                what = f"{method.name} listens to {condition}, which is neither a method nor an event of a router"
                self.flow.fault(path, what, likely_fix(condition, [*self.flow.methods, *events]))
            return routers
        parts = as_map(condition)
        inner = parts.get("and", parts.get("or"))
        if len(parts) != 1 or not isinstance(inner, list) or not inner:
            self.flow.fault(path, "a name, {and: […]} or {or: […]} is needed here")
            return []
        return [source for one in inner for source in self._sources(method, one)]

    def _paths(self, method: Method, condition: Any) -> list[GraphPath]:
        """The ways in which a condition comes true. Alternatives that could both come true are a fault."""
        if isinstance(condition, str):
            if condition in self.flow.methods:
                return self.flow.methods[condition].paths
            routers = [one for one in self.flow.methods.values() if condition in one.events]
            ways = [
                GraphPath(0, path.choices | {Choice(router.name, condition)})
                for router in routers
                for path in router.paths
            ]
            groups = [ways] if len(routers) < 2 else [[way] for way in ways]
            return self._alternatives(method, groups)
        if "and" in condition:
            found = [GraphPath(0, frozenset())]
            for one in condition["and"]:
                both = [mine.with_choice(other) for mine in found for other in self._paths(method, one)]
                found = list(dict.fromkeys(way for way in both if way is not None))[:64]
            return found
        return self._alternatives(method, [self._paths(method, one) for one in condition["or"]])

    def _alternatives(self, method: Method, groups: Sequence[list[GraphPath]]) -> list[GraphPath]:
        for number, group in enumerate(groups):
            for other in groups[:number]:
                if any(one.with_choice(two) is not None for one in group for two in other):
                    what = f"{method.name} listens to several that can all come: the first counts, by time"
                    fix = "write join: any in the workflow, or listen to one, or to {and: […]}"
                    self.flow.fault((*method.path, "listen"), what, fix)
                    return list(group)
        return list(dict.fromkeys(path for group in groups for path in group))

    def when(self, method: Method) -> str:
        """The expression that says whether a method runs; "" where its needs already say that."""
        condition = self.flow.condition_of(method)
        names = [condition] if isinstance(condition, str) else as_map(condition).get("or", [{}])
        if condition is None or all(isinstance(one, str) and one in self.flow.methods for one in names):
            return ""  # a step whose needs are all skipped is skipped
        return self._test(condition)

    def _test(self, condition: Any) -> str:
        if isinstance(condition, str):
            if condition in self.flow.methods:
                return f"status({self.flow.names.of(condition)}) == 'done'"
            routers = [one for one in self.flow.methods.values() if condition in one.events]
            return " or ".join(f"{self.flow.event_of(one)} == {condition!r}" for one in routers)
        word = "and" if "and" in condition else "or"
        parts = [self._test(one) for one in condition[word]]
        return f" {word} ".join(f"({one})" if " and " in one or " or " in one else one for one in parts)

    def output(self) -> Data:
        """The result of the last method that has run, as in CrewAI: of those that nothing listens to, else of a
        router whose event nothing listens to. None, which is all results, where several run last."""
        needed = {source for method in self.flow.methods.values() for source in method.sources}
        last = [method for method in self.flow.methods.values() if method.name not in needed]
        pairs = [(one, two) for number, one in enumerate(last) for two in last[:number]]
        if any(a.with_choice(b) is not None for one, two in pairs for a in one.paths for b in two.paths):
            return None
        routers = [one for one in self.flow.methods.values() if one.events and one.name in needed]
        names = [self.flow.names.of(method.name) for method in last]
        names += [self.flow.event_of(router) for router in reversed(routers)]
        text = names[-1]
        for name in reversed(names[:-1]):
            text = f"{name} if {name} != null else {text}"
        return f"${{{text}}}"
