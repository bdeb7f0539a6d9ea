"""The names that the expressions and templates of an agent read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agentdeck.workflow.expressions import ExpressionError, compile_expression, compile_template
from agentdeck.workflow.yaml_source import Path_

#: Expressions of an agent. Those that come after its work see its own `output`.
EXPRESSIONS = ("when", "each", "expect")
TEMPLATES = ("with", "once", "prompt", "system", "images", "http", "command", "approve")


def references(agent: Any, key: Path_) -> Iterator[tuple[tuple[str, ...], Path_]]:
    """Every dotted name that an agent reads, with the path of the value that contains it."""
    if not isinstance(agent, dict):
        return
    for name in EXPRESSIONS:
        yield from of_expression(agent.get(name), (*key, name))
    for name in TEMPLATES:
        yield from of_value(agent.get(name), (*key, name))
    repeat = agent.get("repeat")
    if isinstance(repeat, dict):
        yield from of_expression(repeat.get("until"), (*key, "repeat", "until"))
    simulate = agent.get("simulate")
    if isinstance(simulate, dict):
        for name in ("says", "returns"):
            yield from of_value(simulate.get(name), (*key, "simulate", name))
    dispatch = agent.get("dispatch")
    if isinstance(dispatch, dict):
        yield from of_expression(dispatch.get("on"), (*key, "dispatch", "on"))
    else:
        yield from of_expression(dispatch, (*key, "dispatch"))


def of_expression(text: Any, path: Path_) -> Iterator[tuple[tuple[str, ...], Path_]]:
    if isinstance(text, str):
        try:
            for name in sorted(compile_expression(text).references):
                yield name, path
        except ExpressionError:
            return


def of_value(value: Any, path: Path_) -> Iterator[tuple[tuple[str, ...], Path_]]:
    if isinstance(value, str):
        try:
            for name in sorted(compile_template(value).references):
                yield name, path
        except ExpressionError:
            return
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from of_value(item, (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from of_value(item, (*path, i))
