"""Typed output and `expect`."""

from __future__ import annotations

from typing import Any

import pytest

from agentdeck.agents.answer_check import OutputCheck
from agentdeck.errors import StepError
from agentdeck.workflow.model import Agent, Prompt, Type

TYPED = {"severity": Type("choice", ("none", "low", "high")), "comment": Type("string")}
GOOD = {"severity": "low", "comment": "c"}


def fit(output: Any, expect: str | None = None, typed: Any = None, scope: Any = None) -> Any:
    return OutputCheck(Agent("a", Prompt("p"), output=typed, expect=expect))(output, scope or {})


@pytest.mark.parametrize(
    "output",
    [
        GOOD,
        '{"severity": "low", "comment": "c"}',
        'Here it is:\n```json\n{"severity": "low", "comment": "c"}\n```\nDone.',
        'First\n```\nno json\n```\nthen\n```json\n{"severity": "low", "comment": "c"}\n```',
    ],
)
def test_objects_and_json_fit(output: Any) -> None:
    assert fit(output, typed=TYPED) == GOOD


def test_a_fence_inside_a_json_string_is_text() -> None:
    comment = "see\n```json\n{}\n```"
    text = '{"severity": "low", "comment": "see\\n```json\\n{}\\n```"}'
    assert fit(text, typed=TYPED) == {"severity": "low", "comment": comment}


@pytest.mark.parametrize(
    ("output", "what"),
    [
        ({"severity": "hgh", "comment": "c"}, "field severity is 'hgh', not one of none, low, high"),
        ({"severity": "low"}, "field comment is missing"),
        ({"severity": "low", "comment": 3}, "field comment is 3, not a string"),
        ("no", "but the answer is not JSON"),
        ('{"severity": NaN}', "but the answer is not JSON"),
        ("[" * 100_000, "but the answer is not JSON"),
        ([1], "an object is expected, not a list"),
        (None, "an object is expected"),
    ],
)
def test_what_does_not_fit_is_told(output: Any, what: str) -> None:
    with pytest.raises(StepError) as caught:
        fit(output, typed=TYPED)
    assert caught.value.fault.kind == "invalid"
    assert what in caught.value.fault.message


def test_expect_sees_output_and_scope() -> None:
    assert fit(GOOD, "output.severity in inputs.allowed", TYPED, {"inputs": {"allowed": ["low"]}}) == GOOD
    with pytest.raises(StepError) as caught:
        fit(GOOD, "len(output.comment) > 80", TYPED)
    assert caught.value.fault[:2] == ("invalid", "expect: len(output.comment) > 80 is false")
