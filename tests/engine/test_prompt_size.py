"""The size of a prompt's text is what is written, or a little more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from agentdeck.engine.prompt_estimate import PromptSize
from agentdeck.errors import AgentdeckError
from agentdeck.workflow.expressions import Template, show
from agentdeck.workflow.model import Prompt
from tests.workflow.test_json_text import DATA

LARGE: list[Any] = [
    [{"n": i, "t": "é, :" * 3, "f": i / 7} for i in range(2_000)],
    ["\ud800"] * 2_000,
    "ü" * 50_000,
    {str(i): [None, True] for i in range(1_000)},
]


def check(value: Any) -> None:
    text, system = "né $${x} ${a} and ${[a, 1]}", "${a or 'nothing'}"
    size = PromptSize(Prompt(text, system))
    written = "".join(show(Template(one).render({"a": value})) for one in (text, system))
    least = len(written.encode("utf-8", "replace"))
    assert len(written) <= size.characters({"a": value}) <= 1.6 * len(written) + 10
    assert least <= size.bytes({"a": value}) <= 1.6 * least + 10


@given(DATA)
def test_small_values(value: Any) -> None:
    check(value)


@pytest.mark.parametrize("value", LARGE, ids=range(len(LARGE)))
def test_large_values(value: Any) -> None:
    check(value)


def test_what_cannot_be_rendered() -> None:
    for text, value in (("${1 / 0}", 1), ("all: ${a}", ["x" * 1_000] * 5_000)):
        with pytest.raises(AgentdeckError):
            PromptSize(Prompt(text)).bytes({"a": value})
