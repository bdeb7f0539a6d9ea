"""Source of data: it evaluates to the data, and nothing in it becomes code or a second line."""

from __future__ import annotations

import ast
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdeck.exporting.python_text import Code, Variables, call, comment, docstring, duration, literal
from agentdeck.workflow.model import Data

HOSTILE = [
    '"""',
    "'; import os; os.remove('x')",
    "\\",
    '\\"',
    "a\nimport os",
    "a\r\nimport os",
    "x\u2028y\u202e\u200b\x00\x85",
    "{{ ti.xcom_pull() }} ${run.id} {% x %}",
    "\ud800",
    "#",
    "é 漢 😀",
]
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(DATA, st.integers(0, 40))
def test_a_literal_evaluates_to_its_value(value: Data, indent: int) -> None:
    assert ast.literal_eval(literal(value, indent)) == value


@pytest.mark.parametrize("text", [*HOSTILE, *(f"{one} " * 60 for one in HOSTILE)])
def test_texts_stay_texts(text: str) -> None:
    assert ast.literal_eval(literal({"a": text}, 4)) == {"a": text}
    assert all(line.isprintable() for line in literal(text).split("\n"))
    noted = comment([text], 4)
    assert all(line.startswith("    #") for line in noted.splitlines())
    module = ast.parse(f"{docstring([text, text])}{noted}")
    assert len(module.body) == 1
    assert ast.get_docstring(module) is not None


def test_long_values_are_written_on_several_lines() -> None:
    assert call("f", {"a": 1, "b": Code("c.d")}) == "f(a=1, b=c.d)"
    long = call("f", {"about": "word " * 40, "list": ["x" * 60, "y" * 60], "none": None}, 4)
    assert long == (
        "f(\n"
        "        about=(\n"
        f'            "{"word " * 19}"\n'
        f'            "{"word " * 19}"\n'
        f'            "{"word " * 2}"\n'
        "        ),\n"
        "        list=[\n"
        f'            "{"x" * 60}",\n'
        f'            "{"y" * 60}",\n'
        "        ],\n"
        "        none=None,\n"
        "    )"
    )


def test_variables_are_names_that_nothing_else_has() -> None:
    names = Variables(["DAG"])
    assert [names.of(name) for name in ("a", "a", "class", "match", "DAG", "DAG_")] == [
        "a", "a_", "class_", "match_", "DAG_", "DAG__",
    ]  # fmt: skip


@pytest.mark.parametrize("seconds", [0, 0.2, 1, 59, 60, 90, 3600, 86400, 90000.5])
def test_durations(seconds: float) -> None:
    assert eval(duration(seconds), {"timedelta": timedelta}) == timedelta(seconds=seconds)


def test_what_is_no_data_is_refused() -> None:
    with pytest.raises(TypeError, match="object is no data"):
        literal(object())
    assert literal(float("inf")) == 'float("inf")'
