"""Functions and operators of expressions, and the work budget of each evaluation.

Whatever reads a whole value pays for it from the budget before it does the work, so no value, however large,
makes an evaluation run long. A unit of work is about 1 µs, so WORK is about 20 ms; the bound is 50 ms. Plain data
only: a missing value is null, and null has no fields.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from agentdeck.errors import AgentdeckError
from agentdeck.workflow.json_text import SMALL_INT, TooLong, json_text
from agentdeck.workflow.model import Data

Scope: TypeAlias = Mapping[str, Data]
Operator: TypeAlias = "Callable[[Frame, Data, Data], Data]"

WORK = 20_000
LARGEST = 1_000_000
LARGEST_TEXT = 4_000_000
LARGEST_NUMBER = 10**30
#: Characters of JSON that one unit of work writes: 1 µs for a float, less for anything else.
WRITTEN = 20
#: Numbers that are added up or compared between two looks at how large they are.
NUMBERS = 1_000
_SCALARS = frozenset({type(None), bool, int, float})
_NUMBERS = frozenset({bool, int, float})


class ExpressionError(AgentdeckError):
    """An expression that cannot be read or worked out. `column` starts at 1; 0 is unknown."""

    def __init__(self, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.column = column


class Frame:
    """One evaluation: its scope, and the work that it has left."""

    __slots__ = ("left", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.left = WORK

    def spend(self, work: int) -> None:
        self.left -= work
        if self.left < 0:
            raise ExpressionError("the expression does too much work")

    def weigh(self, value: Data) -> None:
        """Charges for reading all of a value, at any depth, before it is compared or written out."""
        if isinstance(value, str):
            self.spend(len(value) // 64)
        elif isinstance(value, list | tuple | dict):
            todo = [value]
            for one in todo:
                self.spend(len(one) // 4 + 1)
                items = one.values() if isinstance(one, dict) else one
                if len(one) > 16 and _SCALARS.issuperset(map(type, items)):
                    continue
                for item in items:
                    if isinstance(item, list | tuple | dict):
                        todo.append(item)
                    elif isinstance(item, str):
                        self.spend(len(item) // 64)

    def show(self, value: Data) -> str:
        """The value as text (`show`), charged by the length of the text."""
        if isinstance(value, str):
            self.spend(len(value) // 64)
            return value
        if value is None:
            return ""
        text = _json(value, min(LARGEST, self.left * WRITTEN))
        if text is None:
            raise ExpressionError("the expression does too much work")
        self.spend(len(text) // WRITTEN + 1)
        return text


def _kind(value: Data) -> str:
    names = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string", list: "list"}
    return names.get(type(value), "object")


# Functions -----------------------------------------------------------------------------------------------------


def _items(frame: Frame, value: Data) -> list[Data]:
    if isinstance(value, str | list | tuple | dict):
        frame.spend(len(value) // 8 + 1)
        return list(value)
    raise ExpressionError(f"a list is needed, not {_kind(value)}")


def _len(frame: Frame, value: Data) -> Data:
    if isinstance(value, str | list | dict):
        return len(value)
    if value is None:
        return 0
    raise ExpressionError(f"len of {_kind(value)}")


def _extreme(pick: Callable[[Iterable[Any]], Any], frame: Frame, *values: Data) -> Data:
    items = _items(frame, values[0]) if len(values) == 1 else list(values)
    if not items:
        return None
    kinds = set(map(type, items))
    if kinds == {str}:
        return pick(items)
    if not kinds <= _NUMBERS:
        raise ExpressionError(f"{pick.__name__} needs numbers or strings")
    return pick(bounded(pick(some)) for some in _some(items))


def _sum(frame: Frame, values: Data) -> Data:
    items = _items(frame, values)
    if not _NUMBERS.issuperset(map(type, items)):
        raise ExpressionError("sum needs numbers")
    total: Any = 0
    for some in _some(items):
        if int in map(type, some):
            bounded(min(some)), bounded(max(some))  # adding numbers of thousands of digits takes long
        total = bounded(total + sum(some))
    return total


def _some(items: list[Data]) -> Iterator[list[Data]]:
    """The items, NUMBERS at a time."""
    return (items[at : at + NUMBERS] for at in range(0, len(items), NUMBERS))


def _round(frame: Frame, value: Data, digits: Data = 0) -> Data:
    if not isinstance(value, int | float) or not isinstance(digits, int) or not -30 <= digits <= 30:
        raise ExpressionError("round needs a number, and digits from -30 to 30")
    return round(value, digits) if digits else round(value)


def _number(make: type[int] | type[float], frame: Frame, value: Data) -> Data:
    if isinstance(value, str) and len(value) > 100:
        raise ExpressionError(f"{make.__name__} of a text of {len(value)} characters")
    try:
        return bounded(make(value))
    except (TypeError, ValueError, OverflowError):
        shown = repr(value) if isinstance(value, str) else _kind(value)
        raise ExpressionError(f"{make.__name__} of {shown}") from None


def _text(method: Callable[[str], str], frame: Frame, value: Data) -> Data:
    if not isinstance(value, str):
        raise ExpressionError(f"{method.__name__} of {_kind(value)}")
    frame.spend(len(value) // 32 + 1)
    return method(value)


def _join(frame: Frame, values: Data, between: Data = ", ") -> Data:
    if not isinstance(between, str):
        raise ExpressionError(f"join with {_kind(between)} between; it takes a string")
    items = _items(frame, values)
    kinds = set(map(type, items))
    if kinds == {str}:
        texts: list[str] = items
    elif kinds == {int} and min(items) > -SMALL_INT and max(items) < SMALL_INT:
        frame.spend(len(items) // 4)
        texts = list(map(str, items))
    else:
        frame.spend(2 * len(items))
        texts = [frame.show(item) for item in items]
    size = sum(map(len, texts)) + len(texts) * len(between)
    if size > LARGEST:
        raise ExpressionError(f"join would make {size:,} characters")
    frame.spend(size // 512)
    return between.join(texts)


def _of_map(pick: Callable[[dict[str, Data]], Iterable[Data]], frame: Frame, value: Data) -> Data:
    if not isinstance(value, dict):
        raise ExpressionError(f"{pick.__name__} of {_kind(value)}; it takes a map")
    frame.spend(len(value) // 8 + 1)
    return list(pick(value))


def _of_agent(key: str, frame: Frame, name: Data) -> Data:
    return (frame.scope.get(key) or {}).get(name) if isinstance(name, str) else None


class Function(NamedTuple):
    """A function of expressions: what it does, and its least and most arguments. For the check of types: what it
    gives (None is anything), and what its first argument has to be, since it fails for all of `refused`."""

    call: Callable[..., Data]
    least: int
    most: int
    gives: str | None = None
    needed: str = ""
    refused: frozenset[str] = frozenset()


def _kinds(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LIST = "a list"
_NO_LIST, _NO_TEXT = _kinds("number boolean"), _kinds("number boolean list map")
_NO_MAP = _kinds("string number boolean list")
FUNCTIONS = {
    "len": Function(_len, 1, 1, "number", "a list, a map or a string", _NO_LIST),
    "min": Function(partial(_extreme, min), 1, 20),
    "max": Function(partial(_extreme, max), 1, 20),
    "sum": Function(_sum, 1, 1, "number", _LIST, _kinds("string number boolean map")),
    "any": Function(lambda frame, values: any(_items(frame, values)), 1, 1, "boolean", _LIST, _NO_LIST),
    "all": Function(lambda frame, values: all(_items(frame, values)), 1, 1, "boolean", _LIST, _NO_LIST),
    "round": Function(_round, 1, 2, "number", "a number", _kinds("string list map")),
    "str": Function(Frame.show, 1, 1, "string"),
    "int": Function(partial(_number, int), 1, 1, "number"),
    "float": Function(partial(_number, float), 1, 1, "number"),
    "lower": Function(partial(_text, str.lower), 1, 1, "string", "a string", _NO_TEXT),
    "upper": Function(partial(_text, str.upper), 1, 1, "string", "a string", _NO_TEXT),
    "join": Function(_join, 1, 2, "string", _LIST, _NO_LIST),
    "values": Function(partial(_of_map, dict.values), 1, 1, "list", "a map", _NO_MAP),
    "keys": Function(partial(_of_map, dict.keys), 1, 1, "list", "a map", _NO_MAP),
    "missing": Function(lambda frame: list(frame.scope.get("__missing__") or []), 0, 0, "list"),
    "status": Function(partial(_of_agent, "__status__"), 1, 1),
    "error": Function(partial(_of_agent, "__error__"), 1, 1),
}
#: Functions whose argument may be a bare agent's name.
BY_NAME = frozenset({"status", "error"})
WORDS: dict[str, Data] = {"true": True, "false": False, "null": None}

# Operators -----------------------------------------------------------------------------------------------------


def bounded(value: Data) -> Data:
    if isinstance(value, int | float) and not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        raise ExpressionError("the number is too large")
    return value


def _add(frame: Frame, a: Data, b: Data) -> Data:
    if (isinstance(a, list) and isinstance(b, list)) or (isinstance(a, str) and isinstance(b, str)):
        size = len(a) + len(b)
        if size > LARGEST:
            raise ExpressionError("the value is too large")
        frame.spend(size // (512 if isinstance(a, str) else 32))
        return a + b  # type: ignore[operator]
    return _arithmetic(operator.add, "+", frame, a, b)


def _arithmetic(act: Callable[[Any, Any], Any], sign: str, frame: Frame, a: Data, b: Data) -> Data:
    if not isinstance(a, int | float) or not isinstance(b, int | float):
        raise ExpressionError(f"{_kind(a)} {sign} {_kind(b)} is not possible")
    try:
        return bounded(act(a, b))
    except ZeroDivisionError:
        raise ExpressionError("division by zero") from None
    except OverflowError:
        raise ExpressionError("the number is too large") from None


ARITHMETIC: dict[type, Operator] = {
    ast.Add: _add,
    ast.Sub: partial(_arithmetic, operator.sub, "-"),
    ast.Mult: partial(_arithmetic, operator.mul, "*"),
    ast.Div: partial(_arithmetic, operator.truediv, "/"),
    ast.FloorDiv: partial(_arithmetic, operator.floordiv, "//"),
    ast.Mod: partial(_arithmetic, operator.mod, "%"),
}


def _equal(frame: Frame, a: Data, b: Data) -> bool:
    if isinstance(a, list | dict) and isinstance(b, list | dict):
        frame.weigh(a)
        frame.weigh(b)
    elif isinstance(a, str) and isinstance(b, str):
        frame.spend(len(a) // 512)
    return bool(a == b)


def _ordered(act: Callable[[Any, Any], bool], sign: str, frame: Frame, a: Data, b: Data) -> bool:
    if a is None or b is None:
        return False
    numbers = isinstance(a, int | float) and isinstance(b, int | float)
    if not numbers and not (isinstance(a, str) and isinstance(b, str)):
        raise ExpressionError(f"{_kind(a)} {sign} {_kind(b)} is not possible")
    if isinstance(a, str):
        frame.spend(len(a) // 512)
    return act(a, b)


def _within(frame: Frame, a: Data, b: Data) -> bool:
    if b is None:
        return False
    if isinstance(b, str):
        frame.spend(len(b) // 64)
        return isinstance(a, str) and a in b
    if isinstance(b, list | dict):
        frame.spend(len(b) // 16 if isinstance(b, list) else 1)
        return isinstance(a, str | int | float | bool | None) and a in b
    raise ExpressionError(f"in {_kind(b)} is not possible")


COMPARE: dict[type, Operator] = {
    ast.Eq: _equal,
    ast.NotEq: lambda frame, a, b: not _equal(frame, a, b),
    ast.Lt: partial(_ordered, operator.lt, "<"),
    ast.LtE: partial(_ordered, operator.le, "<="),
    ast.Gt: partial(_ordered, operator.gt, ">"),
    ast.GtE: partial(_ordered, operator.ge, ">="),
    ast.In: _within,
    ast.NotIn: lambda frame, a, b: not _within(frame, a, b),
    ast.Is: _equal,
    ast.IsNot: lambda frame, a, b: not _equal(frame, a, b),
}


def field_of(value: Data, name: str) -> Data:
    """The key of an object that a dot reads; null for any other value."""
    return value.get(name) if isinstance(value, Mapping) else None


def index_of(value: Data, key: Data) -> Data:
    if isinstance(value, Mapping):
        return value.get(key) if isinstance(key, str | int | float | bool | None) else None
    if isinstance(value, list | str) and isinstance(key, int) and not isinstance(key, bool):
        return value[key] if -len(value) <= key < len(value) else None
    if value is None:
        return None
    raise ExpressionError(f"{_kind(value)}[{_kind(key)}] is not possible")


def show(value: Data) -> str:
    """A value inside text: strings as they are, null as nothing, the rest as JSON. Raises ExpressionError for
    more than LARGEST_TEXT characters of JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    text = _json(value, LARGEST_TEXT)
    if text is None:
        raise ExpressionError(f"more than {LARGEST_TEXT // 1_000_000} MB of JSON inside text: use `with`")
    return text


def _json(value: Data, most: int) -> str | None:
    """None where it would be longer than `most`."""
    try:
        return json_text(value, most)
    except TooLong:
        return None
    except ValueError:  # Python writes no integer of more than 4,300 digits
        raise ExpressionError("the number is too large") from None
