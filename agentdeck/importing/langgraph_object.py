"""Reads a LangGraph graph from the object itself: imports the module, as `--run-code` asks for."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from agentdeck.errors import Permanent, StepError
from agentdeck.importing.graph_module import calls
from agentdeck.importing.imported import Findings, Place
from agentdeck.importing.langgraph_node import compiled
from agentdeck.importing.langgraph_source import split_target
from agentdeck.importing.python_source import literal
from agentdeck.importing.state_graph import WHOLE, Branch, Node, StateGraph
from agentdeck.terminal_text import clean
from agentdeck.workflow.functions import resolve
from agentdeck.workflow.model import Data
from agentdeck.workflow.yaml_source import refusal

TYPES: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "list",
    dict: "object",
}


def graph_of_object(target: str, folder: Path, findings: Findings) -> StateGraph:
    """The graph that a module has after its import. Raises InvalidFile where it cannot be imported."""
    file, module, name, shown = split_target(target, folder)
    target = f"{module}:{name}"
    try:
        with redirect_stdout(sys.stderr):
            built = compiled(resolve(target, file.resolve().parent if shown.endswith(".py") else folder), target)
    except (StepError, Permanent) as error:
        raise refusal(shown, str(error)) from None
    except Exception as error:
        raise refusal(shown, f"{name} raises {type(error).__name__}: {clean(str(error))}") from None
    builder = built.builder
    graph = StateGraph(name, target, Place(shown))
    for key, spec in builder.nodes.items():
        goes = tuple(spec.ends or ())
        graph.nodes[key] = Node(key, _place(spec.runnable, graph.place), goes, defer=bool(spec.defer))
        if spec.is_error_handler:
            what = f"{key}: another function handles the errors of the node"
            findings.fault(graph.place, what, WHOLE.format(target=target))
    graph.edges = dict.fromkeys(sorted(builder.edges), graph.place)
    graph.waiting = dict.fromkeys(sorted(builder.waiting_edges), graph.place)
    for source, branches in builder.branches.items():
        for branch in branches.values():
            graph.branches.append(_branch(source, branch, graph, findings))
    if builder.managed or built.interrupt_before_nodes or built.interrupt_after_nodes:
        why = "managed values" if builder.managed else "interrupts: it stops and waits for an answer"
        findings.fault(graph.place, f"the graph has {why}", WHOLE.format(target=target))
    for key in builder.schemas[builder.input_schema]:
        graph.inputs[key] = _type(builder.input_schema, key)
    if list(graph.inputs) == ["__root__"]:
        findings.fault(graph.place, "the state of the graph has no fields", WHOLE.format(target=target))
    return graph


def _branch(source: str, branch: Any, graph: StateGraph, findings: Findings) -> Branch:
    """Conditional edges. Where they send is read from the source of their function: no object knows it."""
    function, place = _function(branch.path), _place(branch.path, graph.place)
    try:
        returned = get_type_hints(function).get("return") if function is not None else None
    except Exception:
        returned = None
    sends = _sends(function, place, findings)
    ends = [*(branch.ends or {}).values()]
    many = get_origin(returned) is list or returned is list
    if branch.ends is None:
        ends = [
            name
            for part in (returned, *get_args(returned))
            if get_origin(part) is Literal
            for name in get_args(part)
        ]
    if not ends and not sends:
        what = f"the targets of the conditional edges of {source} are known only to the code"
        findings.fault(place, what, 'give path_map, or annotate the function: -> Literal["a", "b"]')
    targets = tuple(dict.fromkeys(name for name in ends if name not in sends))
    return Branch(source, targets, place, sends, many or bool(sends))


def _sends(function: Any, place: Place, findings: Findings) -> tuple[str, ...]:
    """The nodes that a function starts by `Send`."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return ()
    found = [literal(call.args[0]) if call.args else None for call in calls(tree, "Send")]
    if any(not isinstance(name, str) for name in found):
        findings.fault(place, "the node of a Send is known only to the code", "name it as a literal")
    return tuple(dict.fromkeys(name for name in found if isinstance(name, str)))


def _function(runnable: Any) -> Any:
    """The function of a node or of conditional edges."""
    found = getattr(runnable, "func", None) or getattr(runnable, "afunc", None)
    found = getattr(found, "func", found)  # a partial
    return found if inspect.isroutine(found) else None


def _place(runnable: Any, otherwise: Place) -> Place:
    """Where the function of a node stands."""
    function = _function(runnable)
    try:
        file = inspect.getsourcefile(function) if function is not None else None
        line = inspect.getsourcelines(function)[1] if function is not None else 0
    except (OSError, TypeError):
        return otherwise
    if file is None:
        return otherwise
    path, here = Path(file).resolve(), Path.cwd()
    return Place(str(path.relative_to(here)) if path.is_relative_to(here) else str(path), line)


def _type(schema: Any, key: str) -> Data:
    """The type of an input."""
    try:
        hint = get_type_hints(schema).get(key)
    except Exception:
        return "any"
    return TYPES.get(get_origin(hint) or hint, "any")
