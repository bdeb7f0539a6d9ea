"""What an agent returned, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from agentdeck.errors import StepError
from agentdeck.workflow.model import Data

LARGEST = 16_000_000
DEEPEST = 100
SIMPLE = frozenset({type(None), bool, int, str})
TEXTS = (PurePath, date, time, Decimal, UUID)


def to_data(value: Any) -> Data:
    """Plain data of the same content. Raises StepError of kind `invalid`, naming the place in the value."""
    kind = type(value)
    if kind in SIMPLE and (kind is not str or len(value) <= LARGEST):
        return value
    return _Turner().turn(value, "the result", 0)


class _Turner:
    """Walks one value and keeps count of its size."""

    def __init__(self) -> None:
        self.size = 0
        self.above: set[int] = set()

    def grow(self, size: int) -> None:
        self.size += size
        if self.size > LARGEST:
            most = f"{LARGEST // 10**6} MB"
            raise StepError(
                "invalid", f"the result is over the limit of {most}; write it to a file and return its path"
            )

    def turn(self, value: Any, place: str, depth: int) -> Data:
        kind = type(value)
        if kind is str:
            self.grow(len(value) + 2)
            return value
        if value is None or kind is bool or kind is int:
            self.grow(4)
            return value
        if kind is float:
            self.grow(8)
            if not math.isfinite(value):
                raise StepError("invalid", f"{place} is {value}, which JSON cannot say; return a number or None")
            return value
        if depth > DEEPEST or id(value) in self.above:
            what = "contains itself" if id(value) in self.above else f"is nested more than {DEEPEST} deep"
            raise StepError("invalid", f"{place} {what}; return plain data")
        self.above.add(id(value))
        try:
            return self.inner(value, place, depth + 1)
        finally:
            self.above.discard(id(value))

    def inner(self, value: Any, place: str, depth: int) -> Data:
        if isinstance(value, Enum):
            return self.turn(value.value, place, depth)
        if isinstance(value, Mapping):
            return {self.key(k, place): self.turn(v, f"{place}.{k}", depth) for k, v in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            return self.inner(value._asdict(), place, depth)
        if isinstance(value, list | tuple):
            return [self.turn(item, f"{place}[{i}]", depth) for i, item in enumerate(value)]
        if isinstance(value, set | frozenset):
            items = [self.turn(item, f"{place}{{…}}", depth) for item in value]
            return sorted(items, key=lambda item: (type(item).__name__, str(item)))
        if is_dataclass(value) and not isinstance(value, type):
            return {f.name: self.turn(getattr(value, f.name), f"{place}.{f.name}", depth) for f in fields(value)}
        dump = getattr(value, "model_dump", None)
        if callable(dump) and not isinstance(value, type):
            return self.turn(dump(mode="json"), place, depth)
        if isinstance(value, TEXTS):
            return self.turn(str(value), place, depth)
        if isinstance(value, bool | int | float | str):
            plain = next(t for t in (bool, int, float, str) if isinstance(value, t))
            return self.turn(plain(value), place, depth)
        fix = "return a dict, list, string, number, boolean or None"
        raise StepError("invalid", f"{place} is a {type(value).__name__}, which is not plain data; {fix}")

    def key(self, key: Any, place: str) -> str:
        if isinstance(key, str):
            self.grow(len(key) + 4)
            return key
        if isinstance(key, bool | int | float):
            return str(key)
        raise StepError("invalid", f"{place} has a {type(key).__name__} as a key; keys are strings")
