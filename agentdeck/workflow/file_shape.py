"""The shape of a file, described once: the loader reads with it, and editors get a JSON Schema from it.

A shape reads a plain value, notes every fault with its place, and gives the value made ready (units read, short
forms written out); where it found a fault it gives BAD. `schema()` says the same to a JSON Schema validator.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from agentdeck.workflow.model import Data
from agentdeck.workflow.yaml_source import Path_, Source


class Bad:
    """The type of BAD."""

    def __repr__(self) -> str:
        return "BAD"


BAD: Final = Bad()


class Shape(Protocol):
    def read(self, value: Data, path: Path_, source: Source) -> Any: ...

    def schema(self) -> dict[str, Data]: ...


def kind(value: Data) -> str:
    """The type of a value, for people."""
    names: dict[type, str] = {
        type(None): "nothing", bool: "true or false", int: "a number", float: "a number", str: "text",
        list: "a list", dict: "a map",
    }  # fmt: skip
    return names.get(type(value), type(value).__name__)


def meant(name: str, known: Iterable[str]) -> str:
    """The likely fix for a name that is not known."""
    options = list(known)
    close = difflib.get_close_matches(name, options, 1, 0.6)
    if close:
        return f"did you mean {close[0]}?"
    shown = ", ".join(options[:12]) + (", …" if len(options) > 12 else "")
    return f"there are {shown}" if options else ""


@dataclass(frozen=True)
class Text:
    """A string; `check` may look closer and raise ValueError. A `number` may stand there without quotes, one of
    `most` and no more."""

    empty: bool = False
    number: bool = False
    most: int | None = None
    pattern: str = ""
    check: Callable[[str], object] | None = None

    def read(self, value: Data, path: Path_, source: Source) -> Any:
        if self.number and isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            fix = "quote it" if isinstance(value, bool | int | float) else ""
            source.fault(path, f"text is needed here, not {kind(value)}", fix)
            return BAD
        if not value.strip() and not self.empty:
            source.fault(path, "this is empty", "fill it in or leave the key out")
            return BAD
        if self.check is not None:
            try:
                self.check(value)
            except ValueError as error:
                what, _, fix = str(error).partition("; ")
                source.fault(path, what, fix)
                return BAD
        return value

    def schema(self) -> dict[str, Data]:
        found: dict[str, Data] = {"type": ["string", "number"] if self.number else "string"}
        if not self.empty:
            found["pattern"] = self.pattern or r"\S"
        if self.most is not None:
            found |= {"minimum": -self.most, "maximum": self.most}
        return found


@dataclass(frozen=True)
class Unit:
    """A value with its unit, read by a function of `units`."""

    parse: Callable[[object], Any]
    pattern: str
    numbers: bool = False
    zero: bool = False

    def read(self, value: Data, path: Path_, source: Source) -> Any:
        try:
            return self.parse(value)
        except ValueError as error:
            what, _, fix = str(error).partition("; ")
            source.fault(path, what, fix)
            return BAD

    def schema(self) -> dict[str, Data]:
        text: dict[str, Data] = {"type": "string", "pattern": self.pattern}
        if self.numbers:
            return {"anyOf": [text, {"type": "integer", "minimum": 0}]}
        return {"anyOf": [text, {"const": 0}]} if self.zero else text


@dataclass(frozen=True)
class Number:
    whole: bool = False
    least: float | None = None
    most: float | None = None

    def read(self, value: Data, path: Path_, source: Source) -> Any:
        what = "a whole number" if self.whole else "a number"
        if self.whole and isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            source.fault(path, f"{what} is needed here, not {kind(value)}")
            return BAD
        if self.least is not None and value < self.least:
            source.fault(path, f"{value} is too small", f"the least is {self.least:g}")
            return BAD
        if self.most is not None and value > self.most:
            source.fault(path, f"{value} is too large", f"the most is {self.most:g}")
            return BAD
        return value

    def schema(self) -> dict[str, Data]:
        found: dict[str, Data] = {"type": "integer" if self.whole else "number"}
        if self.least is not None:
            found["minimum"] = self.least
        if self.most is not None:
            found["maximum"] = self.most
        return found


@dataclass(frozen=True)
class Flag:
    def read(self, value: Data, path: Path_, source: Source) -> Any:
        if isinstance(value, bool):
            return value
        source.fault(path, f"true or false is needed here, not {kind(value)}")
        return BAD

    def schema(self) -> dict[str, Data]:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: Sequence[str]

    def read(self, value: Data, path: Path_, source: Source) -> Any:
        if isinstance(value, str) and value in self.words:
            return value
        close = difflib.get_close_matches(value, self.words, 1, 0.6) if isinstance(value, str) else []
        said = repr(value) if isinstance(value, str | int | float) else kind(value)
        fix = f"did you mean {close[0]}?" if close else ""
        source.fault(path, f"{said} is not one of {', '.join(self.words)}", fix)
        return BAD

    def schema(self) -> dict[str, Data]:
        return {"enum": list(self.words)}


@dataclass(frozen=True)
class Anything:
    """Any plain value."""

    def read(self, value: Data, path: Path_, source: Source) -> Any:
        return value

    def schema(self) -> dict[str, Data]:
        return {}


@dataclass(frozen=True)
class Many:
    """A list, or with `one` a single value for a list of one."""

    of: Shape
    one: bool = False
    least: int = 0
    most: int | None = None

    def read(self, value: Data, path: Path_, source: Source) -> Any:
        if self.one and not isinstance(value, list):
            only = self.of.read(value, path, source)
            return BAD if only is BAD else [only]
        if not isinstance(value, list):
            source.fault(path, f"a list is needed here, not {kind(value)}", "write it as [a, b]")
            return BAD
        if len(value) < self.least or (self.most is not None and len(value) > self.most):
            most = f" to {self.most}" if self.most not in (None, self.least) else ""
            source.fault(path, f"{len(value)} values; {self.least}{most or ' or more'} are needed")
            return BAD
        items = [self.of.read(item, (*path, i), source) for i, item in enumerate(value)]
        return BAD if any(item is BAD for item in items) else items

    def schema(self) -> dict[str, Data]:
        found: dict[str, Data] = {"type": "array", "items": self.of.schema()}
        if self.least:
            found["minItems"] = self.least
        if self.most is not None:
            found["maxItems"] = self.most
        return {"anyOf": [self.of.schema(), found]} if self.one else found


@dataclass(frozen=True)
class Table:
    """A map with free keys. With `raw` its keys are somebody else's (headers, arguments, cases): `x-…` stays."""

    of: Shape
    key: Callable[[str], object] | None = None
    pattern: str = ""
    least: int = 0
    raw: bool = False

    def read(self, value: Data, path: Path_, source: Source) -> Any:
        if not isinstance(value, dict):
            source.fault(path, f"a map is needed here, not {kind(value)}", "write it as name: value")
            return BAD
        if len(value) < self.least:
            source.fault(path, "there is nothing in it")
            return BAD
        found = {}
        bad = False
        for name, item in value.items():
            if name.startswith("x-") and not self.raw:
                continue
            if self.key is not None:
                try:
                    self.key(name)
                except ValueError as error:
                    what, _, fix = str(error).partition("; ")
                    source.fault((*path, name), what, fix, key=True)
                    bad = True
                    continue
            found[name] = self.of.read(item, (*path, name), source)
            bad = bad or found[name] is BAD
        return found if not bad else _Holes(found)

    def schema(self) -> dict[str, Data]:
        found: dict[str, Data] = {"type": "object"}
        if not self.raw:
            found["patternProperties"] = {"^x-": {}}
        if self.least:
            found["minProperties"] = self.least
        if self.pattern:
            found["patternProperties"][self.pattern] = self.of.schema()
            found["additionalProperties"] = False
        else:
            found["additionalProperties"] = self.of.schema()
        return found


