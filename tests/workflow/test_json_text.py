"""JSON of large values, written in slices."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdeck.workflow import json_text as module
from agentdeck.workflow.json_text import SLICE, TooLong, estimated_size, json_text, room_left

DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=8), inner, max_size=8),
    max_leaves=30,
)


@pytest.fixture(scope="module")
def large() -> list[Any]:
    return [
        list(range(50_000)),
        [10**4000 + i for i in range(40)],
        ["é" * 100] * 3_000,
        [{"a": i, "b": [str(i), None, {"c": i / 7}]} for i in range(5_000)],
        {str(i): {"y": [i]} for i in range(20_000)},
        {"one": "x" * 200_000, "two": [[[["y" * 100_000]]], {}, [], True]},
        [[[i] * 5_000] for i in range(10)],
        "z" * 300_000,
    ]


@given(DATA)
def test_the_same_as_json_in_slices_of_any_size(value: Any) -> None:
    for small in (1, 10, 40):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "SLICE", small)
            patch.setattr(module, "ITEMS", 2)
            assert json_text(value) == json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize("which", range(8))
def test_no_call_writes_much(large: list[Any], which: int) -> None:
    value = large[which]
    written: list[int] = []

    def dump(part: Any) -> str:
        text = json.dumps(part, ensure_ascii=False, sort_keys=True)
        written.append(len(text))
        return text

    assert json_text(value, dump=dump, sort=True) == json.dumps(value, ensure_ascii=False, sort_keys=True)
    pieces = len(json.dumps(value)) // SLICE + 1
    assert len(written) <= max(40, 16 * pieces), "each call takes time, however little it writes"
    assert max(written) <= 2 * SLICE


@pytest.mark.parametrize("which", range(8))
def test_what_is_too_long_is_noticed_before_all_is_written(large: list[Any], which: int) -> None:
    value = large[which]
    written: list[int] = []

    def dump(part: Any) -> str:
        text = json.dumps(part)
        written.append(len(text))
        return text

    with pytest.raises(TooLong):
        json_text(value, 1_000, dump)
    assert sum(written) <= 2 * SLICE


@given(DATA)
def test_room_is_no_less_than_what_is_left(value: Any) -> None:
    size = len(json.dumps(value, ensure_ascii=False))
    assert room_left(value, 10**9) <= 10**9 - size + 20 * size  # never wildly off
    assert room_left(value, 10**9) < 10**9


def test_the_work_of_looking_is_bounded() -> None:
    looked = 0

    class Counted(dict[str, Any]):
        def items(self) -> Any:
            for item in super().items():
                nonlocal looked
                looked += 1
                yield item

    assert room_left(Counted({str(i): i for i in range(100_000)}), 1_000) < 0
    assert looked < 200
    value = {"all": [Counted({str(i): i for i in range(10)}) for _ in range(100_000)]}
    size = len(json.dumps(value))
    looked = 0
    assert 0.5 < estimated_size(value) / size < 2
    assert looked < 20_000


def test_an_object_that_is_no_data_is_written_as_text() -> None:
    assert json_text({"a": 1 + 2j}) == '{"a": "(1+2j)"}'
    assert json_text([{1, 2}], dump=partial(json.dumps, default=list)) == "[[1, 2]]"
