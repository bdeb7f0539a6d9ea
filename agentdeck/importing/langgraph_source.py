"""Reads a LangGraph graph from its Python file, without executing it.

The graph is built by calls of one StateGraph, in the module or in a function that returns it. What those calls
say in literals and names is read; what takes a loop, a condition or another function to build is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from agentdeck.importing.graph_module import (
    GraphModule,
    calls,
    literal_names,
    makes_graph,
    node_name,
    returns_list,
)
from agentdeck.importing.imported import Findings, Place
from agentdeck.importing.python_source import Code, last_name, literal, place_of, read_python, source
from agentdeck.importing.state_graph import END, START, WHOLE, Branch, Node, StateGraph
from agentdeck.workflow.functions import module_file
from agentdeck.workflow.model import Data
from agentdeck.workflow.wording import likely_fix
from agentdeck.workflow.yaml_source import refusal

RUN_CODE = "use --run-code, which imports the module"
#: Arguments that change what a run does; each with the reason why it is not imported.
REFUSED = {
    "interrupt_before": "the graph stops there and waits for an answer",
    "interrupt_after": "the graph stops there and waits for an answer",
    "error_handler": "another function handles the errors of the node",
}
#: Arguments that are not carried over.
DROPPED = {
    "checkpointer": "the store records results",
    "store": "nodes get none",
    "cache": "write cache: at the agent",
    "cache_policy": "write cache: at the agent",
    "retry_policy": "write retry: at the agent",
    "retry": "write retry: at the agent",
    "timeout": "write timeout: at the agent",
    "context_schema": "nodes get no context",
    "config_schema": "nodes get no config",
}


def split_target(target: str, folder: Path) -> tuple[Path, str, str, str]:
    """The file of a target, the name of its module, the name in it, and the file as it is shown. Raises
    InvalidFile."""
    where, _, name = target.rpartition(":")
    if not where or not name.isidentifier():
        raise refusal(target, "this names no graph", "write module:name, or FILE.py:name")
    if where.endswith(".py"):
        return Path(where), Path(where).stem, name, where
    found = module_file(target, folder)
    if found is None:
        raise refusal(
            target, f"there is no module {where} here", f"{folder} is searched; name its file: FILE.py:{name}"
        )
    shown = str(found.relative_to(folder)) if found.is_relative_to(folder) else str(found)
    return found, where, name, shown


def graph_of_source(target: str, folder: Path, findings: Findings) -> StateGraph:
    """The graph that a module builds. What cannot be read is a fault."""
    file, module, name, shown = split_target(target, folder)
    return _Reader(file, shown, f"{module}:{name}", findings).read(name)


class _Reader:
    """Reads one file. Other files of the same folder are read for functions and classes that it imports."""

    def __init__(self, file: Path, shown: str, target: str, findings: Findings) -> None:
        self.file, self.shown, self.target, self.findings = file, shown, target, findings
        self.tree = read_python(file, shown)
        self.top = GraphModule(self.tree, file)
        self.graph = StateGraph(target.rpartition(":")[2], target, Place(shown))
        #: Names of variables that hold the builder or the graph.
        self.builders: set[str] = set()
        self.state: ast.expr | None = None

    def fault(self, node: ast.AST, what: str, fix: str = RUN_CODE) -> None:
        self.findings.fault(place_of(node, self.shown), what, fix)

    def read(self, name: str) -> StateGraph:
        function = self.top.functions.get(name)
        body = self.tree.body if function is None else function.body
        if function is not None and [*function.args.args, *function.args.kwonlyargs]:
            self.fault(
                function, f"{name} takes arguments, so it makes no graph by itself", "name a function without"
            )
        elif function is None and name not in self.top.assigned:
            known = [*self.top.assigned, *self.top.functions]
            self.fault(self.tree, f"{self.shown} has no {name}", likely_fix(name, known))
            return self.graph
        builder = None if function is not None else self.origin(name)
        self.statements(body, builder)
        if self.state is None:
            self.fault(self.tree if function is None else function, f"{name} is not made by a StateGraph here")
        else:
            self.graph.inputs = self.fields(self.state)
        for call in calls(self.tree, "interrupt"):
            what = "a node waits for an answer of the operator (interrupt)"
            self.fault(call, what, WHOLE.format(target=self.target))
        self.check_ends()
        return self.graph

    def origin(self, name: str) -> str | None:
        """The variable of the StateGraph from which a graph is compiled: a module may build several graphs."""
        seen = set[str]()
        while name not in seen and name in self.top.assigned:
            seen.add(name)
            receiver: ast.expr = self.top.assigned[name]
            while isinstance(receiver, ast.Call) and isinstance(receiver.func, ast.Attribute):
                receiver = receiver.func.value
            if not isinstance(receiver, ast.Name):
                return name
            name = receiver.id
        return name

    # Statements ------------------------------------------------------------------------------------------------

    def statements(self, body: list[ast.stmt], builder: str | None) -> None:
        """Follow the calls of the builder: of the variable `builder`, else of any StateGraph."""
        for statement in body:
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                names = [one.id for one in targets if isinstance(one, ast.Name)]
                value = statement.value
                ours = builder is None or builder in names or not makes_graph(value)
                if value is not None and ours and self.call(value):
                    self.builders.update(names)
            elif isinstance(statement, ast.Expr | ast.Return):
                if statement.value is not None:
                    self.call(statement.value)
            elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.other(statement)

    def other(self, statement: ast.stmt) -> None:
        """A statement that is no call: a loop, a condition. It may not touch the builder."""
        if isinstance(statement, ast.If) and "__name__" in source(statement.test):
            return
        for node in ast.walk(statement):
            changes = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if changes and self.is_builder(node.func.value) and node.func.attr.startswith(("add_", "set_")):  # type: ignore[attr-defined]
                kind = type(statement).__name__.lower()
                self.fault(
                    node, f"the graph is built in a statement ({kind}), so it cannot be read without running it"
                )
                return

    def is_builder(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in self.builders

    def call(self, node: ast.expr) -> bool:
        """Follow one expression. Returns whether it gives the builder, or the graph compiled from it."""
        if self.is_builder(node):
            return True
        if not isinstance(node, ast.Call):
            return False
        if last_name(node.func) == "StateGraph":
            self.new_graph(node)
            return True
        if isinstance(node.func, ast.Attribute) and self.call(node.func.value):
            self.method(node, node.func.attr)
            return True
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        if any(self.is_builder(one) for one in given) and last_name(node.func) not in ("print", "display"):
            self.fault(node, f"{source(node.func)} may change the graph, so it cannot be read without running it")
        return False

    def new_graph(self, call: ast.Call) -> None:
        given = self.arguments(call, ("state_schema", "context_schema"))
        self.state = given.get("input_schema") or given.get("input") or given.get("state_schema")
        self.graph.place = place_of(call, self.shown)
        self.options(call, given)

    def arguments(self, call: ast.Call, names: tuple[str, ...]) -> dict[str, ast.expr]:
        """The arguments of a call, by name. Those that are unpacked cannot be read."""
        found: dict[str, ast.expr] = {}
        for name, argument in zip(names, call.args, strict=False):
            if isinstance(argument, ast.Starred):
                self.fault(argument, f"{source(argument)} cannot be read without running it")
            else:
                found[name] = argument
        for keyword in call.keywords:
            if keyword.arg is None:
                self.fault(keyword.value, f"**{source(keyword.value)} cannot be read without running it")
            else:
                found[keyword.arg] = keyword.value
        return found

    def options(self, call: ast.Call, given: Mapping[str, ast.expr]) -> None:
        """Note the arguments that are refused, and those that are not carried over."""
        for name, value in given.items():
            if literal(value) in (None, [], False):
                continue
            if name in REFUSED:
                self.fault(value, f"{name}: {REFUSED[name]}", WHOLE.format(target=self.target))
            elif name in DROPPED:
                what = f"{name} is not carried over: {source(value)}"
                self.findings.warn(place_of(value, self.shown), what, DROPPED[name])

    # Methods of the builder ------------------------------------------------------------------------------------

    def method(self, call: ast.Call, name: str) -> None:
        match name:
            case "add_node":
                given = self.arguments(call, ("node", "action"))
                self.node(call, given)
            case "add_edge" | "set_entry_point" | "set_finish_point":
                self.edge(call, name)
            case "add_conditional_edges" | "set_conditional_entry_point":
                self.branch(call, name)
            case "add_sequence":
                self.sequence(call)
            case "compile" | "set_node_defaults":
                self.options(call, self.arguments(call, ("checkpointer",)))
            case "with_config" | "validate":
                pass
            case _:
                self.fault(call, f"{name} cannot be read without running it")

    def node(self, call: ast.AST, given: Mapping[str, ast.expr]) -> None:
        first, action = given.get("node"), given.get("action")
        name = self.text(first) if first is not None else None
        if name is None and first is not None and action is None:
            name, action = self.function_name(first), first
        if name is None:
            self.fault(call, "the name of this node cannot be read without running it")
            return
        if name in self.graph.nodes:
            before = self.graph.nodes[name].place
            self.fault(call, f"the node {name} is here twice, first in line {before.line}", "keep one of them")
            return
        made = self.graph.nodes[name] = Node(name, place_of(call, self.shown))
        defer = literal(given["defer"]) if "defer" in given else False
        if isinstance(defer, Code):
            self.fault(given["defer"], f"defer is code ({defer})")
        made.defer = bool(defer)
        destinations = given.get("destinations")
        if destinations is not None:
            made.goes = self.names(destinations, f"the destinations of {name}") or ()
        if isinstance(call, ast.Call):
            self.options(call, {key: value for key, value in given.items() if key not in ("node", "action")})
        function = self.top.function(action)
        if function is not None:
            self.commands(made, *function)

    def commands(self, node: Node, function: ast.FunctionDef | ast.AsyncFunctionDef, file: str) -> None:
        """Where the commands of a node go, by its annotation."""
        commands = list(calls(function, "Command"))
        if not node.goes:
            annotation = function.returns
            for part in ast.walk(annotation) if annotation is not None else ():
                if isinstance(part, ast.Subscript) and last_name(part.value) == "Command":
                    node.goes = literal_names(part.slice, self.top.constants) or ()
        gotos = [key.value for one in commands for key in one.keywords if key.arg == "goto"]
        node.many = any(isinstance(one, ast.List | ast.Tuple) for one in gotos)
        if gotos and not node.goes:
            what = f"{node.name} returns commands (goto), and its annotation does not say to which nodes"
            self.findings.fault(place_of(gotos[0], file), what, 'annotate it: -> Command[Literal["a", "b"]]')
        if any(calls(one, "Send") for one in gotos if list(calls(one, "Send"))):
            what = f"{node.name} starts nodes by Send in a command"
            self.findings.fault(place_of(gotos[0], file), what, WHOLE.format(target=self.target))

    def edge(self, call: ast.Call, method: str) -> None:
        given = self.arguments(call, ("start_key", "end_key") if method == "add_edge" else ("key",))
        start, end = given.get("start_key"), given.get("end_key")
        key = given.get("key")
        place = place_of(call, self.shown)
        if method != "add_edge":
            name = self.text(key)
            if name is None:
                self.fault(call, "the node of this edge cannot be read without running it")
            elif method == "set_entry_point":
                self.graph.edges[START, name] = place
            else:
                self.graph.edges[name, END] = place
            return
        target = self.text(end)
        if isinstance(start, ast.List | ast.Tuple):
            starts = [self.text(one) for one in start.elts]
        else:
            starts = [self.text(start)]
        known = [one for one in starts if one is not None]
        if target is None or len(known) < len(starts):
            self.fault(call, "the nodes of this edge cannot be read without running it")
        elif isinstance(start, ast.List | ast.Tuple) and len(known) > 1:
            self.graph.waiting[tuple(known), target] = place
        else:
            self.graph.edges[known[0], target] = place

    def branch(self, call: ast.Call, method: str) -> None:
        entry = method == "set_conditional_entry_point"
        given = self.arguments(call, ("path", "path_map") if entry else ("source", "path", "path_map"))
        origin = START if entry else self.text(given.get("source"))
        if origin is None or "path" not in given:
            self.fault(call, "these conditional edges cannot be read without running it")
            return
        function = self.top.function(given["path"])
        path_map = given.get("path_map", given.get("then"))
        ends: tuple[str, ...] | None
        sends: tuple[str, ...] = ()
        many = False
        if function is not None:
            sends, many = self.sends(function[0]), returns_list(function[0])
        if path_map is not None and literal(path_map) is not None:
            ends = self.names(path_map, "the targets of these conditional edges")
            if ends is None:
                return
        else:
            ends = literal_names(function[0].returns, self.top.constants) if function is not None else None
        if ends is None and not sends:
            what = f"the targets of the conditional edges of {origin} are known only to the code"
            fix = 'give path_map, or annotate the function: -> Literal["a", "b"]'
            self.fault(call, what, fix)
            return
        ends = tuple(one for one in ends or () if one not in sends)
        self.graph.branches.append(Branch(origin, ends, place_of(call, self.shown), sends, many))

    def sends(self, function: ast.AST) -> tuple[str, ...]:
        """The nodes that a function starts by `Send`."""
        found = []
        for call in calls(function, "Send"):
            name = self.text(call.args[0]) if call.args else None
            if name is None:
                self.fault(call, "the node of this Send cannot be read without running it")
            else:
                found.append(name)
        return tuple(dict.fromkeys(found))

    def sequence(self, call: ast.Call) -> None:
        given = self.arguments(call, ("nodes",)).get("nodes")
        if not isinstance(given, ast.List | ast.Tuple):
            self.fault(call, "the nodes of this sequence cannot be read without running it")
            return
        before: str | None = None
        for one in given.elts:
            named = isinstance(one, ast.Tuple) and len(one.elts) == 2
            parts = dict(zip(("node", "action"), one.elts, strict=False)) if named else {"node": one}  # type: ignore[attr-defined]
            known = set(self.graph.nodes)
            self.node(one, parts)
            name = next(iter(self.graph.nodes.keys() - known), None)
            if name is None:
                return
            if before is not None:
                self.graph.edges[before, name] = place_of(one, self.shown)
            before = name

    # Values ----------------------------------------------------------------------------------------------------

    def text(self, node: ast.expr | None) -> str | None:
        """The name of a node: a literal, a constant of the module, START or END."""
        return None if node is None else node_name(node, self.top.constants)

    def function_name(self, node: ast.expr) -> str | None:
        """The name that LangGraph gives the node of a function."""
        function = self.top.function(node)
        return function[0].name if function is not None else self.top.imported_name(node)

    def names(self, node: ast.expr, what: str) -> tuple[str, ...] | None:
        """The nodes of a list, or the values of a map."""
        items: list[ast.expr] = []
        if isinstance(node, ast.Name) and node.id in self.top.assigned:
            node = self.top.assigned[node.id]
        if isinstance(node, ast.Dict):
            keys = [key for key in node.keys if key is not None]
            items = node.values if last_name(node) == "" and len(keys) == len(node.values) else []
        elif isinstance(node, ast.List | ast.Tuple | ast.Set):
            items = node.elts
        found = [self.text(one) for one in items]
        known = [one for one in found if one is not None]
        if not items or len(known) < len(found):
            self.fault(node, f"{what} cannot be read without running it")
            return None
        return tuple(dict.fromkeys(known))

    def check_ends(self) -> None:
        """A graph without nodes is none."""
        if self.state is not None and not self.graph.nodes:
            self.findings.fault(self.graph.place, "the graph has no nodes", RUN_CODE)

    def fields(self, schema: ast.expr) -> dict[str, Data]:
        """The fields of the class of the state, with the types of inputs."""
        found = self.top.fields(schema)
        if found is None:
            self.fault(schema, f"the fields of {source(schema)} cannot be read without running it")
        elif not found:
            self.fault(schema, f"{source(schema)} has no fields, so the graph has no inputs", RUN_CODE)
        return found or {}
