"""JSON of plain data, written in slices, and its size.

One call of `json.dumps` (or of pydantic's `to_json`) holds the interpreter lock until it returns, in whichever
thread it is made: 16 MB of it stop the event loop for 50 to 400 ms, and integers of thousands of digits for
seconds, since writing one out is quadratic. Here no single call writes more than about SLICE characters, so a
thread that writes a large value lets the loop run in between, and a text that grows too long is noticed early.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from agentdeck.workflow.model import Data

SLICE = 64_000
#: Items that are written by one call, where they are small enough together.
ITEMS = 2_000
DIGITS_PER_BIT = 0.30103
#: Integers below this are written in at most 20 characters; the others are counted by their bits.
SMALL_INT = 10**18

_dump: Callable[[Data], str] = partial(json.dumps, ensure_ascii=False, default=str)


class TooLong(ValueError):
    """The text would exceed the limit."""


def json_text(
    value: Data,
    most: int | None = None,
    dump: Callable[[Data], str] = _dump,
    *,
    comma: str = ", ",
    colon: str = ": ",
    sort: bool = False,
) -> str:
    """The value as JSON, as `dump` writes it; `comma`, `colon` and `sort` (keys in order) say how `dump` does
    that. Raises TooLong for more than `most` characters."""
    if room_left(value, SLICE) >= 0:
        text = dump(value)
        if most is not None and len(text) > most:
            raise TooLong
        return text
    writer = _Writer(most, dump, comma, colon, sort)
    writer.write(value)
    return "".join(writer.parts)


class _Writer:
    def __init__(self, most: int | None, dump: Callable[[Data], str], comma: str, colon: str, sort: bool) -> None:
        self.parts: list[str] = []
        self.left = most
        self.dump = dump
        self.comma = comma
        self.colon = colon
        self.sort = sort

    def add(self, text: str) -> None:
        if self.left is not None:
            self.left -= len(text)
            if self.left < 0:
                raise TooLong
        self.parts.append(text)

    def write(self, value: Data) -> None:
        if isinstance(value, Mapping):
            self.add("{")
            items = iter(sorted(value.items()) if self.sort else value.items())
            for first, batch in _batches(items):
                self.batch(batch, first, pairs=True)
            self.add("}")
        elif isinstance(value, list | tuple):
            self.add("[")
            for first, batch in _batches(iter(value)):
                self.batch(batch, first, pairs=False)
            self.add("]")
        else:
            if isinstance(value, str) and len(value) > (SLICE if self.left is None else min(SLICE, self.left)):
                self.string(value)
            else:
                self.add(self.dump(value))

    def string(self, value: str) -> None:
        """A long string; each character is escaped by itself."""
        if self.left is not None and len(value) > self.left:
            raise TooLong
        self.add('"')
        for start in range(0, len(value), SLICE):
            self.add(self.dump(value[start : start + SLICE])[1:-1])
        self.add('"')

    def batch(self, items: list[Any], first: bool, pairs: bool) -> None:
        """Some items of a list, or of a map as `pairs`: in one call if they are small enough, else in halves."""
        small = dict(items) if pairs else items
        if room_left(small, SLICE if self.left is None else min(SLICE, self.left)) >= 0:
            self.add(("" if first else self.comma) + self.dump(small)[1:-1])
        elif len(items) > 1:
            half = len(items) // 2
            self.batch(items[:half], first, pairs)
            self.batch(items[half:], False, pairs)
        else:
            self.add("" if first else self.comma)
            if pairs:
                key, value = items[0]
                self.add(self.dump(key) + self.colon)
                self.write(value)
            else:
                self.write(items[0])


def _batches(items: Iterator[Any]) -> Iterator[tuple[bool, list[Any]]]:
    """The items in batches, each with whether it is the first."""
    first = True
    while batch := list(islice(items, ITEMS)):
        yield first, batch
        first = False


def room_left(value: Data, room: int) -> int:
    """The characters that are left of `room` after the value is written as JSON; negative as soon as none is
    left, so `room` bounds the work for any value. Strings count without escapes; -1 for a value that is not plain
    data."""
    kind = type(value)
    if kind is str:
        return room - len(value) - 2
    if kind is int:
        return room - (8 if -SMALL_INT < value < SMALL_INT else int(value.bit_length() * DIGITS_PER_BIT) + 2)
    if kind is float:
        return room - 18
    if value is None or kind is bool:
        return room - 5
    room -= 2
    if kind is list or kind is tuple:
        if len(value) * 3 > room:  # an item takes a character and its comma at least
            return -1
        flat = _flat_size(value) if len(value) > 8 else None
        if flat is not None:
            return room - flat
        for item in value:
            room = room_left(item, room - 2)
            if room < 0:
                return room
    elif kind is dict or isinstance(value, Mapping):
        for key, item in value.items():
            room = room_left(item, room - len(key) - 4)
            if room < 0:
                return room
    else:
        return -1
    return room


def _flat_size(items: Sequence[Data]) -> int | None:
    """The size of a list of only numbers or only strings, without a Python loop; None for any other list."""
    kinds = set(map(type, items))
    if kinds == {str}:
        return sum(map(len, items)) + 4 * len(items)
    if kinds == {int}:
        return 10 * len(items) if max(items) < SMALL_INT and min(items) > -SMALL_INT else None
    return 20 * len(items) if kinds <= _CONSTANTS else None


_CONSTANTS = frozenset({float, bool, type(None)})


def estimated_size(value: Data) -> int:
    """The approximate size of the value as JSON, in bytes. Long lists and maps are sampled evenly, which bounds
    the work: a run calls this for the inputs of each step, on its event loop."""
    return int(_estimate(value, SAMPLE))


#: Items of a list or a map that an estimate looks at; a sixteenth of them in each level below.
SAMPLE = 256


def _estimate(value: Data, most: int) -> float:
    kind = type(value)
    if kind is str:
        return len(value) + 2
    if kind is int:
        return 8 if -SMALL_INT < value < SMALL_INT else value.bit_length() * DIGITS_PER_BIT
    if kind is float:
        return 8
    if value is None or kind is bool:
        return 4
    below = max(1, most // 16)
    count = len(value)
    step = max(1, -(-count // most))
    size = 2.0
    if kind is dict or isinstance(value, Mapping):
        for key, item in value.items() if step == 1 else islice(value.items(), 0, None, step):
            size += (len(key) + 4 + _estimate(item, below)) * step
    else:
        for item in value if step == 1 else value[::step]:
            size += (_estimate(item, below) + 2) * step
    return size


def strict_json(text: str | bytes) -> Data:
    """The value of a JSON text. Raises ValueError, also for NaN and infinities, which JSON does not have, and
    RecursionError."""
    return json.loads(text, parse_constant=_refuse, parse_float=_finite)


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not valid JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value
