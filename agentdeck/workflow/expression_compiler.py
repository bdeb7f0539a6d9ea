"""Compiles expressions: the tree that Python's parser makes of the text, node by node, into closures.

Only the kinds of nodes in `_COMPILERS` exist in expressions. Nothing of Python itself is evaluated.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from keyword import kwlist
from typing import Any, TypeAlias

from agentdeck.workflow import expression_functions as functions
from agentdeck.workflow.expression_functions import ExpressionError, Frame, Operator
from agentdeck.workflow.model import Data

Run: TypeAlias = Callable[[Frame], Data]

MAX_CHARACTERS = 4_000
MAX_NODES = 400
MAX_DEPTH = 40
#: Keywords of Python that expressions use; the others may name agents and fields.
OPERATORS = ("and", "or", "not", "in", "is", "if", "else", "True", "False", "None")
_QUOTED = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_KEYWORD_PREFIX = "_word_"
_OTHER_KEYWORDS = [word for word in kwlist if word not in OPERATORS]
_NAMES = re.compile(rf"(?<=\.)({'|'.join(kwlist)})\b|(?<!\w)({'|'.join(_OTHER_KEYWORDS)})\b")


class ExpressionCompiler:
    """Compiles the tree of one expression into closures, and collects the dotted names that it reads."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.parsed = text.strip().replace("\n", " ")
        self.references: set[tuple[str, ...]] = set()

    def compile(self) -> Run:
        """A closure that evaluates the expression. Raises ExpressionError."""
        text = self.text
        if len(text) > MAX_CHARACTERS:
            raise ExpressionError(f"an expression of {len(text):,} characters; the most is {MAX_CHARACTERS:,}")
        if not text.strip():
            raise ExpressionError("an empty expression")
        try:
            tree = self.tree()
        except (ValueError, MemoryError, RecursionError):
            raise ExpressionError("this is not an expression") from None
        if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
            raise ExpressionError("the expression is too long")
        return self.node(tree.body, 0)

    def tree(self) -> ast.Expression:
        """The syntax tree. Raises ExpressionError, or what Python's parser raises for what is no expression."""
        try:
            return parse(self.parsed)
        except SyntaxError as error:
            return self.parse_with_keywords(error)

    def parse_with_keywords(self, error: SyntaxError) -> ast.Expression:
        """The tree with keywords of Python that expressions do not use (`class`, `from`) read as names."""
        parts = _QUOTED.split(self.parsed)
        parts[::2] = [_NAMES.sub(lambda word: _KEYWORD_PREFIX + word[0], part) for part in parts[::2]]
        self.parsed = "".join(parts)
        try:
            return parse(self.parsed)
        except SyntaxError:
            what = f"{self.text.strip()[:60]!r} is not an expression"
            raise ExpressionError(what, self.column(error.offset or 0)) from None

    def column(self, at: int) -> int:
        """A column of the text as written, from one of the text as parsed; both start at 1."""
        if at <= 0:
            return 0
        lead = len(self.text) - len(self.text.lstrip())
        return lead + at - len(_KEYWORD_PREFIX) * self.parsed[: at - 1].count(_KEYWORD_PREFIX)

    def refuse(self, node: ast.expr, what: str) -> ExpressionError:
        """The error for a node, with its column in characters: ast counts bytes."""
        before = self.parsed.encode()[: node.col_offset].decode(errors="replace")
        return ExpressionError(what, self.column(len(before) + 1))

    def node(self, node: ast.expr, depth: int) -> Run:
        """A closure that evaluates the node. Raises ExpressionError for what expressions do not have."""
        if depth > MAX_DEPTH:
            raise self.refuse(node, "the expression is nested too deep")
        path = dotted_name(node)
        if path is not None:
            return self.name(path, node)
        compile_kind = _COMPILERS.get(type(node))
        if compile_kind is None:
            raise self.unknown(node)
        return compile_kind(self, node, depth + 1)

    def unknown(self, node: ast.expr) -> ExpressionError:
        kind = type(node).__name__
        return self.refuse(node, f"{ast.unparse(node)[:40]!r} ({kind}) is not allowed in an expression")

    def constant(self, node: ast.Constant, depth: int) -> Run:
        value = node.value
        if value is not None and not isinstance(value, bool | int | float | str):
            raise self.refuse(node, f"{value!r} is not allowed in an expression")
        if isinstance(value, int | float) and not -functions.LARGEST_NUMBER <= value <= functions.LARGEST_NUMBER:
            raise self.refuse(node, "the number is too large")
        return lambda frame: value

    def attribute(self, node: ast.Attribute, depth: int) -> Run:
        if node.attr.startswith("__"):
            raise self.refuse(node, f"{node.attr} is not allowed")
        get, field = self.node(node.value, depth), _original(node.attr)
        return lambda frame: functions.field_of(get(frame), field)

    def subscript(self, node: ast.Subscript, depth: int) -> Run:
        get, at = self.node(node.value, depth), self.node(node.slice, depth)
        return lambda frame: functions.index_of(get(frame), at(frame))

    def arithmetic(self, node: ast.BinOp, depth: int) -> Run:
        operator = functions.ARITHMETIC.get(type(node.op))
        if operator is None:
            raise self.unknown(node)
        left, right = self.node(node.left, depth), self.node(node.right, depth)
        return lambda frame: operator(frame, left(frame), right(frame))

    def unary(self, node: ast.UnaryOp, depth: int) -> Run:
        if isinstance(node.op, ast.Invert):
            raise self.unknown(node)
        get = self.node(node.operand, depth)
        if isinstance(node.op, ast.Not):
            return lambda frame: not get(frame)
        operator = functions.ARITHMETIC[ast.Sub if isinstance(node.op, ast.USub) else ast.Add]
        return lambda frame: operator(frame, 0, get(frame))

    def boolean(self, node: ast.BoolOp, depth: int) -> Run:
        return _and_or([self.node(value, depth) for value in node.values], isinstance(node.op, ast.And))

    def comparison(self, node: ast.Compare, depth: int) -> Run:
        if not all(type(op) in functions.COMPARE for op in node.ops):
            raise self.refuse(node, "this comparison is not allowed")
        first, rest = self.node(node.left, depth), zip(node.ops, node.comparators, strict=True)
        return _chain(first, [(functions.COMPARE[type(op)], self.node(one, depth)) for op, one in rest])

    def conditional(self, node: ast.IfExp, depth: int) -> Run:
        test, body, other = (self.node(one, depth) for one in (node.test, node.body, node.orelse))
        return lambda frame: body(frame) if test(frame) else other(frame)

    def sequence(self, node: ast.List | ast.Tuple, depth: int) -> Run:
        parts = [self.node(one, depth) for one in node.elts]
        return lambda frame: [part(frame) for part in parts]

    def name(self, path: tuple[str, ...], node: ast.expr) -> Run:
        first = path[0]
        if len(path) == 1 and first in functions.WORDS:
            word = functions.WORDS[first]
            return lambda frame: word
        for part in path:
            if part.startswith("__"):
                raise self.refuse(node, f"{part} is not allowed")
        self.references.add(path)
        if len(path) == 1:
            return lambda frame: frame.scope.get(first)
        rest = path[1:]

        def get(frame: Frame) -> Data:
            value = frame.scope.get(first)
            for part in rest:
                value = functions.field_of(value, part)
            return value

        return get

    def object(self, node: ast.Dict, depth: int) -> Run:
        names = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
        if not all(isinstance(name, str) for name in names):
            raise self.refuse(node, "the keys of an object are strings")
        parts = [self.node(value, depth) for value in node.values]
        return lambda frame: {str(n): part(frame) for n, part in zip(names, parts, strict=True)}

    def call(self, node: ast.Call, depth: int) -> Run:
        if not isinstance(node.func, ast.Name) or node.func.id not in functions.FUNCTIONS or node.keywords:
            known = " ".join(functions.FUNCTIONS)
            raise self.refuse(node, f"{ast.unparse(node.func)[:40]!r} cannot be called; there are {known}")
        name = node.func.id
        function, least, most, *_ = functions.FUNCTIONS[name]
        if not least <= len(node.args) <= most:
            raise self.refuse(node, f"{name} takes {least if least == most else f'{least} to {most}'} values")
        agent = _agent_argument(node.args[0]) if name in functions.BY_NAME else None
        if agent is not None:
            self.references.add((agent,))
            return lambda frame: function(frame, agent)
        parts = [self.node(arg, depth) for arg in node.args]

        def run(frame: Frame) -> Data:
            frame.spend(1)
            return function(frame, *[part(frame) for part in parts])

        return run


