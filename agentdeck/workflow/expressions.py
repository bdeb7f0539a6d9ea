"""Expressions and `${…}` templates: a whitelisted subset of Python over plain data.

Text is parsed once into an `ast`, and that is compiled into closures; nothing of Python itself is ever evaluated.
A dot reads a key, never an attribute. What is missing is null, and null has no fields. Every evaluation has a
budget of work (`operators.Frame`), and values have a largest size, so no text runs long whatever it says.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Mapping
from keyword import kwlist
from typing import TypeAlias

from agentdeck.workflow.expression_functions import (
    ARITHMETIC,
    BY_NAME,
    COMPARE,
    FUNCTIONS,
    LARGEST_NUMBER,
    WORDS,
    ExpressionError,
    Frame,
    Operator,
    Scope,
    field_of,
    index_of,
    show,
)
from agentdeck.workflow.model import Data

__all__ = [
    "Expression",
    "ExpressionError",
    "Scope",
    "Template",
    "compile_expression",
    "compile_template",
    "show",
    "split",
]

Run: TypeAlias = Callable[[Frame], Data]

LONGEST_TEXT = 4_000
MOST_NODES = 400
DEEPEST = 40
#: Python's words that expressions use themselves; the others may name agents and fields.
OPERATORS = ("and", "or", "not", "in", "is", "if", "else", "True", "False", "None")
_QUOTED = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_WORD = "_word_"
_NAMES = re.compile(
    rf"(?<=\.)({'|'.join(kwlist)})\b|(?<!\w)({'|'.join(w for w in kwlist if w not in OPERATORS)})\b"
)

# Compiling -----------------------------------------------------------------------------------------------------


class _Compiler:
    """One expression's tree into closures; notes the dotted names it reads."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.parsed = text.strip().replace("\n", " ")
        self.references: set[tuple[str, ...]] = set()

    def whole(self) -> Run:
        text = self.text
        if len(text) > LONGEST_TEXT:
            raise ExpressionError(f"an expression of {len(text):,} characters; the most is {LONGEST_TEXT:,}")
        if not text.strip():
            raise ExpressionError("an empty expression")
        try:
            try:
                tree = _parse(self.parsed)
            except SyntaxError as error:
                tree = self.with_words(error)
        except (ValueError, MemoryError, RecursionError):
            raise ExpressionError("that is not an expression") from None
        if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
            raise ExpressionError("the expression is too long")
        return self.node(tree.body, 0)

    def with_words(self, error: SyntaxError) -> ast.Expression:
        """Once more, with Python's words that mean nothing here (`class`, `from`) taken as names."""
        parts = _QUOTED.split(self.parsed)
        parts[::2] = [_NAMES.sub(lambda word: _WORD + word[0], part) for part in parts[::2]]
        self.parsed = "".join(parts)
        try:
            return _parse(self.parsed)
        except SyntaxError:
            what = f"{self.text.strip()[:60]!r} is not an expression"
            raise ExpressionError(what, self.column(error.offset or 0)) from None

    def column(self, at: int) -> int:
        """A column of the text as written, from one of the text as parsed; both start at 1."""
        lead = len(self.text) - len(self.text.lstrip())
        return lead + at - len(_WORD) * self.parsed[: max(at - 1, 0)].count(_WORD) if at > 0 else 0

    def refuse(self, node: ast.expr, what: str) -> ExpressionError:
        # ast counts bytes, people characters.
        before = self.parsed.encode()[: node.col_offset].decode(errors="replace")
        return ExpressionError(what, self.column(len(before) + 1))

    def node(self, node: ast.expr, depth: int) -> Run:
        if depth > DEEPEST:
            raise self.refuse(node, "the expression is nested too deep")
        path = _path(node)
        if path is not None:
            return self.name(path, node)
        below = depth + 1
        match node:
            case ast.Constant(value=value):
                if value is not None and not isinstance(value, bool | int | float | str):
                    raise self.refuse(node, f"{value!r} cannot stand in an expression")
                if isinstance(value, int | float) and not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
                    raise self.refuse(node, "the number is too large")
                return lambda frame: value
            case ast.Attribute(value=inner, attr=attr):
                if attr.startswith("__"):
                    raise self.refuse(node, f"{attr} cannot be read")
                get, field = self.node(inner, below), _word(attr)
                return lambda frame: field_of(get(frame), field)
            case ast.Subscript(value=inner, slice=key):
                get, at = self.node(inner, below), self.node(key, below)
                return lambda frame: index_of(get(frame), at(frame))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                act, a, b = ARITHMETIC[type(op)], self.node(left, below), self.node(right, below)
                return lambda frame: act(frame, a(frame), b(frame))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                get = self.node(operand, below)
                return lambda frame: not get(frame)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
                get, minus = self.node(operand, below), isinstance(sign, ast.USub)
                zero = ARITHMETIC[ast.Sub if minus else ast.Add]
                return lambda frame: zero(frame, 0, get(frame))
            case ast.BoolOp(op=op, values=values):
                return _either([self.node(value, below) for value in values], isinstance(op, ast.And))
            case ast.Compare(left=left, ops=ops, comparators=others):
                if not all(type(op) in COMPARE for op in ops):
                    raise self.refuse(node, "that comparison is not possible")
                return _chain(
                    self.node(left, below),
                    [(COMPARE[type(op)], self.node(one, below)) for op, one in zip(ops, others, strict=True)],
                )
            case ast.IfExp(test=test, body=body, orelse=orelse):
                ask, yes, no = self.node(test, below), self.node(body, below), self.node(orelse, below)
                return lambda frame: yes(frame) if ask(frame) else no(frame)
            case ast.List(elts=elts) | ast.Tuple(elts=elts):
                parts = [self.node(one, below) for one in elts]
                return lambda frame: [part(frame) for part in parts]
            case ast.Dict(keys=keys, values=values):
                return self.object(node, keys, values, below)
            case ast.Call():
                return self.call(node, below)
        words = type(node).__name__
        raise self.refuse(node, f"{ast.unparse(node)[:40]!r} ({words}) cannot stand in an expression")

    def name(self, path: tuple[str, ...], node: ast.expr) -> Run:
        first = path[0]
        if len(path) == 1 and first in WORDS:
            word = WORDS[first]
            return lambda frame: word
        for part in path:
            if part.startswith("__"):
                raise self.refuse(node, f"{part} cannot be read")
        self.references.add(path)
        if len(path) == 1:
            return lambda frame: frame.scope.get(first)
        rest = path[1:]

        def get(frame: Frame) -> Data:
            value = frame.scope.get(first)
            for part in rest:
                value = field_of(value, part)
            return value

        return get

    def object(self, node: ast.expr, keys: list[ast.expr | None], values: list[ast.expr], depth: int) -> Run:
        names = [key.value if isinstance(key, ast.Constant) else None for key in keys]
        if not all(isinstance(name, str) for name in names):
            raise self.refuse(node, "the keys of an object are strings")
        parts = [self.node(value, depth) for value in values]
        return lambda frame: {str(n): part(frame) for n, part in zip(names, parts, strict=True)}

    def call(self, node: ast.Call, depth: int) -> Run:
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS or node.keywords:
            known = " ".join(FUNCTIONS)
            raise self.refuse(node, f"{ast.unparse(node.func)[:40]!r} cannot be called; there are {known}")
        name = node.func.id
        function, least, most = FUNCTIONS[name]
        if not least <= len(node.args) <= most:
            raise self.refuse(node, f"{name} takes {least if least == most else f'{least} to {most}'} values")
        agent = _named(node.args[0]) if name in BY_NAME else None
        if agent is not None:
            self.references.add((agent,))
            return lambda frame: function(frame, agent)
        parts = [self.node(arg, depth) for arg in node.args]

        def run(frame: Frame) -> Data:
            frame.spend(1)
            return function(frame, *[part(frame) for part in parts])

        return run


