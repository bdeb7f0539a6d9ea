"""The size of a prompt before it is sent, and from it the tokens to reserve.

The size is needed on the event loop before each call. Rendering 4 MB of values takes up to 0.2 s and is done in a
thread, where the call is made; their size as compact JSON is known after 15 ms.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from pydantic_core import to_json

from agentdeck.errors import AgentdeckError
from agentdeck.limits.token_estimates import (
    CHARACTERS_PER_TOKEN,
    OUTPUT,
    AnswerLengths,
    PromptEstimate,
    PromptHistory,
)
from agentdeck.scheduler.events import Usage
from agentdeck.scheduler.program import Rule
from agentdeck.scheduler.state import Step
from agentdeck.workflow.expression_functions import LARGEST_TEXT
from agentdeck.workflow.expressions import Expression, ExpressionError, show, split
from agentdeck.workflow.json_text import room_left
from agentdeck.workflow.model import Data, ModelCall, Prompt

#: Tokens of an image.
IMAGE = 1000
#: Values up to this many characters are rendered to find their size.
SHORT = 4_000


class PromptSize:
    """The size of a prompt's text and its system text in any scope. Raises ExpressionError where they cannot be
    rendered."""

    def __init__(self, does: Prompt) -> None:
        self._parts = [*split(does.text), *split(does.system or "")]

    def characters(self, scope: Mapping[str, Data]) -> int:
        """Never less than the rendered text has."""
        return sum(_size(part, scope)[0] for part in self._parts)

    def bytes(self, scope: Mapping[str, Data]) -> int:
        """In UTF-8; never less than the rendered text has."""
        return sum(_size(part, scope)[1] for part in self._parts)


class CallSize(PromptSize):
    """The size of a call through the gateway: its request is not recorded, its size is. All of it counts as one
    byte for each character, which is never too little."""

    def __init__(self) -> None:
        pass

    def characters(self, scope: Mapping[str, Data]) -> int:
        return int(scope["inputs"]["size"])

    bytes = characters


def size_of(does: Prompt) -> PromptSize:
    """Finds the size of a prompt."""
    return CallSize() if isinstance(does, ModelCall) else PromptSize(does)


def longest_asked(step: Step) -> int | None:
    """The longest answer that a prompt asks for, None where it does not say."""
    does = step.acting.agent.does
    if isinstance(does, ModelCall):
        return step.task.inputs.get("max_output")
    return does.max_output if isinstance(does, Prompt) else None


def _size(part: str | Expression, scope: Mapping[str, Data]) -> tuple[int, int]:
    """Characters and bytes."""
    value = part.evaluate(scope) if isinstance(part, Expression) else part
    if value is None or isinstance(value, str) or room_left(value, SHORT) >= 0:
        text = show(value)
        return len(text), len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    try:
        raw = to_json(value, inf_nan_mode="constants")
    except ValueError:  # text that UTF-8 cannot encode; rare, and exact
        text = show(value)
        return len(text), len(text.encode("utf-8", "replace"))
    characters = len(raw) if raw.isascii() else len(raw.decode())
    if characters > LARGEST_TEXT:
        raise ExpressionError("too much JSON inside text")
    spaces = raw.count(b",") + raw.count(b":")
    return characters + spaces, len(raw) + spaces


class PromptEstimates:
    """Estimates for the prompts of a run: by the length of the prompt and by earlier attempts of the same agent.
    Before there are enough of these, by the longest answer that the agent may give."""

    def __init__(self) -> None:
        self._histories: dict[Rule, PromptHistory] = defaultdict(PromptHistory)
        self._sizes: dict[Rule, PromptSize] = {}

    def of(self, rule: Rule, scope: Mapping[str, Data], most: int | None) -> PromptEstimate:
        """`most` is the longest allowed answer; None where nothing limits it."""
        return self._histories[rule].estimate(self._prompt_tokens(rule, scope), most)

    def longest(self, asked: int | None, reduced: bool, cut_at: int = 0) -> int | None:
        """The longest answer that a prompt may get which asks for this much; half of it where the answer is to be
        short. Twice as long as an unusable earlier answer, which was cut at `cut_at`."""
        most = max(asked or 0, 2 * cut_at) or None
        return max(1, (most or OUTPUT) // 2) if reduced else most

    def lengths(self, rule: Rule) -> AnswerLengths:
        """The lengths of an agent's answers."""
        return self._histories[rule].lengths

    def began(self, rule: Rule) -> int:
        """The number of an attempt that begins now."""
        return self._histories[rule].begin()

    def ended(self, rule: Rule, number: int, usage: Usage | None, length: int) -> None:
        """Record what an attempt used, whose prompt was estimated at `length`."""
        tokens = None
        if usage is not None and usage.tokens_in is not None and usage.tokens_out is not None:
            tokens = usage.tokens_in, usage.tokens_out
        self._histories[rule].end(number, length, tokens)

    def _prompt_tokens(self, rule: Rule, scope: Mapping[str, Data]) -> int:
        """By the text's length. A prompt that cannot be rendered counts 1: its attempt fails with the reason."""
        does = rule.agent.does
        assert isinstance(does, Prompt)
        if rule not in self._sizes:
            self._sizes[rule] = size_of(does)
        try:
            length = self._sizes[rule].characters(scope)
        except AgentdeckError:
            return 1
        return length // CHARACTERS_PER_TOKEN + 1 + IMAGE * len(does.images)
