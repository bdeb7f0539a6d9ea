"""Converts what an agent returned to plain data.

Imports nothing but the standard library and modules that do the same: it also runs in interpreters that do not
have agentdeck's dependencies."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time
from decimal import Decimal
from enum import Enum
from json.encoder import encode_basestring
from pathlib import PurePath
from typing import Any
from uuid import UUID

from agentdeck.errors import StepError
from agentdeck.workflow.json_text import DIGITS_PER_BIT, SLICE, room_left
from agentdeck.workflow.model import Data

LARGEST = 16_000_000
#: A result over the limit is counted up to this size, so that the error can say what it has.
COUNTED = 4 * LARGEST
DEEPEST = 100
#: Characters of an excerpt.
LONGEST_EXCERPT = 2_000
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxset = 4, 16, 16, 16, 16
_SHORT.maxstring, _SHORT.maxother = 400, 400
#: Smaller values are converted on the event loop, larger ones in a thread.
SHORT = 16_000
#: The largest number of keys and indices that name a place.
NAMED = 8
#: Python refuses to format longer numbers.
LONGEST_INT = 14_000  # bits
SIMPLE = frozenset({type(None), bool})
TEXTS = (PurePath, date, time, Decimal, UUID)


def to_data(value: Any) -> Data:
    """Plain data with the same content. Raises StepError of kind `invalid`, naming the place in the value."""
    kind = type(value)
    if kind in SIMPLE or (kind is str and len(value) <= SHORT and value.isascii()):
        return value
    if kind is int and value.bit_length() <= LONGEST_INT:
        return value
    converter, least = _Converter(), ""
    try:
        made = converter.convert(value, 0)
    except _TooLarge:
        least = "at least "
    except _NotPlain as bad:
        place = "the result" + "".join(reversed(bad.place[-NAMED:])) + "…" * (len(bad.place) > NAMED)
        raise StepError("invalid", f"{place} {bad.what}") from None
    if converter.size > LARGEST:
        size, limit = f"{least}{converter.size / 10**6:.1f} MB", f"{LARGEST // 10**6} MB"
        fix = "write it to a file and return its path"
        raise StepError("invalid", f"the result is {size}, over the limit of {limit}; {fix}")
    return made


def is_short(value: Any) -> bool:
    """Whether `to_data` of the value takes so little time that the event loop can do it. An object of unknown
    size is not short."""
    return room_left(value, SHORT) >= 0


async def data_of(value: Any) -> Data:
    """`to_data` for an event loop: in a thread where the value is not short."""
    if is_short(value):
        return to_data(value)
    from anyio import to_thread

    return await to_thread.run_sync(to_data, value, abandon_on_cancel=True)


def excerpt(value: Any) -> Data:
    """The value if it is short plain data, else the beginning of it as text."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST_EXCERPT else f"{value[:LONGEST_EXCERPT]}…"
    if room_left(value, LONGEST_EXCERPT) >= 0:
        try:
            return to_data(value)
        except StepError:
            pass
    try:
        return _SHORT.repr(value)[:LONGEST_EXCERPT]
    except Exception as error:
        return f"<{type(value).__name__}: {type(error).__name__} in its repr>"