def _path(node: ast.expr) -> tuple[str, ...] | None:
    """`a.b.c` as its parts, else None."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return tuple(_word(part) for part in (node.id, *reversed(parts)))


def _parse(text: str) -> ast.Expression:
    with warnings.catch_warnings():
        # What Python would warn of in a program is for us either an error or fine.
        warnings.simplefilter("ignore")
        return ast.parse(text, mode="eval")


def _word(name: str) -> str:
    """A name as it was written."""
    return name.removeprefix(_WORD)


def _named(node: ast.expr) -> str | None:
    """The agent that `status(a)` or `status("a")` asks about."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return _word(node.id) if isinstance(node, ast.Name) else None


def _either(parts: list[Run], every: bool) -> Run:
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


def tree_of(text: str) -> tuple[ast.expr, Callable[[ast.expr], tuple[str, ...] | None]]:
    """The tree of an expression that compiles, and what tells the dotted name that a node of it is."""
    compiler = _Compiler(text)
    try:
        return _parse(compiler.parsed).body, _path
    except SyntaxError as error:
        return compiler.with_words(error).body, _path


class Expression:
    """A bare expression (`when`, `each`, `expect`, `until`). `references` are the dotted names it reads."""

    __slots__ = ("_run", "references", "text")

    def __init__(self, text: str) -> None:
        compiler = _Compiler(text)
        self.text = text
        try:
            self._run = compiler.whole()
        except RecursionError:
            raise ExpressionError("the expression is nested too deep") from None
        self.references = frozenset(compiler.references)

    def evaluate(self, scope: Scope) -> Data:
        """Its value. Raises ExpressionError with the expression in its message."""
        try:
            return self._run(Frame(scope))
        except ExpressionError as error:
            raise ExpressionError(f"{self.text.strip()[:80]}: {error}", error.column) from None
        except RecursionError:
            raise ExpressionError(f"{self.text.strip()[:80]}: nested too deep") from None


class Template:
    """Any plain value whose strings may hold `${…}`. Alone in its string, an expression keeps its type; inside
    text it is rendered, lists and objects as JSON."""

    __slots__ = ("_render", "constant", "references")

    def __init__(self, value: Data) -> None:
        references: set[tuple[str, ...]] = set()
        render = _template(value, references)
        self.references = frozenset(references)
        self.constant = render is None
        self._render = render or (lambda scope: value)

    def render(self, scope: Scope) -> Data:
        return self._render(scope)


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
    """Text and the expressions in it, in order. `$${` is a literal `${`."""
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
    """Where the `}` of an expression is: quotes and inner braces do not count."""
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


def compile_expression(text: str) -> Expression:
    """Raises ExpressionError where `text` is none."""
    return Expression(text)


def compile_template(value: Data) -> Template:
    """Raises ExpressionError where a `${…}` in it is none."""
    return Template(value)
