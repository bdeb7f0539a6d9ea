"""Expressions and `${…}` templates: a whitelisted subset of Python over plain data.

Text is parsed once into an `ast`, and that is compiled into closures; nothing of Python itself is ever evaluated.
A dot reads a key, never an attribute. A missing value is null, and null has no fields. Every evaluation has a
budget of work (`expression_functions.Frame`), and values have a largest size, so no text runs long.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping

from agentdeck.workflow.expression_compiler import OPERATORS, ExpressionCompiler, dotted_name
from agentdeck.workflow.expression_functions import ExpressionError, Frame, Scope, show
from agentdeck.workflow.json_text import room_left
from agentdeck.workflow.model import Data

__all__ = [
    "LIGHT",
    "OPERATORS",
    "Expression",
    "ExpressionError",
    "Scope",
    "Template",
    "dotted_name",
    "is_light",
    "show",
    "split",
    "tree_of",
]

#: Characters of values that are rendered on the event loop: about 1 ms.
LIGHT = 16_000


def tree_of(text: str) -> ast.expr:
    """The syntax tree of an expression that compiles."""
    return ExpressionCompiler(text).tree().body


class Expression:
    """A bare expression (`when`, `each`, `expect`, `until`). `references` are the dotted names it reads. Raises
    ExpressionError where `text` is none."""

    __slots__ = ("_run", "references", "text")

    def __init__(self, text: str) -> None:
        compiler = ExpressionCompiler(text)
        self.text = text
        try:
            self._run = compiler.compile()
        except RecursionError:
            raise ExpressionError("the expression is nested too deep") from None
        self.references = frozenset(compiler.references)

    def evaluate(self, scope: Scope) -> Data:
        """The value of the expression. Raises ExpressionError with the expression in its message."""
        try:
            return self._run(Frame(scope))
        except ExpressionError as error:
            raise ExpressionError(f"{self.text.strip()[:80]}: {error}", error.column) from None
        except RecursionError:
            raise ExpressionError(f"{self.text.strip()[:80]}: nested too deep") from None


class Template:
    """Any plain value whose strings may hold `${…}`. Alone in its string, an expression keeps its type; inside
    text it is rendered, lists and objects as JSON. Raises ExpressionError where a `${…}` holds no expression."""

    __slots__ = ("_render", "constant", "references")

    def __init__(self, value: Data) -> None:
        references: set[tuple[str, ...]] = set()
        render = _template(value, references)
        self.references = frozenset(references)
        self.constant = render is None
        self._render = render or (lambda scope: value)

    def render(self, scope: Scope) -> Data:
        return self._render(scope)


def is_light(references: Collection[tuple[str, ...]], scope: Scope) -> bool:
    """Whether the values behind these names are small enough to be rendered on the event loop."""
    room = LIGHT
    for name in references:
        value: Data = scope.get(name[0])
        for part in name[1:]:
            value = value.get(part) if isinstance(value, Mapping) else None
        room = room_left(value, room)
        if room < 0:
            return False
    return True


def _template(value: Data, references: set[tuple[str, ...]]) -> Callable[[Scope], Data] | None:
    """A function that renders, or None where there is nothing to render."""
    if isinstance(value, str):
        return _template_text(value, references)
    if isinstance(value, Mapping):
        fields = {key: (_template(item, references), item) for key, item in value.items()}
        if all(render is None for render, _ in fields.values()):
            return None
        return lambda scope: {k: render(scope) if render else item for k, (render, item) in fields.items()}
    if isinstance(value, list | tuple):
        items = [(_template(item, references), item) for item in value]
        if all(render is None for render, _ in items):
            return None
        return lambda scope: [render(scope) if render else item for render, item in items]
    return None


def _template_text(text: str, references: set[tuple[str, ...]]) -> Callable[[Scope], Data] | None:
    parts = split(text)
    if not any(isinstance(part, Expression) for part in parts):
        return None if "$${" not in text else lambda scope: "".join(map(str, parts))
    for part in parts:
        if isinstance(part, Expression):
            references.update(part.references)
    if len(parts) == 1:
        only = parts[0]
        assert isinstance(only, Expression)
        return only.evaluate
    return lambda scope: "".join(show(p.evaluate(scope)) if isinstance(p, Expression) else p for p in parts)


def split(text: str) -> list[str | Expression]:
    """The parts of a template: plain text and expressions, in order. `$${` is a literal `${`."""
    parts: list[str | Expression] = []
    plain, at = "", 0
    while True:
        start = text.find("${", at)
        if start < 0:
            plain += text[at:]
            break
        if start and text[start - 1] == "$":
            plain += text[at : start - 1] + "${"
            at = start + 2
            continue
        plain += text[at:start]
        end = _closing(text, start + 2)
        if end < 0:
            raise ExpressionError("`${` without its `}`", start + 1)
        if plain:
            parts.append(plain)
            plain = ""
        try:
            parts.append(Expression(text[start + 2 : end]))
        except ExpressionError as error:
            raise ExpressionError(str(error), start + 2 + max(1, error.column)) from None
        at = end + 1
    if plain or not parts:
        parts.append(plain)
    return parts


def _closing(text: str, at: int) -> int:
    """The index of the `}` that ends an expression, -1 where there is none. Braces in quotes do not count."""
    depth, quote = 0, ""
    for i in range(at, len(text)):
        char = text[i]
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "{":
            depth += 1
        elif char == "}":
            if depth == 0:
                return i
            depth -= 1
    return -1
