"""The expressions in values of a file, and the names that they read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

from agentdeck.workflow.expressions import Expression, ExpressionError, split
from agentdeck.workflow.yaml_source import Path_

#: A dotted name, and the path of the value that contains it.
Reference: TypeAlias = tuple[tuple[str, ...], Path_]
#: The expressions in one value, and its path.
Found: TypeAlias = tuple[list[Expression], Path_]


def in_expression(text: Any, path: Path_) -> Iterator[Found]:
    """The expression that a text is as a whole. What is no expression is a fault of its own, and left out."""
    if isinstance(text, str):
        with suppress(ExpressionError):
            yield [Expression(text)], path


def expressions_in(value: Any, path: Path_) -> Iterator[Found]:
    """The expressions in the `${…}` of each string of a plain value. What is none is left out, as above."""
    if isinstance(value, str):
        with suppress(ExpressionError):
            yield [part for part in split(value) if isinstance(part, Expression)], path
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from expressions_in(item, (*path, key))


def references(found: Iterable[Found]) -> Iterator[Reference]:
    """Every dotted name that these expressions read."""
    for expressions, path in found:
        for name in sorted({name for expression in expressions for name in expression.references}):
            yield name, path