def dotted_name(node: ast.expr) -> tuple[str, ...] | None:
    """The parts of `a.b.c`; None for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return tuple(_original(part) for part in (node.id, *reversed(parts)))


def parse(text: str) -> ast.Expression:
    with warnings.catch_warnings():
        # Python warns of code that is doubtful in a program (`1 is 1`). Here it is either an error or valid.
        warnings.simplefilter("ignore")
        return ast.parse(text, mode="eval")


def _original(name: str) -> str:
    """The name as it was written, without the prefix that makes a keyword a name."""
    return name.removeprefix(_KEYWORD_PREFIX)


def _agent_argument(node: ast.expr) -> str | None:
    """The agent that `status(a)` or `status("a")` asks about."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return _original(node.id) if isinstance(node, ast.Name) else None


def _and_or(parts: list[Run], every: bool) -> Run:
    def run(frame: Frame) -> Data:
        value: Data = None
        for part in parts:
            value = part(frame)
            if bool(value) is not every:
                return value
        return value

    return run


def _chain(first: Run, rest: list[tuple[Operator, Run]]) -> Run:
    def run(frame: Frame) -> Data:
        a = first(frame)
        for act, part in rest:
            b = part(frame)
            if not act(frame, a, b):
                return False
            a = b
        return True

    return run


#: The method that compiles each kind of node. Dotted names are compiled before these are asked.
_COMPILERS: dict[type[ast.expr], Callable[[ExpressionCompiler, Any, int], Run]] = {
    ast.Constant: ExpressionCompiler.constant,
    ast.Attribute: ExpressionCompiler.attribute,
    ast.Subscript: ExpressionCompiler.subscript,
    ast.BinOp: ExpressionCompiler.arithmetic,
    ast.UnaryOp: ExpressionCompiler.unary,
    ast.BoolOp: ExpressionCompiler.boolean,
    ast.Compare: ExpressionCompiler.comparison,
    ast.IfExp: ExpressionCompiler.conditional,
    ast.List: ExpressionCompiler.sequence,
    ast.Tuple: ExpressionCompiler.sequence,
    ast.Dict: ExpressionCompiler.object,
    ast.Call: ExpressionCompiler.call,
}