class _NotPlain(Exception):
    """A value that cannot be data. `place` is collected while the exception propagates, so that valid values
    have no cost."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.place: list[str] = []


class _TooLarge(Exception):
    """A value so large that its size is not counted to the end."""


class _Converter:
    """Converts one value and counts its size as JSON. Once that is over the limit, it only counts."""

    def __init__(self) -> None:
        self.size = 0
        self.above: set[int] = set()

    def grow(self, size: int) -> None:
        self.size += size
        if self.size > COUNTED:
            raise _TooLarge

    def grow_text(self, text: str) -> None:
        """Count a string with its quotes, its escapes and a comma, in bytes."""
        self.grow(3)
        if len(text) > COUNTED or (
            text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
        ):
            self.grow(len(text))
            return
        for start in range(0, len(text), SLICE):
            self.grow(len(encode_basestring(text[start : start + SLICE]).encode()) - 2)

    def convert(self, value: Any, depth: int) -> Data:
        kind = type(value)
        if kind is str:
            whole = value if value.isascii() else _whole(value)
            self.grow_text(whole)
            return whole
        if value is None or kind is bool:
            self.grow(5)
            return value
        if kind is int or kind is float:
            return self.number(value)
        if id(value) in self.above:
            raise _NotPlain("contains itself; return plain data")
        if depth > DEEPEST:
            raise _NotPlain(f"is nested more than {DEEPEST} deep; return plain data")
        self.above.add(id(value))
        try:
            if kind is dict:
                return self.map(value, depth + 1)
            if kind is list or kind is tuple:
                return self.row(value, depth + 1)
            return self.other(value, depth + 1)
        finally:
            self.above.discard(id(value))

    def number(self, value: int | float) -> int | float:
        if isinstance(value, float):
            self.grow(len(repr(value)) + 1)
            if not math.isfinite(value):
                raise _NotPlain(f"is {value}, which JSON cannot represent; return a number or None")
            return value
        if value.bit_length() > LONGEST_INT:
            raise _NotPlain("has more than 4000 digits; return it as a string")
        self.grow(int(value.bit_length() * DIGITS_PER_BIT) + 2)
        return value

    def map(self, value: Mapping[Any, Any], depth: int) -> dict[str, Data]:
        made: dict[str, Data] = {}
        self.grow(2)
        for key, item in value.items():
            name = self.key(key)
            if name in made:
                raise _NotPlain(f"has two keys that are {name!r} as text; keys are strings")
            try:
                plain = self.convert(item, depth)
            except _NotPlain as bad:
                bad.place.append(f".{name[:60]}")
                raise
            if self.size <= LARGEST:
                made[name] = plain
        return made

    def row(self, value: Iterable[Any], depth: int) -> list[Data]:
        made: list[Data] = []
        self.grow(2)
        for number, item in enumerate(value):
            try:
                plain = self.convert(item, depth)
            except _NotPlain as bad:
                bad.place.append(f"[{number}]")
                raise
            if self.size <= LARGEST:
                made.append(plain)
        return made

    def other(self, value: Any, depth: int) -> Data:
        """A value of none of JSON's own types."""
        if isinstance(value, Enum):
            return self.convert(value.value, depth)
        if isinstance(value, list | tuple) and not hasattr(value, "_asdict"):
            return self.row(value, depth)
        if isinstance(value, set | frozenset):
            return _in_order(self.row(value, depth))
        fields_of = _fields_of(value)
        if fields_of is not None:
            return self.map(fields_of, depth)
        if callable(getattr(value, "model_dump", None)) and not isinstance(value, type):
            return self.convert(_dumped(value), depth)
        if isinstance(value, TEXTS):
            return self.convert(str(value), depth)
        if isinstance(value, int | float | str):
            plain = next(t for t in (int, float, str) if isinstance(value, t))
            return self.convert(plain(value), depth)
        fix = "return a dict, list, string, number, boolean or None"
        raise _NotPlain(f"is of type {type(value).__name__}, which is not plain data; {fix}")

    def key(self, key: Any) -> str:
        if isinstance(key, Enum):
            key = key.value
        if isinstance(key, str):
            name = _whole(str.__str__(key))
            self.grow_text(name)
            return name
        if isinstance(key, bool | int | float):
            return str(key)
        raise _NotPlain(f"has a {type(key).__name__} as a key; keys are strings")


def _fields_of(value: Any) -> Mapping[Any, Any] | None:
    """The items of a mapping, the fields of a named tuple or a dataclass; None for other values."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple):
        fields_of: Mapping[Any, Any] | None = value._asdict() if hasattr(value, "_asdict") else None
        return fields_of
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return None


def _dumped(value: Any) -> Any:
    """A pydantic model as data."""
    try:
        return value.model_dump(mode="json")
    except Exception as error:
        raise _NotPlain(f"is of type {type(value).__name__}, which does not become JSON: {error}") from None


def _whole(text: str) -> str:
    """The text without lone surrogates, which file names may have and no encoding can write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _in_order(items: list[Data]) -> list[Data]:
    """The items of a set in an order that is the same in every run."""
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=lambda item: (type(item).__name__, str(item)))