class _Holes(dict[str, Any]):
    """A map of which some values are BAD: what is good in it can still be looked at for more faults."""


@dataclass(frozen=True)
class Fields:
    """A map with known keys. `short` reads anything that is no map; `exactly` are keys of which one is needed."""

    keys: Mapping[str, Shape]
    required: Sequence[str] = ()
    short: Shape | None = None
    short_key: str = ""
    exactly: Sequence[str] = field(default=())
    about: Mapping[str, str] = field(default_factory=dict)

    def read(self, value: Data, path: Path_, source: Source) -> Any:
        if not isinstance(value, dict):
            if self.short is None:
                source.fault(path, f"a map is needed here, not {kind(value)}", f"with {', '.join(self.keys)}")
                return BAD
            only = self.short.read(value, path, source)
            return BAD if only is BAD else {self.short_key: only} if self.short_key else only
        found: dict[str, Any] = {}
        for name, item in value.items():
            if name.startswith("x-"):
                continue
            shape = self.keys.get(name)
            if shape is None:
                source.fault((*path, name), f"{name} is not known here", meant(name, self.keys), key=True)
                found[name] = BAD
                continue
            found[name] = shape.read(item, (*path, name), source)
        for name in self.required:
            if name not in value:
                source.fault(path, f"{name} is missing", f"add {name}:")
                found[name] = BAD
        if self.exactly:
            given = [name for name in self.exactly if name in value]
            if len(given) > 1:
                both = " and ".join(given)
                source.fault((*path, given[1]), f"{both}: only one of them can be there", "keep one", key=True)
                found[given[1]] = BAD
            elif not given:
                source.fault(path, "it does nothing", f"give it one of {', '.join(self.exactly)}", key=True)
                found[self.exactly[0]] = BAD
        return _Holes(found) if any(item is BAD for item in found.values()) else found

    def schema(self) -> dict[str, Data]:
        properties: dict[str, Data] = {}
        for name, shape in self.keys.items():
            properties[name] = shape.schema()
            if name in self.about:
                properties[name] = {"description": self.about[name], **properties[name]}
        found: dict[str, Data] = {
            "type": "object",
            "properties": properties,
            "patternProperties": {"^x-": {}},
            "additionalProperties": False,
        }
        if self.required:
            found["required"] = list(self.required)
        if self.exactly:
            found["oneOf"] = [{"required": [name]} for name in self.exactly]
        return {"anyOf": [self.short.schema(), found]} if self.short is not None else found


@dataclass(frozen=True)
class Either:
    """The first shape whose type fits reads the value. `when` tells by the value's type."""

    options: Sequence[tuple[Callable[[Data], bool], Shape]]
    needed: str

    def read(self, value: Data, path: Path_, source: Source) -> Any:
        for fits, shape in self.options:
            if fits(value):
                return shape.read(value, path, source)
        source.fault(path, f"{self.needed} is needed here, not {kind(value)}")
        return BAD

    def schema(self) -> dict[str, Data]:
        return {"anyOf": [shape.schema() for _, shape in self.options]}


def is_text(value: Data) -> bool:
    return isinstance(value, str)


def is_number(value: Data) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_list(value: Data) -> bool:
    return isinstance(value, list)


def is_map(value: Data) -> bool:
    return isinstance(value, dict)


def clean(found: Any) -> bool:
    """Whether a value read has no fault anywhere in it."""
    return found is not BAD and not isinstance(found, _Holes)
