"""Infers types of expressions from the file, and refuses those that fail for every value of their type.

Known are literals, results of functions and operators, `needs` and `inputs` (maps), inputs and typed outputs with
a declared type, and the ids. Everything else may be anything, and is never refused.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from agentdeck.workflow.expression_functions import BY_NAME, FUNCTIONS
from agentdeck.workflow.expressions import Expression, dotted_name, tree_of
from agentdeck.workflow.references import Found
from agentdeck.workflow.yaml_source import Source, as_map

#: A type, and None for one that is not known.
Kind: TypeAlias = str | None
Names: TypeAlias = Callable[[tuple[str, ...]], Kind]

_DECLARED = {
    "string": "string", "number": "number", "integer": "number", "boolean": "boolean", "list": "list",
    "object": "map",
}  # fmt: skip
_NUMERIC = {"number", "boolean"}
_SIGNS = {ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%"}


def check_types(found: Iterable[Found], read: Mapping[str, Any], source: Source) -> None:
    """Notes a fault for each of these expressions of a file that fails for all values."""
    names = _names(read.get("inputs"), as_map(read.get("agents")))
    for expressions, path in found:
        for expression in expressions:
            checked = _Checked(expression, names)
            if checked.fault is not None:
                source.fault(path, *checked.fault)
            elif path[2:] == ("each",) and checked.kind not in (None, "list"):
                source.fault(path, f"each needs a list, and {expression.text.strip()} is a {checked.kind}")


def _names(inputs: Any, agents: Mapping[str, Any]) -> Names:
    def kind(path: tuple[str, ...]) -> Kind:
        match path:
            case ("needs",) | ("inputs",):
                return "map"
            case ("task", "id") | ("run", "id"):
                return "string"
            case ("inputs", name) if isinstance(inputs, dict):
                return _declared(inputs.get(name))
            case ("needs", agent, *rest) if agent in agents:
                return _output(agents[agent], rest)
            case (agent, *rest) if agent in agents:
                return _output(agents[agent], rest)
        return None

    return kind


def _declared(spec: Any) -> Kind:
    given = spec.get("type") if isinstance(spec, dict) else spec
    return _DECLARED.get(given) if isinstance(given, str) else None


def _output(agent: Any, rest: list[str]) -> Kind:
    """The type of a result, or of a field of it; None where a fallback may return another type."""
    if not isinstance(agent, dict) or "each" in agent or isinstance(agent.get("on_error"), dict):
        return None
    output = agent.get("output")
    if not isinstance(output, dict):
        return None
    if not rest:
        return "map"
    return _declared(output.get(rest[0])) if len(rest) == 1 else None


class _Checked:
    """One expression: its type, and the first fault in it as (what, fix)."""

    def __init__(self, expression: Expression, names: Names) -> None:
        self.fault: tuple[str, str] | None = None
        self._names = names
        self.kind = self._of(tree_of(expression.text))

    def _refuse(self, what: str, fix: str = "") -> None:
        self.fault = self.fault or (what, fix)

    def _of(self, node: ast.expr) -> Kind:
        path = dotted_name(node)
        if path == ("true",) or path == ("false",):
            return "boolean"
        if path is not None:
            return self._names(path)
        match node:
            case ast.Constant(value=value):
                kinds: dict[type, str] = {bool: "boolean", int: "number", float: "number", str: "string"}
                return kinds.get(type(value))
            case ast.Call(func=ast.Name(id=function), args=args):
                return self._call(function, args)
            case ast.BinOp(left=left, op=op, right=right):
                return self._arithmetic(op, left, right)
            case ast.Compare(left=left, ops=ops, comparators=others):
                self._compare([left, *others], ops)
                return "boolean"
            case ast.IfExp(test=test, body=body, orelse=other):
                self._of(test)
                first, second = self._of(body), self._of(other)
                return first if first == second else None
        for below in ast.iter_child_nodes(node):
            if isinstance(below, ast.expr):
                self._of(below)
        match node:
            case ast.List():
                return "list"
            case ast.Dict():
                return "map"
            case ast.UnaryOp(op=ast.Not()):
                return "boolean"
        return None

    def _call(self, function: str, args: list[ast.expr]) -> Kind:
        if function in BY_NAME:
            return None  # their argument is a name
        kinds = [self._of(arg) for arg in args]
        _, _, _, gives, needed, refused = FUNCTIONS[function]
        if function in ("min", "max") and len(args) == 1:
            needed, refused = "a list, or several values", frozenset(_NUMERIC)
        if kinds and kinds[0] in refused:
            text = ast.unparse(args[0])
            fix = f"use {function}(values({text}))" if kinds[0] == "map" and needed.startswith("a list") else ""
            self._refuse(f"{function} needs {needed}, and {text} is a {kinds[0]}", fix)
        return gives

    def _arithmetic(self, op: ast.operator, left: ast.expr, right: ast.expr) -> Kind:
        first, second = self._of(left), self._of(right)
        if isinstance(op, ast.Add) and (None in (first, second) or first == second in ("string", "list")):
            return first if first == second else None
        if any(kind is not None and kind not in _NUMERIC for kind in (first, second)):
            sign = _SIGNS.get(type(op), "+")
            fix = "use str() to put text together" if sign == "+" and "string" in (first, second) else ""
            self._refuse(f"{first or 'a value'} {sign} {second or 'a value'} is not possible", fix)
        return "number"

    def _compare(self, parts: list[ast.expr], ops: list[ast.cmpop]) -> None:
        kinds = [self._of(part) for part in parts]
        for first, second, op in zip(kinds, kinds[1:], ops, strict=False):
            if not isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE) or None in (first, second):
                continue
            if not ({first, second} <= _NUMERIC or first == second == "string"):
                self._refuse(f"a {first} and a {second} have no order")
