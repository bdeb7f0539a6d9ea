"""Expressions and templates: what they give, and that nothing else can be reached."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentdeck.workflow.values import ExpressionError, compile_expression, compile_template

SCOPE = {
    "inputs": {"n": 3, "name": "Ann", "list": [1, 2, 3]},
    "a": {"x": {"y": 7}, "list": ["p", "q"], "class": "good"},
    "none": None,
    "needs": {"a": 1},
    "__missing__": ["b"],
    "__status__": {"a": "done", "b": "failed"},
    "__error__": {"b": "broken"},
}


def value(text: str) -> object:
    return compile_expression(text).evaluate(SCOPE)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("inputs.n + 1", 4),
        ("a.x.y", 7),
        ("a.nothing.more", None),
        ("none.x", None),
        ("zz", None),
        ("a.list[0]", "p"),
        ("a.list[9]", None),
        ("a['list'][-1]", "q"),
        ("inputs.n > 2 and a.x.y == 7", True),
        ("none > 1", False),
        ("'An' in inputs.name", True),
        ("2 not in inputs.list", False),
        ("'big' if inputs.n > 9 else 'small'", "small"),
        ("len(a.list) + sum(inputs.list)", 8),
        ("max(inputs.list)", 3),
        ("upper(inputs.name)", "ANN"),
        ("join(a.list, '-')", "p-q"),
        ("missing()", ["b"]),
        ("status('b') == 'failed'", True),
        ("status(a)", "done"),
        ("error('b')", "broken"),
        ("{'k': inputs.n}", {"k": 3}),
        ("[1, inputs.n]", [1, 3]),
        ("not none", True),
        ("-inputs.n", -3),
        ("''.join", None),
        ("7 // 2 + 7 % 2", 4),
        ("true and null == None", True),
        ("1 < inputs.n <= 3", True),
        ("none or 'x'", "x"),
        ("round(2.567, 1)", 2.6),
        ("int('7') + float('0.5')", 7.5),
    ],
)
def test_what_expressions_give(text: str, result: object) -> None:
    assert value(text) == result


@pytest.mark.parametrize(
    "text",
    [
        "a.__class__", "().__class__", "inputs.name.upper()", "open('x')", "__import__('os')", "lambda: 1",
        "[x for x in inputs.list]", "f'{a}'", "a := 1", "*a", "9 ** 9", "b'x'", "...", "a @ a", "1j", "print(1)",
        "eval('1')", "getattr(a, 'x')", "a.x.__dict__", "{**a}", "yield 1", "await x", "1 if", "", "a b", "x(",
        "len(a, a)", "len()", "max(inputs.list, key=len)", "(" * 300, "a" * 5000, "1+" * 900 + "1",
    ],
)  # fmt: skip
def test_what_cannot_be_said(text: str) -> None:
    with pytest.raises(ExpressionError):
        value(text)


@pytest.mark.parametrize(
    "text", ["1 / 0", "'a' * 3", "inputs.list < 3", "len(5)", "sum(a.list)", "int('x')", "'a' - 1"]
)
def test_what_cannot_be_worked_out_says_so(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        value(text)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${inputs.n}", 3),
        ("${a.list}", ["p", "q"]),
        ("n is ${inputs.n}", "n is 3"),
        ("${a.list} and ${none}", '["p", "q"] and '),
        ("no expression", "no expression"),
        ("$${inputs.n}", "${inputs.n}"),
        ("${ {'k': '}'} }", {"k": "}"}),
        ({"k": ["${inputs.name}", 1]}, {"k": ["Ann", 1]}),
    ],
)
def test_templates(text: object, result: object) -> None:
    assert compile_template(text).render(SCOPE) == result


def test_what_a_value_says_is_never_an_expression() -> None:
    assert compile_template("${a}").render({"a": "${inputs.n}"}) == "${inputs.n}"


PIECES = st.sampled_from(
    ["inputs", ".", "a", "__class__", "__globals__", "(", ")", "[", "]", "{", "}", "'", "x", "1", "99999999999",
     "*", "+", "-", "/", "%", "//", " ", ",", ":", "if", "else", "and", "or", "not", "in", "len", "join", "sum",
     "str", "max", "lambda", "for", "list", "==", "<", "is", "mro", "\\", "\n", "é", "\x00"]
)  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=60))
def test_no_text_reaches_anything_or_runs_long(text: str) -> None:
    began = time.process_time()
    try:
        result = compile_expression(text).evaluate(SCOPE)
    except ExpressionError:
        result = None
    # A bound in CPU seconds, far above what is needed: it holds on any machine.
    assert time.process_time() - began < 0.05 * 20
    assert isinstance(result, None | bool | int | float | str | list | dict)


def test_work_is_bounded_whatever_the_text() -> None:
    big = {"a": list(range(200_000)), "t": "x" * 900_000}
    for text in ["join(a) + join(a)", "t + t", "sum(a) + " * 50 + "1", "upper(t) + lower(t)", "str(a) + str(a)"]:
        began = time.process_time()
        with contextlib.suppress(ExpressionError):
            compile_expression(text).evaluate(big)
        assert time.process_time() - began < 1.0
