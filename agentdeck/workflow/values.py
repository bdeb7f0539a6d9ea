"""Expressions and `${…}` templates: a whitelisted subset of Python over plain data.

Text is parsed once into an `ast`, and that is compiled into closures; nothing of Python itself is ever evaluated.
A dot reads a key, never an attribute. What is missing is null, and null has no fields. Every evaluation has a
budget of work, and values have a largest size, so no text runs long whatever it says.
"""

from __future__ import annotations

import ast
import json
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from agentdeck.errors import AgentdeckError
from agentdeck.workflow.model import Data

Scope: TypeAlias = Mapping[str, Data]
Run: TypeAlias = Callable[["_Frame"], Data]

LONGEST_TEXT = 4_000
MOST_NODES = 400
DEEPEST = 40
WORK = 20_000
LARGEST = 1_000_000
LARGEST_NUMBER = 10**30


class ExpressionError(AgentdeckError):
    """An expression that cannot be read or worked out. `column` starts at 1; 0 is unknown."""

    def __init__(self, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.column = column


class _Frame:
    """One evaluation: what it may read, and how much work it has left."""

    __slots__ = ("left", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.left = WORK

    def spend(self, work: int) -> None:
        self.left -= work
        if self.left < 0:
            raise ExpressionError("the expression does too much work")


def _kind(value: Data) -> str:
    names = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string", list: "list"}
    return names.get(type(value), "object")


# Functions -----------------------------------------------------------------------------------------------------


def _items(frame: _Frame, value: Data) -> list[Data]:
    if isinstance(value, str | list | tuple):
        frame.spend(len(value) // 8 + 1)
        return list(value)
    if isinstance(value, dict):
        frame.spend(len(value) // 8 + 1)
        return list(value)
    raise ExpressionError(f"a list is needed, not {_kind(value)}")


def _len(frame: _Frame, value: Data) -> Data:
    if isinstance(value, str | list | dict):
        return len(value)
    if value is None:
        return 0
    raise ExpressionError(f"len of {_kind(value)}")


def _extreme(name: str, pick: Callable[[Iterable[Any]], Any]) -> Callable[..., Data]:
    def function(frame: _Frame, *values: Data) -> Data:
        items = _items(frame, values[0]) if len(values) == 1 else list(values)
        if not items:
            return None
        if not (all(isinstance(i, int | float) for i in items) or all(isinstance(i, str) for i in items)):
            raise ExpressionError(f"{name} needs numbers or strings")
        return pick(items)

    return function


def _sum(frame: _Frame, values: Data) -> Data:
    items = _items(frame, values)
    if not all(isinstance(i, int | float) for i in items):
        raise ExpressionError("sum needs numbers")
    return _bounded(sum(items))


def _round(frame: _Frame, value: Data, digits: Data = 0) -> Data:
    if not isinstance(value, int | float) or not isinstance(digits, int) or not -30 <= digits <= 30:
        raise ExpressionError("round needs a number, and digits from -30 to 30")
    return round(value, digits) if digits else round(value)


def _str(frame: _Frame, value: Data) -> Data:
    text = show(value)
    frame.spend(len(text) // 64 + 1)
    return text


def _number(make: Callable[[Any], Any], name: str) -> Callable[..., Data]:
    def function(frame: _Frame, value: Data) -> Data:
        if isinstance(value, str) and len(value) > 100:
            raise ExpressionError(f"{name} of a text of {len(value)} characters")
        try:
            return _bounded(make(value))
        except (TypeError, ValueError, OverflowError):
            raise ExpressionError(f"{name} of {show(value)[:40]!r}") from None

    return function


def _text(method: Callable[[str], str], name: str) -> Callable[..., Data]:
    def function(frame: _Frame, value: Data) -> Data:
        if not isinstance(value, str):
            raise ExpressionError(f"{name} of {_kind(value)}")
        frame.spend(len(value) // 64 + 1)
        return method(value)

    return function


def _join(frame: _Frame, values: Data, between: Data = ", ") -> Data:
    texts = [show(item) for item in _items(frame, values)]
    size = sum(map(len, texts)) + len(texts) * len(str(between))
    if size > LARGEST:
        raise ExpressionError(f"join would make {size:,} characters")
    frame.spend(size // 64)
    return str(between).join(texts)


def _missing(frame: _Frame) -> Data:
    return list(frame.scope.get("__missing__") or [])


def _status(frame: _Frame, name: Data) -> Data:
    return (frame.scope.get("__status__") or {}).get(name)


def _error(frame: _Frame, name: Data) -> Data:
    return (frame.scope.get("__error__") or {}).get(name)


FUNCTIONS: dict[str, tuple[Callable[..., Data], int, int]] = {
    "len": (_len, 1, 1),
    "min": (_extreme("min", min), 1, 20),
    "max": (_extreme("max", max), 1, 20),
    "sum": (_sum, 1, 1),
    "any": (lambda frame, values: any(_items(frame, values)), 1, 1),
    "all": (lambda frame, values: all(_items(frame, values)), 1, 1),
    "round": (_round, 1, 2),
    "str": (_str, 1, 1),
    "int": (_number(int, "int"), 1, 1),
    "float": (_number(float, "float"), 1, 1),
    "lower": (_text(str.lower, "lower"), 1, 1),
    "upper": (_text(str.upper, "upper"), 1, 1),
    "join": (_join, 1, 2),
    "missing": (_missing, 0, 0),
    "status": (_status, 1, 1),
    "error": (_error, 1, 1),
}
#: Functions whose argument may be a bare agent's name.
BY_NAME = frozenset({"status", "error"})
WORDS: dict[str, Data] = {"true": True, "false": False, "null": None}

# Operators -----------------------------------------------------------------------------------------------------


def _bounded(value: Data) -> Data:
    if isinstance(value, int | float) and not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        raise ExpressionError("the number is too large")
    return value


def _add(a: Data, b: Data) -> Data:
    if (isinstance(a, list) and isinstance(b, list)) or (isinstance(a, str) and isinstance(b, str)):
        if len(a) + len(b) > LARGEST:
            raise ExpressionError("the value is too large")
        return a + b  # type: ignore[operator]
    return _arithmetic(operator.add, "+")(a, b)


def _arithmetic(act: Callable[[Any, Any], Any], sign: str) -> Callable[[Data, Data], Data]:
    def function(a: Data, b: Data) -> Data:
        if not isinstance(a, int | float) or not isinstance(b, int | float):
            raise ExpressionError(f"{_kind(a)} {sign} {_kind(b)} is not possible")
        try:
            return _bounded(act(a, b))
        except ZeroDivisionError:
            raise ExpressionError("division by zero") from None
        except OverflowError:
            raise ExpressionError("the number is too large") from None

    return function


ARITHMETIC: dict[type, Callable[[Data, Data], Data]] = {
    ast.Add: _add,
    ast.Sub: _arithmetic(operator.sub, "-"),
    ast.Mult: _arithmetic(operator.mul, "*"),
    ast.Div: _arithmetic(operator.truediv, "/"),
    ast.FloorDiv: _arithmetic(operator.floordiv, "//"),
    ast.Mod: _arithmetic(operator.mod, "%"),
}


def _ordered(act: Callable[[Any, Any], bool], sign: str) -> Callable[[Data, Data], bool]:
    def function(a: Data, b: Data) -> bool:
        if a is None or b is None:
            return False
        numbers = isinstance(a, int | float) and isinstance(b, int | float)
        if not numbers and not (isinstance(a, str) and isinstance(b, str)):
            raise ExpressionError(f"{_kind(a)} {sign} {_kind(b)} is not possible")
        return act(a, b)

    return function


def _within(a: Data, b: Data) -> bool:
    if b is None:
        return False
    if isinstance(b, str):
        return isinstance(a, str) and a in b
    if isinstance(b, list | dict):
        return isinstance(a, str | int | float | bool | None) and a in b
    raise ExpressionError(f"in {_kind(b)} is not possible")


COMPARE: dict[type, Callable[[Data, Data], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: _ordered(operator.lt, "<"),
    ast.LtE: _ordered(operator.le, "<="),
    ast.Gt: _ordered(operator.gt, ">"),
    ast.GtE: _ordered(operator.ge, ">="),
    ast.In: _within,
    ast.NotIn: lambda a, b: not _within(a, b),
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
}


def _field(value: Data, name: str) -> Data:
    """A dot reads a key of an object; anything else has none."""
    return value.get(name) if isinstance(value, Mapping) else None


def _index(value: Data, key: Data) -> Data:
    if isinstance(value, Mapping):
        return value.get(key) if isinstance(key, str | int | float | bool | None) else None
    if isinstance(value, list | str) and isinstance(key, int) and not isinstance(key, bool):
        return value[key] if -len(value) <= key < len(value) else None
    if value is None:
        return None
    raise ExpressionError(f"{_kind(value)}[{_kind(key)}] is not possible")


# Compiling -----------------------------------------------------------------------------------------------------


class _Compiler:
    """One expression's tree into closures; notes the dotted names it reads."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.references: set[tuple[str, ...]] = set()

    def whole(self) -> Run:
        text = self.text
        if len(text) > LONGEST_TEXT:
            raise ExpressionError(f"an expression of {len(text):,} characters; the most is {LONGEST_TEXT:,}")
        if not text.strip():
            raise ExpressionError("an empty expression")
        try:
            with warnings.catch_warnings():
                # What Python would warn of in a program is for us either an error or fine.
                warnings.simplefilter("ignore")
                tree = ast.parse(text.strip().replace("\n", " "), mode="eval")
        except SyntaxError as error:
            raise ExpressionError(f"{text.strip()[:60]!r} is not an expression", error.offset or 0) from None
        except (ValueError, MemoryError, RecursionError):
            raise ExpressionError("that is not an expression") from None
        if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
            raise ExpressionError("the expression is too long")
        return self.node(tree.body, 0)

    def refuse(self, node: ast.AST, what: str) -> ExpressionError:
        return ExpressionError(what, getattr(node, "col_offset", -1) + 1)

    def node(self, node: ast.expr, depth: int) -> Run:
        if depth > DEEPEST:
            raise self.refuse(node, "the expression is nested too deep")
        path = _path(node)
        if path is not None:
            return self.name(path)
        below = depth + 1
        match node:
            case ast.Constant(value=value):
                if value is not None and not isinstance(value, bool | int | float | str):
                    raise self.refuse(node, f"{value!r} cannot stand in an expression")
                _bounded(value)
                return lambda frame: value
            case ast.Attribute(value=inner, attr=attr):
                if attr.startswith("__"):
                    raise self.refuse(node, f"{attr} cannot be read")
                get = self.node(inner, below)
                return lambda frame: _field(get(frame), attr)
            case ast.Subscript(value=inner, slice=key):
                get, at = self.node(inner, below), self.node(key, below)
                return lambda frame: _index(get(frame), at(frame))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                act, a, b = ARITHMETIC[type(op)], self.node(left, below), self.node(right, below)
                return lambda frame: act(a(frame), b(frame))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                get = self.node(operand, below)
                return lambda frame: not get(frame)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
                get, minus = self.node(operand, below), isinstance(sign, ast.USub)
                zero = ARITHMETIC[ast.Sub if minus else ast.Add]
                return lambda frame: zero(0, get(frame))
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

    def name(self, path: tuple[str, ...]) -> Run:
        first = path[0]
        if len(path) == 1 and first in WORDS:
            word = WORDS[first]
            return lambda frame: word
        for part in path:
            if part.startswith("__"):
                raise ExpressionError(f"{part} cannot be read")
        self.references.add(path)
        if len(path) == 1:
            return lambda frame: frame.scope.get(first)
        rest = path[1:]

        def get(frame: _Frame) -> Data:
            value = frame.scope.get(first)
            for part in rest:
                value = _field(value, part)
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
        if name in BY_NAME and isinstance(node.args[0], ast.Name):
            self.references.add((node.args[0].id,))
            agent = node.args[0].id
            return lambda frame: function(frame, agent)
        parts = [self.node(arg, depth) for arg in node.args]

        def run(frame: _Frame) -> Data:
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
    return (node.id, *reversed(parts))


def _either(parts: list[Run], every: bool) -> Run:
    def run(frame: _Frame) -> Data:
        value: Data = None
        for part in parts:
            value = part(frame)
            if bool(value) is not every:
                return value
        return value

    return run


def _chain(first: Run, rest: list[tuple[Callable[[Data, Data], bool], Run]]) -> Run:
    def run(frame: _Frame) -> Data:
        a = first(frame)
        for act, part in rest:
            b = part(frame)
            if isinstance(a, str | list | dict):
                frame.spend(len(a) // 64)
            if isinstance(b, str | list | dict):
                frame.spend(len(b) // 16)
            if not act(a, b):
                return False
            a = b
        return True

    return run


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
            return self._run(_Frame(scope))
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


def show(value: Data) -> str:
    """A value inside text: strings as they are, null as nothing, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, default=str)


def compile_expression(text: str) -> Expression:
    """Raises ExpressionError where `text` is none."""
    return Expression(text)


def compile_template(value: Data) -> Template:
    """Raises ExpressionError where a `${…}` in it is none."""
    return Template(value)
