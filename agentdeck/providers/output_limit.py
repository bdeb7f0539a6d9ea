"""The longest answer of a model in tokens: from the deck, or as its vendor publishes it."""

from __future__ import annotations

import re

from agentdeck.workflow.deck import Model

#: Anthropic's models, by their id; the first that matches counts. Bedrock, Vertex and gateways put something
#: before or after the id.
_CLAUDE = (
    (r"claude-(v?1|2|instant)", 4096),
    (r"claude-3-(opus|sonnet|haiku)", 4096),
    (r"claude-3[.-]5", 8192),
    (r"claude-opus-4(?![.-]?[2-9](?!\d))", 32_000),  # 4 and 4.1; a date may follow
    (r"claude-", 64_000),
)
#: For unknown models, as Anthropic's protocol requires a number.
_UNKNOWN = 4096


def output_limit(model: Model) -> int | None:
    """The limit from the deck, else from the model's id; None for unknown."""
    return model.max_output or known_output_limit(model.id)


def known_output_limit(model: str) -> int | None:
    for pattern, tokens in _CLAUDE:
        if re.search(pattern, model.lower()):
            return tokens
    return None


def unless_limited(model: str) -> int:
    """The `max_tokens` for Anthropic's protocol where nothing limits the answer."""
    return known_output_limit(model) or _UNKNOWN
