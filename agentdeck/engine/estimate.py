"""How much a prompt will use, before it is sent: what is reserved for it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

from agentdeck.core.events import Usage
from agentdeck.core.program import Rule
from agentdeck.core.window import Want
from agentdeck.errors import AgentdeckError
from agentdeck.workflow.model import Data, Prompt
from agentdeck.workflow.values import Template, compile_template, show

CHARACTERS_PER_TOKEN = 4
#: What an image counts as, and how long an answer is where neither the agent nor what was seen says so.
IMAGE, OUTPUT = 1000, 1024
#: From so many answers on, nine in ten of what was seen is taken for what comes; of the last so many.
LEAST, SHARE, SEEN = 5, 0.9, 200


class Estimates:
    """Per agent: by what was seen of it, else by the length of its prompt and the longest answer it may give."""

    def __init__(self) -> None:
        self._seen: dict[Rule, tuple[deque[int], deque[int]]] = {}
        self._templates: dict[Rule, list[Template]] = {}

    def of(self, rule: Rule, scope: Mapping[str, Data], most: int | None) -> Want:
        """`most` is the longest answer that is allowed; None where nothing says."""
        seen = self._seen.get(rule)
        if seen is not None and len(seen[0]) >= LEAST:
            tokens_in, tokens_out = _p90(seen[0]), _p90(seen[1])
            return Want(1, tokens_in, tokens_out if most is None else min(most, tokens_out))
        return Want(1, self._prompt(rule, scope), OUTPUT if most is None else most)

    def longest(self, rule: Rule, reduced: bool) -> int | None:
        """The longest answer an agent may give; half of it where it is to be short."""
        does = rule.agent.does
        most = does.max_output if isinstance(does, Prompt) else None
        return max(1, (most or OUTPUT) // 2) if reduced else most

    def saw(self, rule: Rule, usage: Usage) -> None:
        if usage.tokens_in is not None and usage.tokens_out is not None:
            seen = self._seen.setdefault(rule, (deque(maxlen=SEEN), deque(maxlen=SEEN)))
            seen[0].append(usage.tokens_in)
            seen[1].append(usage.tokens_out)

    def _prompt(self, rule: Rule, scope: Mapping[str, Data]) -> int:
        """By the text's length. What cannot be rendered counts nothing: the attempt will say why."""
        does = rule.agent.does
        assert isinstance(does, Prompt)
        if rule not in self._templates:
            self._templates[rule] = [compile_template(text) for text in (does.text, does.system or "")]
        try:
            length = sum(len(show(text.render(scope))) for text in self._templates[rule])
        except AgentdeckError:
            return 0
        return length // CHARACTERS_PER_TOKEN + 1 + IMAGE * len(does.images)


def _p90(values: deque[int]) -> int:
    return sorted(values)[math.ceil(SHARE * len(values)) - 1]
