"""The schema for editors and the loader accept and refuse the same files."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agentdeck.workflow.format import WORKFLOW
from agentdeck.workflow.schema import schema
from agentdeck.workflow.shape import clean
from agentdeck.workflow.source import Source, read_text

FULL: dict[str, Any] = read_text((Path(__file__).parent / "full.yaml").read_text(), "full.yaml").data
VALIDATOR = jsonschema.Draft202012Validator(schema())


def shaped(data: object) -> bool:
    """Whether the loader's shape has no fault. What only the whole graph tells is not the schema's matter."""
    source = Source("f.yaml", data)
    read = WORKFLOW.read(data, (), source)
    return clean(read) and not source.issues


def paths(data: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(p for key, item in inner for p in paths(item, (*path, key)))]


def test_the_schema_is_one_and_takes_the_full_file() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    VALIDATOR.validate(FULL)
    assert shaped(FULL)


VALUES = st.sampled_from(
    [None, True, 0, 1, 5, -1, 2.5, "", "x", "5s", "30", "50/min", "90%", "400k", "auto", "any", [], ["a"], [1, 2],
     {}, {"a": 1}, {"ask": "x"}, {"fallback": "a"}, "p95", "m:f", "high"]
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(
    where=st.sampled_from([p for p in paths(FULL) if p]), value=VALUES, key=st.sampled_from(["", "zz", "x-mine"])
)
def test_a_changed_file_is_taken_by_both_or_by_none(where: tuple[Any, ...], value: object, key: str) -> None:
    # Whether a text is an expression is for the loader alone.
    assume(key or not (where[-1] in ("when", "each", "expect", "until") and isinstance(value, str)))
    data = copy.deepcopy(FULL)
    place: Any = data
    for part in where[:-1]:
        place = place[part]
    if key and isinstance(place, dict):
        place[key] = value
    else:
        place[where[-1]] = value
    assert shaped(data) == VALIDATOR.is_valid(data)
