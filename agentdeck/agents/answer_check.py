"""Checks an output against the agent's typed `output` and its `expect`."""

from __future__ import annotations

import json
import re

from agentdeck.errors import StepError
from agentdeck.workflow.expressions import Expression, Scope
from agentdeck.workflow.model import Agent, Data
from agentdeck.workflow.wording import fits
from agentdeck.workflow.wording import kind as kind_of

_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n?```", re.S)


class OutputCheck:
    """Returns an output, parsed where it was text. Raises StepError of kind `invalid` with the reason, which the
    next attempt gets."""

    def __init__(self, agent: Agent) -> None:
        self._fields = agent.output
        self._text = agent.expect
        self._expect = Expression(agent.expect) if agent.expect else None

    def __call__(self, output: Data, scope: Scope) -> Data:
        if self._fields is not None:
            output = self._typed(output)
        if self._expect is not None and not self._expect.evaluate({**scope, "output": output}):
            raise StepError("invalid", f"expect: {self._text} is false")
        return output

    def _typed(self, output: Data) -> Data:
        if isinstance(output, str):
            output = parsed(output)
        if not isinstance(output, dict):
            raise StepError("invalid", f"an object is expected, not {kind_of(output)}")
        assert self._fields is not None
        wrong = []
        for name, kind in self._fields.items():
            if name not in output:
                wrong.append(f"field {name} is missing")
            elif what := fits(output[name], kind):
                wrong.append(f"field {name} is {what}")
        if wrong:
            raise StepError("invalid", "; ".join(wrong))
        return output


def parsed(text: str) -> Data:
    """The JSON of a text, or else of the first fenced block in it that is JSON. Raises StepError of kind
    `invalid`."""
    for part in (text, *_FENCE.findall(text)):
        try:
            return json.loads(part, parse_constant=_no_number)
        except (ValueError, RecursionError):
            continue
    raise StepError("invalid", "an object is expected, but the answer is not JSON")


def _no_number(name: str) -> Data:
    raise ValueError(f"{name} is not JSON")
