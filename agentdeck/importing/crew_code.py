"""Reads the class of a CrewAI crew (`@CrewBase`) from its Python file, without executing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from agentdeck.importing.imported import Findings, Place
from agentdeck.importing.python_source import Code, last_name, literal, place_of

#: Decorators of methods that change what the crew gets or gives, in code.
HOOKS = (
    "before_kickoff",
    "after_kickoff",
    "before_llm_call",
    "after_llm_call",
    "before_tool_call",
    "after_tool_call",
)


class Method(NamedTuple):
    """A value that is the result of a method of the crew: `self.researcher()`."""

    name: str


class Config(NamedTuple):
    """A value that is an entry of a YAML file: `self.agents_config["researcher"]`. `kind` is agents or tasks."""

    kind: str
    key: str


class Setting(NamedTuple):
    """The value of a setting, and where it stands."""

    value: Any
    place: Place


@dataclass(slots=True)
class Part:
    """An agent or a task of a crew. `calls` is the class that its method calls; "" where it comes from YAML."""

    name: str
    place: Place
    settings: dict[str, Setting] = field(default_factory=dict)
    calls: str = ""


@dataclass(slots=True)
class CrewCode:
    """What the class of a crew says. `crew` are the arguments of its `Crew(…)`."""

    name: str
    place: Place
    folder: Path
    agents: dict[str, Part] = field(default_factory=dict)
    tasks: dict[str, Part] = field(default_factory=dict)
    crew: dict[str, Setting] = field(default_factory=dict)
    configs: dict[str, str] = field(default_factory=dict)
    llms: frozenset[str] = frozenset()


def crew_classes(tree: ast.Module) -> list[ast.ClassDef]:
    """The classes that are decorated with `@CrewBase`."""
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return [one for one in classes if "CrewBase" in map(last_name, one.decorator_list)]


def read_crew(found: ast.ClassDef, file: str, folder: Path, findings: Findings) -> CrewCode:
    """The crew of a class. What cannot be read without running it is a fault."""
    crew = CrewCode(found.name, place_of(found, file), folder)
    crew.configs = {"agents": "config/agents.yaml", "tasks": "config/tasks.yaml"}
    llms = set()
    for name, value in _assigned(found.body).items():
        kind = name.removesuffix("_config")
        path = literal(value)
        if name in ("agents_config", "tasks_config") and isinstance(path, str):
            crew.configs[kind] = path
    for method in found.body:
        if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        decorators, place = [*map(last_name, method.decorator_list)], place_of(method, file)
        for kind, parts in (("agent", crew.agents), ("task", crew.tasks)):
            if kind in decorators:
                if method.name in parts:
                    first = parts[method.name].place
                    what = f"the {kind} {method.name} is here twice, first in line {first.line}"
                    findings.fault(place, what, "keep one of them")
                parts[method.name] = _part(method, file, findings)
        if "crew" in decorators:
            crew.crew = _part(method, file, findings).settings
        if "llm" in decorators:
            llms.add(method.name)
        for hook in set(decorators) & {*HOOKS, "on"}:
            findings.warn(place, f"{method.name} is code that CrewAI calls (@{hook}); it is not carried over")
    crew.llms = frozenset(llms)
    return crew


def _part(method: ast.FunctionDef | ast.AsyncFunctionDef, file: str, findings: Findings) -> Part:
    """What a method returns: the arguments of the call of a class."""
    local = _assigned(method.body)
    place = place_of(method, file)
    returned = [node.value for node in method.body if isinstance(node, ast.Return) and node.value is not None]
    call = returned[-1] if returned else None
    if isinstance(call, ast.Name):
        call = local.get(call.id)
    if not isinstance(call, ast.Call):
        what = f"{method.name} does not return a call such as Task(…), so it cannot be read without running it"
        findings.fault(place, what, "return the call itself")
        return Part(method.name, place)
    part = Part(method.name, place, calls=last_name(call.func))
    for argument in call.args:
        what = f"an argument of {part.calls} without its name cannot be read"
        findings.fault(place_of(argument, file), what, "name it")
    for keyword in call.keywords:
        if keyword.arg is None:
            what = f"**{literal(keyword.value)} in {method.name} cannot be read without running it"
            findings.fault(place_of(keyword.value, file), what, "write the arguments out")
        else:
            part.settings[keyword.arg] = Setting(_value(keyword.value, local), place_of(keyword.value, file))
    return part


def _assigned(body: list[ast.stmt]) -> dict[str, ast.expr]:
    """The names that are assigned once in these statements, with their values."""
    found: dict[str, ast.expr] = {}
    for statement in body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            found[statement.targets[0].id] = statement.value
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            found[statement.target.id] = statement.value
    return found


def _value(node: ast.expr, local: Mapping[str, ast.expr], depth: int = 0) -> Any:
    """The value of an argument: a literal, a Method, a Config, a list of those, else Code."""
    if isinstance(node, ast.Name) and node.id in local and depth < 5:
        return _value(local[node.id], local, depth + 1)
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item, local, depth) for item in node.elts]
    if isinstance(node, ast.Call) and _of_self(node.func) and not node.args and not node.keywords:
        return Method(last_name(node.func))
    config = _config(node)
    if config is not None:
        return config
    if isinstance(node, ast.Call) and last_name(node.func) == "LLM":
        return _model(node)
    if isinstance(node, ast.Attribute) and _of_self(node):
        return Code(f"self.{node.attr}")
    return literal(node)


def _of_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"


def _config(node: ast.expr) -> Config | None:
    """`self.agents_config["x"]`, also in a comparison with a type, or by `get`."""
    key: Any = None
    holder: ast.expr | None = None
    if isinstance(node, ast.Subscript):
        holder, key = node.value, literal(node.slice)
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "get"
        and node.args
    ):
        holder, key = node.func.value, literal(node.args[0])
    if holder is None or not _of_self(holder) or not isinstance(key, str):
        return None
    kind = last_name(holder).removesuffix("_config")
    return Config(kind, key) if kind in ("agents", "tasks") else None


def _model(call: ast.Call) -> Any:
    """The model that `LLM(…)` names, where it is a literal."""
    given = {keyword.arg: literal(keyword.value) for keyword in call.keywords}
    model = given.get("model", literal(call.args[0]) if call.args else None)
    return model if isinstance(model, str) else literal(call)


def methods_in(value: Any) -> Iterator[str]:
    """The names of methods in a value."""
    if isinstance(value, Method):
        yield value.name
    elif isinstance(value, list):
        for item in value:
            yield from methods_in(item)
