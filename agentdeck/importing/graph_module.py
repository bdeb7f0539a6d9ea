"""What a Python file of a LangGraph graph has: functions, classes of states, constants; read, never executed."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agentdeck.errors import InvalidFile
from agentdeck.importing.python_source import last_name, literal, read_python
from agentdeck.importing.state_graph import END, START
from agentdeck.workflow.model import Data

#: Types of a workflow's inputs, by the names of Python types.
TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "list",
    "dict": "object",
}


class GraphModule:
    """The functions, classes and constants of a file, and where it imports others from."""

    def __init__(self, tree: ast.Module, file: Path, depth: int = 0) -> None:
        self.file, self.depth = file, depth
        self.functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
        self.classes: dict[str, ast.ClassDef] = {}
        self.assigned: dict[str, ast.expr] = {}
        self.imports: dict[str, tuple[ast.ImportFrom, str]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions.setdefault(node.name, node)
            elif isinstance(node, ast.ImportFrom):
                self.imports.update({name.asname or name.name: (node, name.name) for name in node.names})
        for statement in tree.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                self.assigned[statement.targets[0].id] = statement.value
            elif (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and statement.value
            ):
                self.assigned[statement.target.id] = statement.value
            elif isinstance(statement, ast.ClassDef):
                self.classes[statement.name] = statement
        self.constants = {
            name: value
            for name, value in ((n, literal(v)) for n, v in self.assigned.items())
            if isinstance(value, str)
        }

    def function(self, node: ast.expr | None) -> tuple[ast.FunctionDef | ast.AsyncFunctionDef, str] | None:
        """The function that a name stands for, and its file; None for anything else."""
        if not isinstance(node, ast.Name):
            return None
        if node.id in self.functions:
            return self.functions[node.id], str(self.file)
        other, name = self.other(node.id)
        return other.function(ast.Name(name)) if other is not None else None

    def imported_name(self, node: ast.expr) -> str | None:
        """The own name of something that is imported."""
        return self.imports[node.id][1] if isinstance(node, ast.Name) and node.id in self.imports else None

    def other(self, name: str) -> tuple[GraphModule | None, str]:
        """The module that a name is imported from, if its file is beside this one, and the name there."""
        if name not in self.imports or self.depth > 3:
            return None, name
        statement, real = self.imports[name]
        folder = self.file.parent
        for _ in range(max(0, statement.level - 1)):
            folder = folder.parent
        parts = (statement.module or "").split(".")
        for place in [folder, *(list(self.file.parents)[1:4] if not statement.level else [])]:
            stem = place.joinpath(*parts)
            for file in (stem.with_suffix(".py"), stem / "__init__.py"):
                if file.is_file():
                    try:
                        return GraphModule(read_python(file, str(file)), file, self.depth + 1), real
                    except InvalidFile:
                        return None, real
        return None, real

    def fields(self, schema: ast.expr) -> dict[str, Data] | None:
        """The fields of a class, with those of its bases; None where it is not known."""
        name = last_name(schema)
        if name == "MessagesState":
            return {"messages": "list"}
        if name in ("TypedDict", "BaseModel", "object", "AgentState", "Generic", "Protocol"):
            return {"messages": "list"} if name == "AgentState" else {}
        if name not in self.classes:
            other, real = self.other(name)
            return other.fields(ast.Name(real)) if other is not None else None
        found: dict[str, Data] = {}
        for base in self.classes[name].bases:
            inherited = self.fields(base)
            if inherited is None:
                return None
            found |= inherited
        for statement in self.classes[name].body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                found[statement.target.id] = _type(statement.annotation)
        return found


def _type(annotation: ast.expr) -> str:
    """The type of an input."""
    if isinstance(annotation, ast.Subscript):
        outer = last_name(annotation.value)
        if outer in ("Annotated", "Required", "NotRequired", "Optional"):
            inner = annotation.slice.elts[0] if isinstance(annotation.slice, ast.Tuple) else annotation.slice
            return _type(inner)
        return TYPES.get(outer.lower(), "any")
    return TYPES.get(last_name(annotation), "any")


def calls(node: ast.AST, name: str) -> Iterator[ast.Call]:
    """The calls of a name in a tree."""
    for one in ast.walk(node):
        if isinstance(one, ast.Call) and last_name(one.func) == name:
            yield one


def makes_graph(node: ast.expr | None) -> bool:
    """Whether an expression begins with a new StateGraph."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        node = node.func.value
    return isinstance(node, ast.Call) and last_name(node.func) == "StateGraph"


def node_name(node: ast.expr, constants: Mapping[str, str]) -> str | None:
    name = last_name(node) if not isinstance(node, ast.Call) else ""
    if name in ("START", "END"):
        return START if name == "START" else END
    value: Any = constants.get(name) if isinstance(node, ast.Name) else literal(node)
    return value if isinstance(value, str) else None


def literal_names(node: ast.expr | None, constants: Mapping[str, str]) -> tuple[str, ...] | None:
    """The names in `Literal["a", "b"]`, also in a union or a list; None where there is no Literal."""
    found: list[str] = []
    for part in ast.walk(node) if node is not None else ():
        if isinstance(part, ast.Subscript) and last_name(part.value) == "Literal":
            items = part.slice.elts if isinstance(part.slice, ast.Tuple) else [part.slice]
            names = [node_name(one, constants) for one in items]
            if any(one is None for one in names):
                return None
            found += [one for one in names if one is not None]
        elif isinstance(part, ast.Constant) and isinstance(part.value, str) and "Literal[" in part.value:
            inner = _parsed(part.value)
            found += literal_names(inner, constants) or () if inner is not None else ()
    return tuple(dict.fromkeys(found)) or None


def _parsed(text: str) -> ast.expr | None:
    """The expression of an annotation in quotes."""
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        return None


def returns_list(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function may return several targets, by its annotation and its return statements."""
    if function.returns is not None:
        outer = function.returns.value if isinstance(function.returns, ast.Subscript) else function.returns
        if last_name(outer).lower() in ("list", "sequence", "tuple", "iterable"):
            return True
    returned = (node.value for node in ast.walk(function) if isinstance(node, ast.Return))
    return any(isinstance(one, ast.List | ast.Tuple | ast.ListComp) for one in returned)
