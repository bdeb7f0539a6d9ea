"""What an agent returned, as plain data."""

from __future__ import annotations

import asyncio
from collections import namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pydantic
import pytest

from agentdeck.agents.plain_data import data_of, to_data
from agentdeck.errors import StepError

Pair = namedtuple("Pair", "a b")


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


@dataclass
class Point:
    x: int
    tags: tuple[str, ...] = ()


class Model(pydantic.BaseModel):
    at: date
    size: Decimal


class Text(str):
    pass


GOOD: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (3, 3),
    (1.5, 1.5),
    ("é", "é"),
    ("a\ud800", "a?"),
    ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
    ((1, 2), [1, 2]),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"b", "a"}), ["a", "b"]),
    ({1: "a", False: "b", 2.5: "c"}, {"1": "a", "False": "b", "2.5": "c"}),
    (Pair(1, (2,)), {"a": 1, "b": [2]}),
    (Point(1, ("t",)), {"x": 1, "tags": ["t"]}),
    (Model(at=date(2026, 1, 2), size=Decimal("1.50")), {"at": "2026-01-02", "size": "1.50"}),
    (Path("a/b"), "a/b"),
    (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
    (Decimal("1.10"), "1.10"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Color.RED, "red"),
    ([Level.LOW], [1]),
    ({Color.RED: 1}, {"red": 1}),
    (Text("t"), "t"),
]


@pytest.mark.parametrize(("value", "data"), GOOD)
def test_becomes_plain(value: Any, data: Any) -> None:
    made = to_data(value)
    assert made == data
    assert type(made) is type(data)


BAD: list[tuple[Any, str]] = [
    (
        b"x",
        "the result is of type bytes, which is not plain data; "
        "return a dict, list, string, number, boolean or None",
    ),
    ({"a": [1, object()]}, "the result.a[1] is of type object, which is not plain data"),
    ([{"x": float("nan")}], "the result[0].x is nan"),
    (float("inf"), "the result is inf"),
    ({"a": {(1, 2): 3}}, "the result.a has a tuple as a key"),
    ({1: "a", "1": "b"}, "two keys that are '1'"),
    ([10**5000], "more than 4000 digits"),
    (len, "is of type builtin_function_or_method"),
    (Point, "is of type type"),
]


@pytest.mark.parametrize(("value", "what"), BAD)
def test_is_refused_with_its_place(value: Any, what: str) -> None:
    with pytest.raises(StepError) as caught:
        to_data(value)
    assert caught.value.fault.kind == "invalid"
    assert what in caught.value.fault.message


def test_circles_and_depth_are_refused() -> None:
    circle: list[Any] = []
    circle.append({"a": circle})
    with pytest.raises(StepError, match=r"the result\[0\]\.a contains itself"):
        to_data(circle)
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(StepError, match=r"^the result(\[0\]){8}… is nested more than 100 deep"):
        to_data(deep)


def test_the_same_value_twice_is_no_circle() -> None:
    shared = [1]
    assert to_data([shared, shared]) == [[1], [1]]


def test_the_result_is_a_copy() -> None:
    mine = {"a": [1]}
    made = to_data(mine)
    mine["a"].append(2)
    assert made == {"a": [1]}


def test_what_is_too_large_is_refused() -> None:
    for value, size in (
        ("x" * 17_500_000, "17.5 MB"),
        ("é" * 8_600_000, "17.2 MB"),
        ({"rows": ["x" * 1_000_000] * 21}, "21.0 MB"),
        (["x" * 1_000_000] * 1_000, "at least 64.0 MB"),
    ):
        with pytest.raises(StepError) as refused:
            to_data(value)
        assert str(refused.value) == (
            f"the result is {size}, over the limit of 16 MB; write it to a file and return its path"
        )


@pytest.mark.parametrize(
    ("value", "copies"),
    [
        (10**4000, 4_000),
        ("é" * 1_000, 8_000),
        ("\x01" * 1_000, 2_700),
        ('"' * 1_000, 8_000),
        (1 / 7, 850_000),
        (None, 3_200_000),
    ],
)
def test_the_limit_counts_what_is_written(value: Any, copies: int) -> None:
    """10,000 integers of 4,001 digits counted 80 kB: they are 40 MB, and took 8 s to write."""
    with pytest.raises(StepError, match="over the limit of 16 MB"):
        to_data([value] * copies)
    assert len(to_data([value] * (copies * 9 // 10))) == copies * 9 // 10


@pytest.mark.anyio
async def test_large_results_are_made_beside_the_loop() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticker = asyncio.create_task(tick())
    assert await data_of({"a": [1, "b", None]}) == {"a": [1, "b", None]}
    assert not ticks, "a small value is made at once"
    value = [{"n": i} for i in range(100_000)]
    assert await data_of(value) == value
    assert ticks
    ticker.cancel()
